"""Configurations: train/ for `gendesign fit`, design/ for `gendesign design`."""
