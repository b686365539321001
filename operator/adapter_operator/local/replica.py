"""One emulated replica: an engine and its agent, as processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from aiohttp import ClientError, ClientTimeout
from prometheus_client.parser import text_string_to_metric_families

from adapter_operator.agent.errors import Reason
from adapter_operator.agent.lifecycle import State
from adapter_operator.local.gateway import ADAPTWIN
from adapter_operator.local.processes import LOOPBACK, Child, Program, free_port
from adapter_twin.outputs import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from aiohttp import ClientSession

TIMEOUT: Final = ClientTimeout(total=5.0)

RUNNING: Final = "vllm:num_requests_running"
WAITING: Final = "vllm:num_requests_waiting"
OUTPUT_TOKENS: Final = "vllm:generation_tokens"
FIRST_TOKEN: Final = "vllm:time_to_first_token_seconds"  # noqa: S105 - no password
BETWEEN_TOKENS: Final = "vllm:inter_token_latency_seconds"
_READ: Final = {
    RUNNING: RUNNING,
    WAITING: WAITING,
    f"{OUTPUT_TOKENS}_total": OUTPUT_TOKENS,
    **{
        f"{name}_{part}": f"{name}_{part}"
        for name in (FIRST_TOKEN, BETWEEN_TOKENS)
        for part in ("sum", "count")
    },
}


@dataclass(frozen=True)
class Seen:
    """What was last seen of a replica.

    Attributes:
        answers: Whether engine and agent answer.
        ready: Whether it holds all that it was told to, as far as that can be loaded.
        generation: Of the assignment that its agent keeps.
        loaded: The adapters that it holds.
        troubles: Why others are not there, `reason: message`, by adapter.
        failed: Those of these that will not come by themselves.
        figures: Some of its engine's metrics.
    """

    answers: bool = False
    ready: bool = False
    generation: int = 0
    loaded: frozenset[str] = frozenset()
    troubles: Mapping[str, str] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def in_flight(self) -> float:
        """Requests that run or wait."""
        return self.figures.get(RUNNING, 0.0) + self.figures.get(WAITING, 0.0)


class LocalReplica:
    """One engine and its agent."""

    def __init__(self, name: str, folder: Path, engine_arguments: Sequence[str], max_lora_rank: int) -> None:
        """A replica that does not run yet.

        Args:
            name: Its name in the plan.
            folder: For its files and logs.
            engine_arguments: All of the engine's, but for address and port.
            max_lora_rank: Of its slots.
        """
        self.name = name
        self.max_lora_rank = max_lora_rank
        self.port, self._agent_port = free_port(), free_port()
        self._folder = folder / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._assignment = self._folder / "assignment.json"
        self.seen = Seen()
        engine = (*ADAPTWIN, "emulate", *engine_arguments, f"--host={LOOPBACK}", f"--port={self.port}")
        self.engine = Child(
            Program("engine", engine, {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}), self._folder
        )
        self.agent = Child(Program("agent", self._agent_command()), self._folder)

    def _agent_command(self) -> tuple[str, ...]:
        return (
            *(*ADAPTWIN, "agent", "run", "--log-format", "plain", "--address", LOOPBACK),
            *("--engine-url", f"http://{LOOPBACK}:{self.port}", "--port", str(self._agent_port)),
            *("--assignment", str(self._assignment), "--adapters", str(self._folder / "adapters")),
            *("--max-lora-rank", str(self.max_lora_rank)),
        )

    def start(self) -> None:
        """Start engine and agent."""
        self.engine.start()
        self.agent.start()

    async def stop(self) -> None:
        """End both."""
        await self.agent.stop()
        await self.engine.stop()

    @property
    def assignment(self) -> str | None:
        """What it was told to hold."""
        return self._assignment.read_text(encoding="utf-8") if self._assignment.exists() else None

    def assign(self, text: str) -> None:
        """Tell it what to hold."""
        if text != self.assignment:
            write_text(self._assignment, text)

    async def look(self, session: ClientSession) -> None:
        """Ask agent and engine how they are."""
        try:
            async with session.get(
                f"http://{LOOPBACK}:{self._agent_port}/v1/state", timeout=TIMEOUT
            ) as response:
                state = await response.json()
            figures = await self._figures(session) if state["engine"]["reachable"] else {}
        except (ClientError, TimeoutError, OSError):
            self.seen = Seen()
            return
        self.seen = _seen(state, figures)

    async def _figures(self, session: ClientSession) -> dict[str, float]:
        async with session.get(f"http://{LOOPBACK}:{self.port}/metrics", timeout=TIMEOUT) as response:
            return _read_figures(await response.text())


def _seen(state: Mapping[str, Any], figures: Mapping[str, float]) -> Seen:
    adapters = state["adapters"]
    troubled = [adapter for adapter in adapters if adapter["reason"]]
    return Seen(
        answers=state["engine"]["reachable"],
        ready=state["ready"],
        generation=state["generation"],
        loaded=frozenset(adapter["name"] for adapter in adapters if adapter["state"] == "Loaded"),
        troubles={adapter["name"]: f"{adapter['reason']}: {adapter['message']}" for adapter in troubled},
        failed=frozenset(
            adapter["name"]
            for adapter in troubled
            if adapter["state"] == State.FAILED and not Reason(adapter["reason"]).passes
        ),
        figures=figures,
    )


def _read_figures(text: str) -> dict[str, float]:
    wanted = "\n".join(
        line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] in _READ
    )
    figures: dict[str, float] = {}
    for family in text_string_to_metric_families(wanted + "\n"):
        for sample in family.samples:
            name = _READ[sample.name]
            figures[name] = figures.get(name, 0.0) + sample.value
    return figures
