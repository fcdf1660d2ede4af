"""Families of latent pipelines: what is particular to each class of diffusers' pipelines, a file each."""
