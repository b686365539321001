"""The operator's settings: grouped, frozen, read once from the command line; a test pins every default."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LogFormat = Literal["json", "plain"]
LogLevel = Literal["debug", "info", "warning", "error"]

Seconds = Annotated[float, Field(gt=0.0)]
Port = Annotated[int, Field(ge=0, le=65535)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class QueueSettings(_Group):
    """How work is taken from the queue.

    Attributes:
        workers: Objects that are reconciled at the same time. Those that wait for a planning process count,
            and must not keep the others from being rolled out and mended: hence many more than processes.
        resync_s: Every object is looked at again after this long, whatever happened.
        backoff_initial_s: Delay before an object whose reconciliation failed is tried again; doubles.
        backoff_maximum_s: The longest such delay.
    """

    workers: int = Field(default=32, ge=1, le=256)
    resync_s: Seconds = 300.0
    backoff_initial_s: Seconds = 0.5
    backoff_maximum_s: Seconds = 300.0


class PlanningSettings(_Group):
    """Where plans are computed and verified.

    Attributes:
        processes: Processes that plan and verify; each takes one core while it is at it.
        grace_s: A process that overruns its own deadline by this long is killed.
    """

    processes: int = Field(default=2, ge=1, le=64)
    grace_s: Seconds = 15.0


class LeaderSettings(_Group):
    """Leadership by a Lease.

    Attributes:
        enabled: Whether to wait for leadership at all; off only where one operator is certain.
        name: The Lease's name.
        namespace: The Lease's namespace.
        lease_s: A leader that has not renewed for this long is succeeded.
        renew_deadline_s: A leader that could not renew for this long writes nothing any more.
        retry_s: Between attempts to take or renew.
    """

    enabled: bool = True
    name: str = "adaptwin-operator"
    namespace: str = "default"
    lease_s: Seconds = 15.0
    renew_deadline_s: Seconds = 10.0
    retry_s: Seconds = 2.0


class ServerSettings(_Group):
    """What the operator serves over HTTP.

    Attributes:
        address: Where it listens.
        metrics_port: Prometheus metrics; 0 serves none.
        liveness_port: The liveness probe; 0 serves none.
    """

    address: str = "0.0.0.0"  # noqa: S104 - probes and scrapes come from outside the pod
    metrics_port: Port = 9090
    liveness_port: Port = 8080


class OperatorSettings(_Group):
    """All settings of `adaptwin operator run`.

    Attributes:
        namespaces: Namespaces that are watched; all where empty.
        kubeconfig: The kubeconfig file; the pod's ServiceAccount where None.
        identity: Name of this process among the operator's replicas.
        log_format: How log lines are written.
        log_level: The least severe log line that is written.
    """

    namespaces: tuple[str, ...] = ()
    kubeconfig: Path | None = None
    identity: str = "adaptwin-operator"
    log_format: LogFormat = "json"
    log_level: LogLevel = "info"
    queue: QueueSettings = QueueSettings()
    planning: PlanningSettings = PlanningSettings()
    leader: LeaderSettings = LeaderSettings()
    server: ServerSettings = ServerSettings()
