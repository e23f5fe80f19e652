"""Versioned state and how it is written: the codec."""
