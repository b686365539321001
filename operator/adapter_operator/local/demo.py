"""A demonstration: traffic shifts and grows, the operator plans anew, the twin verifies, adapters move."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from adapter_operator.local.cluster import Emulation
from adapter_operator.local.errors import LocalError
from adapter_operator.local.gateway import ADAPTWIN
from adapter_operator.local.system import LocalSettings, LocalSystem
from adapter_operator.reconcile.planner import InlinePlanner
from adapter_twin.outputs import write_text
from adapter_twin.rendering.page import page_environment
from adapter_twin.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SPEED_UP: Final = 10.0
READY_WITHIN_S: Final = 180.0
SETTLED_WITHIN_S: Final = 60.0
TITLE: Final = "adaptwin: traffic shifts, adapters follow"


@dataclass(frozen=True)
class Check:
    """Something that was to be seen.

    Attributes:
        statement: What.
        holds: Whether it was.
    """

    statement: str
    holds: bool


async def run_demo(folder: Path, report: Path | None, tell: Callable[[str], None]) -> bool:
    """Run the demonstration; whether all went as it was told to.

    Args:
        folder: For files and logs.
        report: Where to write a page about it.
        tell: Takes each line for people.
    """
    files = resources.files("adapter_operator.local")
    for name in ("demo.yaml", "demo_traffic.yaml"):
        write_text(folder / name, files.joinpath(name).read_text(encoding="utf-8"))
    with contextlib.closing(InlinePlanner()) as planner:
        settings = LocalSettings(
            folder / "demo.yaml", folder, emulation=Emulation(SPEED_UP, startup_delay_s=1.0)
        )
        system = LocalSystem(settings, planner)
        system.events.listen(lambda event: tell(str(event)))
        async with system.running():
            await _until(lambda: system.settled, READY_WITHIN_S, "the first replica is not there")
            first = system.cluster.record
            system.events.tell("Normal", "TrafficBegins", "for support, then three times as much for sales")
            measured = await _send(system, folder)
            with contextlib.suppress(LocalError):
                await _until(lambda: system.settled, SETTLED_WITHIN_S, "")
            checks = _checks(system, first, measured)
    for check in checks:
        tell(f"{'✔' if check.holds else '✘'} {check.statement}")
    if report is not None:
        write_text(report, _page(system, checks, measured))
    return all(check.holds for check in checks)


async def _until(holds: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise LocalError(f"{otherwise}: waited {seconds:g} s")
        await asyncio.sleep(0.1)


async def _send(system: LocalSystem, folder: Path) -> dict[str, Any]:
    """Let `adaptwin load` send the traffic; its figures."""
    options = ("--url", system.url, "--file", str(folder / "demo_traffic.yaml"), "--output", "json")
    speed = ("--speed-up", f"{SPEED_UP:g}", "--seed", "0")
    with (folder / "load.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *ADAPTWIN, "load", *options, *speed, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    try:
        measured: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise LocalError(f"no figures came from `adaptwin load`; see {folder / 'load.log'}") from error
    return measured


def _checks(system: LocalSystem, first: Any, measured: dict[str, Any]) -> Sequence[Check]:
    last = system.cluster.record
    conditions = {item["type"]: item["status"] for item in system.resource.status.get("conditions", ())}
    most = max((entry.get("replicas", 0) for entry in system.resource.status.get("history", ())), default=0)
    failed, offered = measured["failed_requests"], measured["offered_requests"]
    return (
        Check(f"{offered} requests were sent, and {failed or 'none'} failed", failed == 0),
        Check(f"from {first.plan.replicas} to {most} replicas, as traffic grew", most > first.plan.replicas),
        Check(
            f"plan {last.plan.hash if last else '-'} is in force, and was verified by the twin",
            conditions.get("Verified") == "True",
        ),
        Check(
            "adapters moved from one replica to another, each loaded there before it was routed",
            last is not None and last.plan.assignment != first.plan.assignment,
        ),
    )


def _page(system: LocalSystem, checks: Sequence[Check], measured: dict[str, Any]) -> str:
    good = all(check.holds for check in checks)
    return (
        page_environment("adapter_operator")
        .get_template("local.html.j2")
        .render(
            title=TITLE,
            good=good,
            headline="All went as it was to." if good else "Not all went as it was to.",
            checks=checks,
            events=system.events.latest,
            phases=measured["phases"],
            version=__version__,
        )
    )
