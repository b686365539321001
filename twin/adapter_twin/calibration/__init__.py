"""Fitting a profile to measurements: memory, loading times, and, in closed loop, step time and lengths."""
