"""The options that say what is simulated, common to the commands that need a workload."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from adapter_twin.errors import WorkloadError

if TYPE_CHECKING:
    from collections.abc import Callable

    from adapter_twin.profile import AnyProfile
    from adapter_twin.workload import Adapter, Requests
    from adapter_twin.workload.document import WorkloadDocument

DEFAULT_DURATION_S = 3600.0
DEFAULT_RATE = 0.1
DEFAULT_RANK = 8
MOST_ADAPTERS = 1_000_000

AdaptersOption = Annotated[
    int | None,
    typer.Option(
        min=1, max=MOST_ADAPTERS, help="Number of adapters; with --trace, spread its requests over so many."
    ),
]
RatesOption = Annotated[
    str | None,
    typer.Option(help="Requests/s, comma-separated; they cycle.", metavar="LIST", show_default="0.1"),
]
TotalRateOption = Annotated[
    float | None, typer.Option(help="Requests/s of all adapters together, instead of --rates.")
]
ZipfOption = Annotated[
    float | None,
    typer.Option(help="Popularity of the k-th adapter falls as k^-EXPONENT.", metavar="EXPONENT"),
]
RanksOption = Annotated[
    str | None,
    typer.Option(help="LoRA ranks, comma-separated; they cycle.", metavar="LIST", show_default="8"),
]
ArrivalsOption = Annotated[
    str | None,
    typer.Option(
        help="poisson, gamma:cv=2, on_off:on_s=60,off_s=240 or diurnal:amplitude=0.8,period_s=86400.",
        metavar="PROCESS",
        show_default="poisson",
    ),
]
PromptOption = Annotated[
    str | None,
    typer.Option(
        help="fixed:tokens=250, lognormal:mean=200,sigma=1,maximum=2048 or empirical:values=10/20/20.",
        metavar="LENGTHS",
        show_default="the profile's",
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(help="Likewise, of the outputs.", metavar="LENGTHS", show_default="the profile's"),
]
CorrelationOption = Annotated[
    float | None, typer.Option(help="Of prompt and output lengths.", show_default="the profile's")
]
WorkloadOption = Annotated[Path | None, typer.Option(help="Workload file (YAML).", metavar="FILE")]
TraceOption = Annotated[
    Path | None,
    typer.Option(help="Trace: adaptwin's CSV, or an Azure, BurstGPT or Mooncake trace.", metavar="FILE"),
]
AdapterColumnOption = Annotated[
    str | None, typer.Option(help="Column of the trace that names adapters, such as Model.", metavar="NAME")
]
TraceStartOption = Annotated[
    float | None, typer.Option(help="Leave out so many seconds at the trace's start.", metavar="SECONDS")
]
TraceSpeedOption = Annotated[
    float | None, typer.Option(help="Play the trace so many times as fast.", metavar="FACTOR")
]
DurationOption = Annotated[
    float | None,
    typer.Option(help="Seconds.", metavar="SECONDS", show_default="the file's or the trace's own, or 3600"),
]
SeedOption = Annotated[int, typer.Option(min=0, help="Seed of arrivals, lengths and drawn adapters.")]

N = TypeVar("N", int, float)


@dataclass(frozen=True, eq=False)
class Simulated:
    """Adapters and the requests that they send."""

    adapters: tuple[Adapter, ...]
    requests: Requests
    duration_s: float
    source: str
    notes: tuple[str, ...] = ()
    """What a person should know of where the requests come from."""


@dataclass(frozen=True)
class WorkloadOptions:
    """The options as given; None where one was not."""

    adapters: int | None = None
    rates: str | None = None
    total_rate: float | None = None
    zipf: float | None = None
    ranks: str | None = None
    arrivals: str | None = None
    prompt_tokens: str | None = None
    output_tokens: str | None = None
    correlation: float | None = None
    workload: Path | None = None
    trace: Path | None = None
    adapter_column: str | None = None
    trace_start: float | None = None
    trace_speed: float | None = None
    duration: float | None = None
    seed: int = 0

    def simulated(
        self, profile: AnyProfile | None, on_rows: Callable[[int], None] | None = None
    ) -> Simulated:
        """Read or draw the requests.

        Args:
            profile: whose lengths are assumed where none are given.
            on_rows: called now and then while a trace is read.

        Raises:
            WorkloadError: an option, or the file that it names, is not allowed.
        """
        if self.trace is not None:
            return self._traced(on_rows)
        if self.workload is not None:
            self._refuse("--workload", _SHAPE_OPTIONS + _TRACE_OPTIONS)
            return self._drawn(self._read(self.workload), profile, str(self.workload))
        if self.adapters is None:
            raise WorkloadError("workload: give --adapters, --workload or --trace")
        self._refuse("--adapters", _TRACE_OPTIONS)
        return self._drawn(self._document(self.adapters), profile, self._described())

    def _refuse(self, source: str, names: tuple[str, ...]) -> None:
        given = [name for name in names if getattr(self, name) is not None]
        if given:
            raise WorkloadError(f"{given[0].replace('_', '-')}: does not go with {source}")

    def _traced(self, on_rows: Callable[[int], None] | None) -> Simulated:
        from adapter_twin.workload.trace import TraceRules, read_trace  # noqa: PLC0415 - keeps --help quick

        self._refuse("--trace", _DRAWN_OPTIONS)
        if self.zipf is not None and self.adapters is None:
            raise WorkloadError("zipf: a trace needs --adapters with it, the number to spread requests over")
        rules = TraceRules(
            adapters=self.adapters,
            zipf=self.zipf or 0.0,
            column=self.adapter_column,
            ranks=_numbers("ranks", self.ranks, int) or (DEFAULT_RANK,),
            start_s=self.trace_start or 0.0,
            speed=1.0 if self.trace_speed is None else self.trace_speed,
            duration_s=self.duration,
            seed=self.seed,
        )
        read = read_trace(str(self.trace), rules, on_rows)
        notes = (
            [] if read.adapters else ["the trace names no adapters, so all requests are for the base model"]
        )
        if read.failed:
            notes.append(f"{read.failed:,} requests without prompt or output tokens are left out")
        duration_s = self.duration or _traced_duration_s(read.requests)
        source = f"{self.trace} ({read.format} trace)"
        return Simulated(read.adapters, read.requests, duration_s, source, tuple(notes))

    def _read(self, path: Path) -> WorkloadDocument:
        from adapter_twin.workload.document import read_workload  # noqa: PLC0415

        return read_workload(path)

    def _document(self, count: int) -> WorkloadDocument:
        from adapter_twin.workload.document import (  # noqa: PLC0415
            AdapterDocument,
            WorkloadDocument,
            ZipfDocument,
        )

        rates = _numbers("rates", self.rates, float)
        if self.total_rate is None and self.zipf is not None:
            raise WorkloadError("zipf: needs --total-rate, the requests/s that are spread over the adapters")
        if self.total_rate is not None and rates:
            raise WorkloadError("rates: does not go with --total-rate")
        zipf = None
        if self.total_rate is not None:
            zipf = ZipfDocument(total_rate=self.total_rate, exponent=self.zipf or 0.0)
        entry = AdapterDocument(
            name="adapter",
            count=count,
            rates=rates or (() if zipf else (DEFAULT_RATE,)),
            ranks=_numbers("ranks", self.ranks, int) or (DEFAULT_RANK,),
            zipf=zipf,
        )
        return WorkloadDocument(adapters=(entry,))

    def _drawn(self, document: WorkloadDocument, profile: AnyProfile | None, source: str) -> Simulated:
        from adapter_twin.workload.generation import generate  # noqa: PLC0415

        built = document.model_copy(update=self._changes()).build(profile, DEFAULT_DURATION_S)
        return Simulated(built.adapters, generate(built, self.seed), built.duration_s, source)

    def _changes(self) -> dict[str, Any]:
        from adapter_twin.workload.spec import arrivals_of, lengths_of  # noqa: PLC0415

        changes: dict[str, Any] = {"duration_s": self.duration, "correlation": self.correlation}
        if self.arrivals is not None:
            changes["arrivals"] = arrivals_of("arrivals", self.arrivals)
        if self.prompt_tokens is not None:
            changes["prompt"] = lengths_of("prompt-tokens", self.prompt_tokens)
        if self.output_tokens is not None:
            changes["output"] = lengths_of("output-tokens", self.output_tokens)
        return {name: value for name, value in changes.items() if value is not None}

    def _described(self) -> str:
        if self.total_rate is None:
            rates = f"rates {self.rates or DEFAULT_RATE}, cycling"
        else:
            rates = f"{self.total_rate:g} requests/s by Zipf with exponent {self.zipf or 0.0:g}"
        return f"{rates}; {self.arrivals or 'poisson'}"


_SHAPE_OPTIONS = ("adapters", "rates", "total_rate", "zipf", "ranks")
_TRACE_OPTIONS = ("adapter_column", "trace_start", "trace_speed")
_DRAWN_OPTIONS = (
    "workload",
    "rates",
    "total_rate",
    "arrivals",
    "prompt_tokens",
    "output_tokens",
    "correlation",
)


def _traced_duration_s(requests: Requests) -> float:
    """To the end of the last minute with an arrival, and one more to serve it."""
    return 60.0 * (float(requests.arrival_s[-1]) // 60 + 2)


def _numbers(option: str, text: str | None, kind: type[N]) -> tuple[N, ...]:
    if text is None:
        return ()
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError:
        example = "8,16" if kind is int else "0.4,0.05"
        raise WorkloadError(f"{option}: {text!r} is not a list of numbers such as {example}") from None
