"""Steering: methods that combine a backbone with a reward, one file each, on one sampler loop."""
