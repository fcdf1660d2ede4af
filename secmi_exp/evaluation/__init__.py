"""Judging membership scores: ROC, thresholds, intervals."""
