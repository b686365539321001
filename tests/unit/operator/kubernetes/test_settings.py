"""Every promised default."""

from adapter_operator.settings import OperatorSettings


def test_defaults():
    assert OperatorSettings().model_dump() == {
        "namespaces": (),
        "kubeconfig": None,
        "identity": "adaptwin-operator",
        "log_format": "json",
        "log_level": "info",
        "queue": {
            "workers": 32,
            "resync_s": 300.0,
            "backoff_initial_s": 0.5,
            "backoff_maximum_s": 300.0,
        },
        "planning": {"processes": 2, "grace_s": 15.0},
        "leader": {
            "enabled": True,
            "name": "adaptwin-operator",
            "namespace": "default",
            "lease_s": 15.0,
            "renew_deadline_s": 10.0,
            "retry_s": 2.0,
        },
        "server": {"address": "0.0.0.0", "metrics_port": 9090, "liveness_port": 8080},
    }


def test_a_leader_stops_writing_before_it_can_be_succeeded():
    leader = OperatorSettings().leader
    assert leader.retry_s < leader.renew_deadline_s < leader.lease_s
