"""Figures in the sentences of verdicts and explanations."""

import math


def percent(fraction: float) -> str:
    """A fraction as a percentage with one decimal; what is below one is never shown as 100%."""
    if math.isnan(fraction):
        return "–"
    shown = round(100.0 * fraction, 1)
    return f"{min(shown, 99.9) if fraction < 1.0 else shown:.1f}%"


def plural(number: float, noun: str) -> str:
    """A number and its noun: `1 replica`, `2,000 requests`."""
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"
