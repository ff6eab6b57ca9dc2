"""Offline reinforcement learning: trajectories, policies, and data sets made of them."""
