"""A placement's reasons in words."""

import math
from collections.abc import Sequence

import numpy as np

from adapter_predictor.load import SLOT_GRID
from adapter_predictor.placement.demand import Limits
from adapter_predictor.placement.judge import Contents, Judge, Slots
from adapter_predictor.placement.seating import moved_adapters
from adapter_predictor.plan import Plan

_MOST_NAMED = 3


def no_slots(rank: int, reason: str) -> str:
    """Nothing fits in memory."""
    return f"No choice of slots for adapters of rank {rank} fits in GPU memory: {reason}."


def unreachable(judge: Judge, rank: int) -> str:
    """The objectives are beyond even an idle replica."""
    return (
        f"Not even one adapter of rank {rank} alone on a replica meets the objectives "
        f"({_objectives(judge)}): loosen them, for more GPUs do not help."
    )


def not_found(*, cut_short: bool) -> str:
    """The search came back with nothing."""
    if cut_short:
        return "The deadline ended the search before a plan was found that meets the objectives."
    return "No number of replicas that was tried meets the objectives."


def beyond_limits(needed: int, limits: Limits, most: int) -> str:
    """More replicas are needed than the limits allow."""
    limit = f"max_replicas {limits.max_replicas}"
    if limits.max_gpus is not None:
        limit += f" and max_gpus {limits.max_gpus}"
    return f"The objectives need {needed} replicas, but {limit} allow {most}: this is the best effort."


def explanation(
    judge: Judge,
    plan: Plan,
    replicas: Sequence[tuple[Contents, Slots]],
    present: Plan | None,
) -> tuple[str, ...]:
    """Why the plan is what it is: its size, its slots, its splits, its moves."""
    sentences = [
        _size(judge, plan, replicas),
        _slots(judge, plan, replicas),
        _splits(plan),
        _moves(plan, present),
    ]
    return tuple(sentence for sentence in sentences if sentence)


def _objectives(judge: Judge) -> str:
    wanted = judge.objectives
    parts = [f"served fraction {wanted.served_fraction:.0%}"]
    if wanted.itl_s is not None:
        parts.append(f"inter-token latency {1e3 * wanted.itl_s:.0f} ms")
    if wanted.ttft_s is not None:
        parts.append(f"time to first token {wanted.ttft_s:.3g} s")
    return ", ".join(parts) + f"; headroom {judge.headroom:.0%}"


def _size(judge: Judge, plan: Plan, replicas: Sequence[tuple[Contents, Slots]]) -> str:
    rate = sum(float(contents.rates.sum()) for contents, _ in replicas)
    served = judge.served(replicas)
    return (
        f"{_count(plan.replicas, 'replica')} for {_count(len(plan.shares), 'adapter')} at {rate:.3g} req/s: "
        f"served fraction {_range(served.min(), served.max())}, headroom and margin counted "
        f"(objectives: {_objectives(judge)})."
    )


def _slots(judge: Judge, plan: Plan, replicas: Sequence[tuple[Contents, Slots]]) -> str:
    """What other choices of slots would do to the most loaded replica."""
    index = int(np.argmin(judge.served(replicas)))
    contents, chosen = replicas[index]
    others = {option.slots: option for option in judge.options([contents])[0]}
    compared = [
        f"{slots.max_loras} slots {_percent(option.served_fraction)}"
        for slots, option in others.items()
        if slots.max_loras != chosen.max_loras
    ]
    name = list(plan.assignment)[index]
    text = f"{name} has {chosen.max_loras} slots of rank {chosen.max_lora_rank}"
    if compared:
        text += "; with others the same replica would serve: " + ", ".join(compared)
    return text + f"{_too_large(judge, contents.rank)}."


def _too_large(judge: Judge, rank: int) -> str:
    fitting = {slots.max_loras for slots in judge.grid(rank)}
    refused = [slots for slots in SLOT_GRID if slots not in fitting and slots > max(fitting, default=0)]
    return f"; {refused[0]} do not fit in memory" if refused else ""


def _splits(plan: Plan) -> str:
    split = {adapter: len(shares) for adapter, shares in sorted(plan.shares.items()) if len(shares) > 1}
    if not split:
        return ""
    named = ", ".join(f"{adapter} over {count}" for adapter, count in list(split.items())[:_MOST_NAMED])
    more = f" and {len(split) - _MOST_NAMED} more" if len(split) > _MOST_NAMED else ""
    return f"Split over several replicas, for their rate or their copies: {named}{more}."


def _moves(plan: Plan, present: Plan | None) -> str:
    if present is None:
        return ""
    moved = moved_adapters(present, plan)
    known = sum(1 for adapter in plan.shares if adapter in present.shares)
    change = plan.replicas - present.replicas
    size = "as many replicas"
    if change:
        size = f"{_count(abs(change), 'replica')} {'more' if change > 0 else 'fewer'}"
    return f"Against the present plan: {size}, {moved} of {_count(known, 'adapter')} moved."


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _range(low: float, high: float) -> str:
    return _percent(low) if high - low < 5e-4 else f"{_percent(low)} to {_percent(high)}"


def _percent(fraction: float) -> str:
    """A fraction in tenths of a percent, rounded down: what is not whole is never called so."""
    return f"{math.floor(1000.0 * fraction) / 10.0:.1f}%"
