"""Diffusion processes: the noise, and the law of its reversal."""
