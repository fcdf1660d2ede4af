"""The quality of a target as a generative model; ``conf/quality`` names its classes."""
