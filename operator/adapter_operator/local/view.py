"""What a terminal shows: replicas, traffic, objectives, and decisions as they are made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from adapter_operator.api.load import parse_adapter_deployment
from adapter_operator.local.replica import BETWEEN_TOKENS, FIRST_TOKEN, OUTPUT_TOKENS, RUNNING, WAITING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from adapter_operator.local.replica import LocalReplica
    from adapter_operator.local.system import LocalSystem

EVENTS: Final = 12
MANY: Final = 6
"""So many adapters of a replica are named."""


@dataclass
class View:
    """Draws the system; remembers the last figures, to tell what came since."""

    system: LocalSystem
    _before: dict[str, dict[str, float]] = field(default_factory=dict)

    def __rich__(self) -> RenderableType:
        """The whole picture."""
        return Group(self._head(), self._replicas(), self._traffic(), self._events())

    def _head(self) -> RenderableType:
        key, status = self.system.resource.key, self.system.resource.status
        conditions = {item["type"]: item for item in status.get("conditions", ())}
        text = Text.assemble((f"{key}  ", "bold"), self.system.url)
        for name in ("Ready", "Planned", "Verified", "Progressing", "TrafficObserved", "Degraded"):
            if name in conditions:
                condition = conditions[name]
                text.append(f"\n{name:<16}{condition['status']:<8}", style="dim")
                text.append(f"{condition['reason']}: {condition['message']}"[:160])
        return Panel(text, title="adaptwin local", title_align="left")

    def _replicas(self) -> RenderableType:
        spec = parse_adapter_deployment(self.system.resource.get()).spec
        table = Table(expand=True, title="Replicas", title_justify="left")
        for column in ("replica", "state", "slots", "adapters", "running", "waiting", "tokens/s"):
            table.add_column(
                column, justify="left" if column in {"replica", "state", "adapters"} else "right"
            )
        table.add_column(f"TTFT{_objective(spec.objectives.time_to_first_token_s)}", justify="right")
        table.add_column(f"ITL{_objective(spec.objectives.inter_token_latency_s)}", justify="right")
        record = self.system.cluster.record
        slots = {
            name: pool.max_loras
            for pool in (record.plan.pools if record else ())
            for name in pool.replica_names()
        }
        for name, replica in self.system.cluster.replicas.items():
            table.add_row(name, _state(replica), str(slots.get(name, "-")), *self._figures(name, replica))
        return table

    def _figures(self, name: str, replica: LocalReplica) -> list[str]:
        figures, before = dict(replica.seen.figures), self._before.get(name, {})
        self._before[name] = figures

        def came(figure: str) -> float:
            return max(0.0, figures.get(figure, 0.0) - before.get(figure, 0.0))

        def mean(figure: str) -> str:
            count = came(f"{figure}_count")
            return f"{1000.0 * came(f'{figure}_sum') / count:.0f} ms" if count else "-"

        return [
            _adapters(replica),
            f"{figures.get(RUNNING, 0.0):.0f}",
            f"{figures.get(WAITING, 0.0):.0f}",
            f"{came(OUTPUT_TOKENS) / self.system.settings.emulation.speed_up:.0f}",
            mean(FIRST_TOKEN),
            mean(BETWEEN_TOKENS),
        ]

    def _traffic(self) -> RenderableType:
        spec = parse_adapter_deployment(self.system.resource.get()).spec
        observed = self.system.traffic.observe(spec)
        rates = sorted(observed.rates.items(), key=lambda item: -item[1])[:MANY]
        words = ", ".join(f"{name or '(base)'} {rate:.2f}/s" for name, rate in rates)
        return Panel(
            f"{observed.state}: {sum(observed.rates.values()):.2f} requests/s; {words}",
            title="Traffic at the gateway",
            title_align="left",
        )

    def _events(self) -> RenderableType:
        lines = [
            Text(str(event), style="yellow" if event.kind == "Warning" else "")
            for event in list(self.system.events.latest)[-EVENTS:]
        ]
        return Panel(Group(*lines), title="What happened", title_align="left")


def _objective(seconds: float | None) -> str:
    return "" if seconds is None else f" (≤ {1000.0 * seconds:.0f} ms)"


def _state(replica: LocalReplica) -> Text:
    if not replica.seen.answers:
        return Text("away" if replica.engine.starts > 1 else "starting", style="yellow")
    return Text("ready", style="green") if replica.seen.ready else Text("loading", style="cyan")


def _adapters(replica: LocalReplica) -> str:
    names = sorted(replica.seen.loaded)
    shown = ", ".join(names[:MANY]) + (f" and {len(names) - MANY} more" if len(names) > MANY else "")
    failed = "; failed: " + ", ".join(sorted(replica.seen.failed)) if replica.seen.failed else ""
    return f"{len(names)}: {shown}{failed}" if names else f"none{failed}"
