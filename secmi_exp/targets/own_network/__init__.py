"""Networks of one's own, made by the user's code: their weights, their path, and how they are called."""
