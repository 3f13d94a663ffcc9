"""Epsilon as attacks show it: certified bounds, estimates, the ceiling."""
