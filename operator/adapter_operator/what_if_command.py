"""What `adaptwin what-if` does: read, change, place, and say what it would cost."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import typer

from adapter_operator.api.quantities import QUANTITY_PATTERN, parse_quantity
from adapter_operator.plan_command import PlanOptions, output_console, planning_request, processors, spinner
from adapter_operator.planning import Decision, TwinVerifier, decide
from adapter_operator.planning.errors import PlanningError
from adapter_operator.planning.what_if import Answer, Change, changed, settled, what_if
from adapter_operator.rendering import what_if as rendering
from adapter_predictor.predictor import Predictor
from adapter_twin.memory import ALLOWED_LORA_RANKS

FITS, DOES_NOT_FIT, NEEDS_MORE = 0, 1, 3
"""Exit codes; 2 is bad input."""


@dataclass(frozen=True)
class WhatIfOptions:
    """The options of `adaptwin what-if`.

    Attributes:
        plan: Those that it shares with `adaptwin plan`.
        change: What is changed.
        verify: Whether the twin shall have the last word.
    """

    plan: PlanOptions
    change: Change
    verify: bool = False


def options_from(
    *,
    file: Path,
    present: Path | None,
    profile: str | None,
    output: str,
    remove: tuple[str, ...],
    scale_rates: float,
    add: int,
    rate: str,
    rank: int | None,
    copies: int,
    verify: bool,
) -> WhatIfOptions:
    """The options as the command line gives them.

    Raises:
        PlanningError: a rate that is no quantity, a rank that no server takes, or adapters without a rate.
    """
    if rank is not None and rank not in ALLOWED_LORA_RANKS:
        allowed = ", ".join(map(str, ALLOWED_LORA_RANKS))
        raise PlanningError(f"--rank: {rank} is not one of {allowed}")
    if not re.search(QUANTITY_PATTERN, rate):
        raise PlanningError(f'--rate: {rate} is not a rate such as "0.1" or "400m" (requests/s)')
    requests_per_s = parse_quantity(rate)
    if add and not requests_per_s:
        raise PlanningError("--rate: adapters that are added need a rate above 0, such as --rate 0.1")
    change = Change(remove, scale_rates, add, requests_per_s, rank, copies)
    return WhatIfOptions(PlanOptions(file, output, None, present, profile), change, verify)


def run(options: WhatIfOptions) -> int:
    """Answer, print, and give the exit code."""
    if not options.change.changes:
        raise PlanningError("what-if: nothing changes; give --add, --remove or --scale-rates")
    request = planning_request(options.plan)
    with spinner() as tell:
        tell("placing what is there and what would be")
        predictor = Predictor.for_profile(request.profile)
        answer, decision = what_if(request, options.change, predictor), None
        if options.verify:
            asked = replace(changed(request, options.change), present=answer.before)
            decision = decide(
                asked, predictor=predictor, verifier=TwinVerifier(threads=processors()), progress=tell
            )
            answer = settled(answer, asked, decision, predictor)
    if options.plan.output == "json":
        typer.echo(rendering.to_json(answer, decision))
    else:
        rendering.render(output_console(), request.name, answer, decision)
    return _exit_code(answer, decision)


def _exit_code(answer: Answer, decision: Decision | None) -> int:
    if not answer.fits or (decision is not None and not decision.applicable):
        return DOES_NOT_FIT
    return NEEDS_MORE if answer.gpus_after > answer.gpus_before else FITS
