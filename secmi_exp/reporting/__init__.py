"""What a run leaves behind: figures, results, terminal table, Weights & Biases."""
