"""Interpretable trees distilled from the twin, and the placement that uses them."""
