"""Encoders, one for each view, that end in one space."""
