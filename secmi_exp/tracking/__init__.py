"""Where the metrics of a run go while it lasts: Weights & Biases, a CSV file, or nowhere."""
