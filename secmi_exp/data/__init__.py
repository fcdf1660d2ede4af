"""Image sets in their on-disk formats, splits, and the batches made of them."""
