"""Summarizers, and the check that a summary contains no figure that its source lacks."""
