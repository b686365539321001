"""Measured runs: reading their tables, repeating their arrivals, and the measures of error."""
