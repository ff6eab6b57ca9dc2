"""Words of the command line to calls."""
