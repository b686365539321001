"""Where a profile was measured, and what lies outside: the one place that says when it extrapolates."""

from adapter_twin.profile.model import Profile

_LABELS = {
    "max_loras": "slots (max_loras)",
    "max_lora_rank": "padded rank (max_lora_rank)",
    "adapters": "adapters on one replica",
    "offered_rate_rps": "offered requests/s on one replica",
}


def extrapolations(
    profile: Profile, *, max_loras: int, max_lora_rank: int, adapters: int, offered_rate_rps: float
) -> tuple[str, ...]:
    """What of one replica lies outside the range that the profile was measured in, a clause for each.

    Less of something than was measured is as much an extrapolation as more of it, but for the offered rate:
    a replica with less to do than any measured one does it. Without slots and adapters only the rate counts.
    """
    given = {
        "max_loras": max_loras,
        "max_lora_rank": max_lora_rank,
        "adapters": adapters,
        "offered_rate_rps": offered_rate_rps,
    }
    asked = given if max_loras else {"offered_rate_rps": offered_rate_rps}
    return tuple(
        f"{_LABELS[name]} {_number(value)} outside the measured {_number(low)} to {_number(high)}"
        for name, value in asked.items()
        for low, high in [getattr(profile.validity, name)]
        if value > high or (value < low and name != "offered_rate_rps")
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def extrapolation_warning(profile: Profile, clauses: tuple[str, ...]) -> str:
    """One sentence for a person; empty when there is nothing to say."""
    if not clauses:
        return ""
    return f"profile {profile.name} extrapolates: {'; '.join(clauses)}"
