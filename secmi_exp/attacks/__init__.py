"""Attacks: a signal that queries the target without labels, and scorers that turn it into membership scores."""
