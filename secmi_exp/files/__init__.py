"""Reading files that others made, and writing files that survive a crash."""
