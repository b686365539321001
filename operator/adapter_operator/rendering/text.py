"""A decision as text that is readable at 100 columns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from adapter_operator.planning.decision import Decision
from adapter_operator.planning.request import PlanningRequest
from adapter_operator.planning.verdict import ReplicaFigures, Verdict
from adapter_operator.rendering import words
from adapter_predictor.placement import FrontierPoint
from adapter_predictor.plan import Plan
from adapter_predictor.prediction import Prediction

HOTTEST = 2
"""How many of a replica's adapters are named unless all are wanted."""


@dataclass(frozen=True)
class Served:
    """One adapter on one replica.

    Attributes:
        name: The adapter.
        rate: Its requests/s on this replica.
        share: The part of its traffic that goes here.
        rank: Its rank.
    """

    name: str
    rate: float
    share: float
    rank: int


def render(
    console: Console,
    request: PlanningRequest,
    decision: Decision,
    points: Sequence[FrontierPoint] = (),
    *,
    wide: bool = False,
) -> None:
    """Print the decision.

    Args:
        console: Where to.
        request: What was asked.
        decision: What came of it.
        points: GPUs against headroom.
        wide: Name every adapter, not only the hottest.
    """
    console.print(Group(*_sections(request, decision, points, wide)))


def served_by(request: PlanningRequest, plan: Plan, replica: str) -> list[Served]:
    """A replica's adapters, hottest first."""
    demands = {adapter.name: adapter for adapter in request.adapters}
    served = [
        Served(name, demands[name].rate * share, share, demands[name].rank)
        for name, share in plan.assignment[replica].items()
    ]
    return sorted(served, key=lambda one: (-one.rate, one.name))


def _sections(
    request: PlanningRequest, decision: Decision, points: Sequence[FrontierPoint], wide: bool
) -> Iterator[RenderableType]:
    yield _headline(request)
    yield Text()
    yield _verdict_line(decision)
    if decision.plan:
        yield from _section(
            "Plan", *_plan_summary(request, decision.plan), _replicas(request, decision.plan, wide)
        )
        yield from _section("Expected at the declared rates", _prediction(decision.prediction))
    if decision.verdict.replicas:
        yield from _section(
            _twin_title(request, decision.verdict), _twin(decision.verdict), *_worst(decision.verdict)
        )
    if decision.explanation:
        yield from _section("Why", *(_bullet(sentence) for sentence in decision.explanation))
    if decision.lower_bound:
        bound = decision.lower_bound
        yield from _section("Lower bound", _bullet(f"{words.count(bound.gpus, 'GPU')}: {bound.statement}"))
    if decision.plan and points:
        gpus = decision.plan.gpus(request.profile.tensor_parallel_size)
        yield from _section("GPUs against headroom (predicted)", _frontier(points, gpus))
    yield from _section("Time", _timings(decision.timings))


def _section(title: str, *content: RenderableType) -> Iterator[RenderableType]:
    yield Text()
    yield Text(title, style="bold cyan")
    for part in content:
        yield Padding(part, (0, 0, 0, 2))


def _headline(request: PlanningRequest) -> Text:
    profile = request.profile
    return Text.assemble(
        (request.name, "bold"),
        f" · {words.count(len(request.adapters), 'adapter')} · {words.rate(request.total_rate)} · "
        f"{profile.model.name} on {profile.gpu.name}, {profile.engine.kind} {profile.engine.version}",
    )


def _verdict_line(decision: Decision) -> Text:
    verdict = decision.verdict
    if decision.applicable:
        return Text.assemble(("✔ Verified", "bold green"), f": {verdict.message}")
    reason = f" ({verdict.reason})" if verdict.reason else ""
    return Text.assemble((f"✘ Rejected{reason}", "bold red"), f": {verdict.message}")


def _plan_summary(request: PlanningRequest, plan: Plan) -> Iterator[Text]:
    gpus = plan.gpus(request.profile.tensor_parallel_size)
    yield Text(
        f"{words.count(plan.replicas, 'replica')} in {words.count(len(plan.pools), 'pool')} on "
        f"{words.count(gpus, 'GPU')}, plan {plan.hash}"
    )
    for pool in plan.pools:
        yield Text(
            f"pool {pool.name}: {words.count(pool.replicas, 'replica')} with --max-loras {pool.max_loras} "
            f"--max-lora-rank {pool.max_lora_rank}"
        )


def _replicas(request: PlanningRequest, plan: Plan, wide: bool) -> Table:
    table = _table("replica", "adapters>", "rate>", "hottest first")
    for name in plan.assignment:
        table.add_row(*_replica_row(name, served_by(request, plan, name), wide))
    return table


def _replica_row(name: str, served: list[Served], wide: bool) -> tuple[str, ...]:
    shown = served if wide else served[:HOTTEST]
    names = ", ".join(_named(one) for one in shown)
    rest = len(served) - len(shown)
    return (
        escape(name),
        str(len(served)),
        words.rate(sum(one.rate for one in served)),
        f"{names} and {rest:,} more" if rest else names or words.NOTHING,
    )


def _named(served: Served) -> str:
    share = "" if served.share == 1.0 else f", {served.share:.0%} of its traffic"
    return f"{escape(served.name)} ({words.rate(served.rate)}{share})"


def _prediction(predictions: Mapping[str, Prediction]) -> Table:
    table = _table("replica", "served>", "throughput>", "ITL>", "TTFT>", "at worst served>")
    for name, one in predictions.items():
        table.add_row(
            escape(name),
            words.percent(one.served_fraction),
            words.tokens_per_s(one.throughput_tokens_per_s),
            words.seconds(one.itl_s),
            words.seconds(one.ttft_s),
            words.percent(one.served_fraction_low),
        )
    return table


def _twin_title(request: PlanningRequest, verdict: Verdict) -> str:
    headroom = f" + {request.headroom:.0%}" if request.headroom else ""
    times = words.count(len(verdict.seeds), "seed")
    horizon = words.hours(verdict.horizon_s)
    return f"Seen in the digital twin at the declared rates{headroom} ({horizon}, {times})"


def _twin(verdict: Verdict) -> Table:
    table = _table(
        "replica", "served>", "throughput>", "ITL>", "TTFT>", "TTFT p99>", "running>", "waiting>", "KV used>"
    )
    for figures in verdict.replicas:
        style = "red" if figures.name in verdict.failing else ""
        table.add_row(*_twin_row(figures), style=style)
    return table


def _twin_row(figures: ReplicaFigures) -> tuple[str, ...]:
    return (
        escape(figures.name),
        words.percent(figures.served_fraction),
        words.tokens_per_s(figures.throughput_tokens_per_s),
        words.seconds(figures.itl_s),
        words.seconds(figures.ttft_s),
        words.seconds(figures.ttft_p99_s),
        f"{figures.running:,.1f}",
        f"{figures.waiting:,.1f}",
        words.percent(figures.kv_usage),
    )


def _worst(verdict: Verdict) -> Iterator[Text]:
    if verdict.worst_adapters:
        worst = verdict.worst_adapters[0]
        yield Text(
            f"Served worst: {worst.name}, {words.percent(worst.served_fraction)} of its tokens "
            f"({worst.completed:,} of {worst.requests:,} requests); starving: "
            f"{words.count(verdict.starving, 'adapter')}"
        )
    if verdict.envelope:
        fails = verdict.envelope.fails_at
        until = f", not at {fails:.2f} times" if fails else "; more was not tried"
        yield Text(f"Holds at {verdict.envelope.rate_scale:.2f} times the declared rates{until}")


def _frontier(points: Sequence[FrontierPoint], chosen: int) -> Table:
    """By which part all rates may grow with each number of GPUs."""
    table = _table("GPUs>", "headroom>", "")
    for point in points:
        mark = "as many as the plan" if point.gpus == chosen else ""
        style = "bold" if mark else ""
        table.add_row(str(point.gpus), words.headroom(point.headroom), mark, style=style)
    return table


def _timings(timings: Mapping[str, float]) -> Text:
    stages = [f"{stage} {words.seconds(spent)}" for stage, spent in timings.items()]
    return Text(" · ".join([*stages, f"total {words.seconds(sum(timings.values()))}"]))


def _bullet(sentence: str) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_row("•", Text(sentence))
    return table


def _table(*columns: str) -> Table:
    """A plain table; columns whose title ends in `>` hold numbers and are set flush right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="dim")
    for column in columns:
        numeric = column.endswith(">")
        table.add_column(
            column.rstrip(">"), justify="right" if numeric else "left", no_wrap=numeric or column == "replica"
        )
    return table
