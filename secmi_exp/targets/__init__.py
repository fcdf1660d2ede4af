"""Target models, each seen as a noise predictor."""
