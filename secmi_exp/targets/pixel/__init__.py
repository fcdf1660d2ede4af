"""Pixel-space targets: DDPMs trained here or elsewhere."""
