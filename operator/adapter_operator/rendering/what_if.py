"""The answer to a what-if, for people and for machines."""

import json
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from adapter_operator.planning.decision import Decision
from adapter_operator.planning.what_if import Answer
from adapter_operator.rendering import words
from adapter_predictor.plan import Plan

Document = dict[str, Any]


def document(answer: Answer, decision: Decision | None) -> Document:
    """The answer as plain values; `verified` is null unless the twin was asked."""
    return {
        "fits": answer.fits,
        "verified": None if decision is None else decision.applicable,
        "message": None if decision is None else decision.verdict.message,
        "missing_gpus": answer.missing_gpus,
        "moves": answer.moves,
        "new_pools": [pool.model_dump() for pool in answer.new_pools],
        "before": {
            "adapters": answer.adapters_before,
            "rate": answer.rate_before,
            "gpus": answer.gpus_before,
            "headroom": answer.headroom_before,
        }
        | _plan(answer.before),
        "after": {
            "adapters": answer.adapters_after,
            "rate": answer.rate_after,
            "gpus": answer.gpus_after,
            "headroom": answer.headroom_after,
        }
        | _plan(answer.after),
        "explanation": list(answer.why),
    }


def to_json(answer: Answer, decision: Decision | None) -> str:
    """The document as JSON."""
    return json.dumps(document(answer, decision), indent=2, ensure_ascii=False, allow_nan=False)


def render(console: Console, name: str, answer: Answer, decision: Decision | None) -> None:
    """Print the answer."""
    console.print(Group(*_sections(name, answer, decision)))


def _plan(plan: Plan | None) -> Document:
    if plan is None:
        return {"pools": [], "assignment": {}}
    return {"pools": [pool.model_dump() for pool in plan.pools], "assignment": plan.assignment}


def _sections(name: str, answer: Answer, decision: Decision | None) -> Iterator[RenderableType]:
    yield Text(name, style="bold")
    yield Text()
    yield _headline(answer)
    if decision is not None:
        yield _verdict(decision)
    yield Text()
    yield Padding(_table(answer), (0, 0, 0, 2))
    yield Text()
    yield Text("Cost", style="bold cyan")
    for sentence in _cost(answer):
        yield _bullet(sentence)
    if answer.why:
        yield Text()
        yield Text("Why", style="bold cyan")
        for sentence in answer.why:
            yield _bullet(sentence)


def _headline(answer: Answer) -> Text:
    if not answer.fits:
        missing = (
            f"{words.count(answer.missing_gpus, 'more GPU')} needed"
            if answer.missing_gpus
            else "more GPUs do not help"
        )
        return Text.assemble(("✘ Does not fit", "bold red"), f" within the limits: {missing}")
    more = answer.gpus_after - answer.gpus_before
    if more > 0:
        return Text.assemble(("✔ Fits", "bold yellow"), f" with {words.count(more, 'more GPU')}")
    if more < 0:
        return Text.assemble(("✔ Fits", "bold green"), f", and {words.count(-more, 'GPU')} could go")
    return Text.assemble(("✔ Fits", "bold green"), " on the GPUs that there are")


def _verdict(decision: Decision) -> Text:
    if decision.applicable:
        return Text.assemble(("✔ Verified", "bold green"), f" by the twin: {decision.verdict.message}")
    return Text.assemble(("✘ Rejected", "bold red"), f" by the twin: {decision.verdict.message}")


def _table(answer: Answer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in ("", "before", "after"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    table.add_row("adapters", f"{answer.adapters_before:,}", f"{answer.adapters_after:,}")
    table.add_row("requests", words.rate(answer.rate_before), words.rate(answer.rate_after))
    table.add_row("GPUs", str(answer.gpus_before), str(answer.gpus_after))
    table.add_row("slots", _slots(answer.before), _slots(answer.after))
    table.add_row("headroom", words.headroom(answer.headroom_before), words.headroom(answer.headroom_after))
    return table


def _slots(plan: Plan | None) -> str:
    """Pools as people write them: `3 × 64 of rank 16`."""
    if plan is None:
        return words.NOTHING
    return ", ".join(
        f"{pool.replicas} × {pool.max_loras} of rank {pool.max_lora_rank}" for pool in plan.pools
    )


def _cost(answer: Answer) -> Iterator[str]:
    more = answer.gpus_after - answer.gpus_before
    yield f"{words.count(abs(more), 'GPU')} {'more' if more > 0 else 'fewer'}" if more else "no GPU"
    kept = (
        sum(1 for name in answer.after.shares if answer.before and name in answer.before.shares)
        if answer.after
        else 0
    )
    yield f"{answer.moves:,} of {words.count(kept, 'adapter')} that stay would be loaded elsewhere"
    for pool in answer.new_pools:
        yield (
            f"{words.count(pool.replicas, 'replica')} with other slots would start: "
            f"--max-loras {pool.max_loras} --max-lora-rank {pool.max_lora_rank}"
        )


def _bullet(sentence: str) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_row(" •", Text(sentence))
    return table
