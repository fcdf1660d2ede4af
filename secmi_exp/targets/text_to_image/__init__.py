"""Text-to-image targets: latent diffusion models with prompts."""
