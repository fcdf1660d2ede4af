"""Networks and optimizers tried before any stage runs, without memory for them."""
