"""Whether a replay is its recording, field by field.

Everything that a recorded step holds is compared. Two orders have no meaning and are ignored: that of the
adapters of a batch (`loras`, `loras_sched`: sets) and, since it is an input of the replay, that of
`lora_apply`, of which the set is compared. `summary` is not compared: it counts what the steps hold.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from adapter_twin.conformance.replay import replay
from adapter_twin.errors import ConformanceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from adapter_twin.conformance.recording import RecordedStep, Recording

_LISTS: Final = (
    "add",
    "sched",
    "new",
    "resumed",
    "preempted",
    "finished",
    "running",
    "waiting",
    "skipped",
    "loras",
)
"""Lists that are empty where a step leaves them out."""
_SAME_AS: Final = {
    "deferred": "skipped",
    "running_end": "running",
    "waiting_end": "waiting",
    "kv_end": "kv",
    "loras_sched": "loras",
}
"""Fields that equal another one where a step leaves them out."""
_IF_ANYWHERE: Final = ("lora_ev", "computed", "blocks", "ph")
"""Lists that a recording has or has not; in one that has them they are empty where a step leaves them out."""
_IF_PRESENT: Final = ("kv", "lora_apply", "slots", "cpu_lru", "gpu_lru")
_SETS: Final = ("loras", "loras_sched", "lora_apply")
_KNOWN: Final = {"t", "upd", "idle", "nosched", *_LISTS, *_SAME_AS, *_IF_ANYWHERE, *_IF_PRESENT}


def difference(recording: Recording) -> str | None:
    """Where the replay leaves its recording, in words; None if it does not.

    Raises:
        ConformanceError: a step holds a field that is not known.
    """
    fields = _recorded_fields(recording)
    for place, (replayed, recorded) in enumerate(zip_longest(replay(recording), recording.steps)):
        if replayed is None:
            return f"different at step {place}: nothing is left to do, but the recording goes on"
        if recorded is None:
            return f"different at step {place}: the recording has ended, but something is left to do"
        for field, expected in _expected(recorded, fields):
            found = _comparable(field, replayed[field])
            if found != expected:
                return f"different at step {place}: {field} is {found}, recorded is {expected}"
    return None


def _recorded_fields(recording: Recording) -> set[str]:
    fields = {field for step in recording.steps for field in step}
    unknown = sorted(fields - _KNOWN)
    if unknown:
        raise ConformanceError(f"steps: the field {unknown[0]} is not known")
    return fields


def _expected(recorded: RecordedStep, fields: set[str]) -> Iterator[tuple[str, Any]]:
    """What the replay must have in each field, those left out filled in as `format` says."""
    yield "idle", recorded.get("idle", False)
    yield "nosched", recorded.get("nosched", False)
    yield "upd", recorded.get("upd")
    for field in (*_LISTS, *(field for field in _IF_ANYWHERE if field in fields)):
        yield field, _comparable(field, recorded.get(field, []))
    for field in _IF_PRESENT:
        if field in recorded:
            yield field, _comparable(field, recorded[field])
    for field, other in _SAME_AS.items():
        if field in recorded or other in recorded or other in _LISTS:
            yield field, _comparable(field, recorded.get(field, recorded.get(other, [])))


def _comparable(field: str, value: Any) -> Any:
    return sorted(value) if field in _SETS else value
