import pickle

import pytest

from adapter_operator.planning import Deadline, VerificationSettings, decide
from adapter_operator.planning.errors import PlanningError
from adapter_operator.planning.wording import percent, plural


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon_s": 1.0}, "verification.horizon: 1 s is not between 1m and 24h"),
        ({"seeds": 0}, "verification.seeds: 0 is not between 1 and 20"),
        ({"seeds": 21}, "verification.seeds"),
    ],
)
def test_settings_out_of_range_are_one_sentence(settings, message):
    with pytest.raises(PlanningError, match=message):
        VerificationSettings(**settings)


def test_requests_and_decisions_cross_process_borders(request_for, believe, scripted):
    request = request_for()
    decision = decide(request, predictor=believe(1000.0), verifier=scripted(lambda _: ""))
    assert pickle.loads(pickle.dumps(request)) == request
    assert pickle.loads(pickle.dumps(decision)) == decision


def test_a_deadline_passes():
    now = [0.0]
    deadline = Deadline.after(10.0, lambda: now[0])
    assert not deadline.expired
    now[0] = 12.0
    assert deadline.expired
    assert deadline.remaining_s == 0.0


@pytest.mark.parametrize(
    ("fraction", "text"), [(1.0, "100.0%"), (0.99999, "99.9%"), (0.5, "50.0%"), (float("nan"), "–")]
)
def test_fractions_below_one_are_never_shown_as_all(fraction, text):
    assert percent(fraction) == text


def test_nouns_are_counted():
    assert (plural(1, "GPU"), plural(2000, "request")) == ("1 GPU", "2,000 requests")
