"""What the agent serves: readiness, its state, assignments by post, metrics."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from adapter_operator.assignment import Assignment, AssignmentError

if TYPE_CHECKING:
    from adapter_operator.agent.keeper import Keeper
    from adapter_operator.agent.metrics import AgentMetrics

MAX_BODY_BYTES: Final = 4 << 20


def application(keeper: Keeper, metrics: AgentMetrics, token: str) -> web.Application:
    """The agent's HTTP server.

    Args:
        keeper: What it tells of, and hands assignments to.
        metrics: What `/metrics` shows.
        token: What a post must bear; where it is empty nobody may post.
    """
    handlers = _Handlers(keeper, metrics, token)
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.router.add_get("/healthz", handlers.health)
    app.router.add_get("/readyz", handlers.ready)
    app.router.add_get("/v1/state", handlers.state)
    app.router.add_post("/v1/assignment", handlers.assign)
    app.router.add_get("/metrics", handlers.metrics)
    return app


class _Handlers:
    def __init__(self, keeper: Keeper, metrics: AgentMetrics, token: str) -> None:
        self._keeper = keeper
        self._metrics = metrics
        self._token = token

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def ready(self, _request: web.Request) -> web.Response:
        if self._keeper.ready:
            return web.Response(text="ready")
        return web.Response(status=503, text=self._why_not())

    def _why_not(self) -> str:
        if self._keeper.assignment is None:
            return "no assignment yet"
        if not self._keeper.engine.reachable:
            return "the engine does not answer"
        missing = [
            f"{name}: {state.value}" + (f" ({failure.reason.value}: {failure.message})" if failure else "")
            for name, (state, failure, _) in self._keeper.states().items()
            if state != "Loaded"
        ]
        return "adapters are missing: " + "; ".join(missing)

    async def state(self, _request: web.Request) -> web.Response:
        assignment, engine = self._keeper.assignment, self._keeper.engine
        return web.json_response(
            {
                "generation": assignment.generation if assignment else 0,
                "plan": assignment.plan if assignment else "",
                "ready": self._keeper.ready,
                "engine": {"reachable": engine.reachable, "version": engine.version or None},
                "adapters": [_adapter(name, *known) for name, known in self._keeper.states().items()],
            }
        )

    async def assign(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode()
        if not self._token or not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return web.json_response({"error": "a valid bearer token is needed"}, status=401)
        try:
            assignment = Assignment.from_json(await request.read())
        except AssignmentError as error:
            return web.json_response({"error": str(error)}, status=400)
        if not self._keeper.assign(assignment):
            present = self._keeper.assignment
            newer = present.generation if present else 0
            message = f"generation {assignment.generation} is older than {newer}, which is kept"
            return web.json_response({"error": message}, status=409)
        return web.json_response({"generation": assignment.generation}, status=202)

    async def metrics(self, _request: web.Request) -> web.Response:
        body = generate_latest(self._metrics.registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _adapter(name: str, state: Any, failure: Any, files: Any) -> dict[str, Any]:
    return {
        "name": name,
        "state": state.value,
        "reason": failure.reason.value if failure else "",
        "message": failure.message if failure else "",
        "version": files.version if files else "",
    }
