"""The report page: one self-contained HTML file about any number of runs."""
