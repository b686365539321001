"""Traffic: phases of workloads one after another, or a trace; all known before the first request is sent."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from hashlib import blake2b
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapter_operator.load.errors import LoadError
from adapter_twin.errors import WorkloadError
from adapter_twin.workload import Adapter, Requests, Workload, generate
from adapter_twin.workload.document import WorkloadDocument
from adapter_twin.workload.model import BASE_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from adapter_twin.profile import AnyProfile
    from adapter_twin.workload_options import WorkloadOptions

PHASES = "phases"


@dataclass(frozen=True)
class Phase:
    """A part of the time, in seconds of the served system."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Traffic:
    """All requests, and whose they are."""

    adapters: tuple[Adapter, ...]
    requests: Requests
    duration_s: float
    phases: tuple[Phase, ...]
    notes: tuple[str, ...] = ()
    """What a person should know of where the requests come from."""

    @property
    def base_requests(self) -> int:
        """Requests for no adapter."""
        return int(np.count_nonzero(self.requests.adapter == BASE_MODEL))

    def until(self, end_s: float) -> Traffic:
        """What of it lies before a time."""
        return replace(
            self,
            requests=self.requests.select(self.requests.arrival_s < end_s),
            duration_s=min(end_s, self.duration_s),
            phases=tuple(
                replace(phase, end_s=min(phase.end_s, end_s))
                for phase in self.phases
                if phase.start_s < end_s
            ),
        )


class PhaseDocument(WorkloadDocument):
    """One phase: a workload that lasts for a stated time."""

    name: str = ""
    duration_s: float = Field(gt=0)


class TrafficDocument(BaseModel):
    """A traffic file; what it says beside its phases holds for those that do not say it themselves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phases: tuple[PhaseDocument, ...] = Field(min_length=1)


def read_traffic(options: WorkloadOptions, profile: AnyProfile | None = None) -> Traffic:
    """The traffic that options name: a file with phases, a workload file, or a trace.

    A workload or a trace becomes the very requests that `adaptwin twin run` simulates with these options.

    Args:
        options: as `adaptwin twin run` takes them; `workload` may also be a file with phases.
        profile: whose token lengths are assumed where none are given.

    Raises:
        WorkloadError: a file or an option is not allowed; one sentence.
    """
    if options.workload is not None:
        content = _content(options.workload)
        if isinstance(content, dict) and PHASES in content:
            _require_alone(options)
            return _phased(_document(options.workload, content), profile, options.seed)
    drawn = options.simulated(profile)
    whole = (Phase("", 0.0, drawn.duration_s),)
    return Traffic(drawn.adapters, drawn.requests, drawn.duration_s, whole, drawn.notes)


def phase_seed(seed: int, phase: int) -> int:
    """The first phase draws by the seed itself, as a workload without phases does; others by their own."""
    if phase == 0:
        return seed
    return int.from_bytes(blake2b(f"{seed}/phase/{phase}".encode(), digest_size=8).digest(), "little")


def _require_alone(options: WorkloadOptions) -> None:
    for field in fields(options):
        if field.name not in {"workload", "seed"} and getattr(options, field.name) is not None:
            name = field.name.replace("_", "-")
            raise WorkloadError(f"{name}: does not go with a file with phases, which have their own")


def _content(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read, {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: not a YAML file") from error


def _document(path: Path, content: dict[str, Any]) -> TrafficDocument:
    common = {name: value for name, value in content.items() if name != PHASES}
    phases = content[PHASES]
    if isinstance(phases, list):
        phases = [common | phase if isinstance(phase, dict) else phase for phase in phases]
    try:
        return TrafficDocument.model_validate({PHASES: phases})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise WorkloadError(f"{path}: {field}: {first['msg']}") from error


def _phased(document: TrafficDocument, profile: AnyProfile | None, seed: int) -> Traffic:
    workloads = [phase.build(profile, phase.duration_s) for phase in document.phases]
    ends = np.cumsum([workload.duration_s for workload in workloads])
    starts = [0.0, *ends[:-1].tolist()]
    adapters = _common_adapters(workloads)
    places = {adapter.name: place for place, adapter in enumerate(adapters)}
    drawn = [
        _moved(
            generate(workload, phase_seed(seed, place)), start, [places[a.name] for a in workload.adapters]
        )
        for place, (workload, start) in enumerate(zip(workloads, starts, strict=True))
    ]
    names = [phase.name or f"{place + 1}" for place, phase in enumerate(document.phases)]
    bounds = pairwise([0.0, *ends.tolist()])
    phases = tuple(Phase(name, *bound) for name, bound in zip(names, bounds, strict=True))
    return Traffic(adapters, _joined(drawn), float(ends[-1]), phases)


def _common_adapters(workloads: Sequence[Workload]) -> tuple[Adapter, ...]:
    """Each adapter once, in order of first mention, with its mean rate over all phases."""
    total_s = sum(workload.duration_s for workload in workloads)
    ranks: dict[str, int] = {}
    requests: dict[str, float] = {}
    for workload in workloads:
        for adapter in workload.adapters:
            if ranks.setdefault(adapter.name, adapter.rank) != adapter.rank:
                raise LoadError(
                    f"phases: adapter {adapter.name} has rank {ranks[adapter.name]} in one phase and "
                    f"{adapter.rank} in another; give it one rank"
                )
            requests[adapter.name] = requests.get(adapter.name, 0.0) + adapter.rate * workload.duration_s
    return tuple(Adapter(name, requests[name] / total_s, rank) for name, rank in ranks.items())


def _moved(requests: Requests, start_s: float, places: list[int]) -> Requests:
    owner = np.asarray([*places, BASE_MODEL])[requests.adapter]
    return Requests(requests.arrival_s + start_s, requests.prompt_tokens, requests.output_tokens, owner)


def _joined(parts: Iterable[Requests]) -> Requests:
    columns = zip(*((p.arrival_s, p.prompt_tokens, p.output_tokens, p.adapter) for p in parts), strict=True)
    return Requests(*(np.concatenate(column) for column in columns))
