"""Breaks that people really make, and the run that shows each is noticed."""
