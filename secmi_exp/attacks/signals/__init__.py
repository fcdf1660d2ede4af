"""What attacks measure of each image: trajectories, answers to queries, and distances to the target's samples."""
