"""Training runs: the Lightning command line, fine-tuning, learned values."""
