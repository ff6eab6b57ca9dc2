"""Data modules and public tables."""
