"""Pure functions on sets of designs, and what reports compare with."""
