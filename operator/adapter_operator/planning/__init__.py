"""Planning: from what is wanted to a plan that the twin has verified. Pure: knows nothing of Kubernetes.

`decide` places, has the twin verify, repairs what it rejects, and returns a frozen `Decision`; whether that
may be applied is derived from its contents. Applying it is somebody else's work.
"""

from adapter_operator.planning.decide import decide, reject
from adapter_operator.planning.decision import Attempt, Decision, Timings
from adapter_operator.planning.from_spec import request_from_spec
from adapter_operator.planning.request import PlanningRequest, VerificationSettings
from adapter_operator.planning.verdict import AdapterFigures, Envelope, Reason, ReplicaFigures, Verdict
from adapter_operator.planning.verify import TwinVerifier, Verifier
from adapter_predictor.deadline import Deadline

__all__ = [
    "AdapterFigures",
    "Attempt",
    "Deadline",
    "Decision",
    "Envelope",
    "PlanningRequest",
    "Reason",
    "ReplicaFigures",
    "Timings",
    "TwinVerifier",
    "Verdict",
    "VerificationSettings",
    "Verifier",
    "decide",
    "reject",
    "request_from_spec",
]
