"""Molecules: all of RDKit and SELFIES; how they become tokens or graphs, and what is true of them."""
