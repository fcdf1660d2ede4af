"""What turns measurements into membership scores."""
