"""Checks of a split before its results are trusted."""
