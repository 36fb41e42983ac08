"""Composition: from a configuration to running objects."""
