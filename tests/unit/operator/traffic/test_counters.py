"""Counters from Envoy's statistics: what is offered, and what came between two readings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adapter_operator.traffic.counters import Counters, Increments, difference, read_counters, total

PAGE = """\
# TYPE envoy_cluster_upstream_rq_total counter
envoy_cluster_upstream_rq_total{envoy_cluster_name="xds"} 3
envoy_cluster_upstream_rq_total{envoy_cluster_name="ns=2Fa=7Cx=2Ey"} 10
# TYPE envoy_cluster_upstream_rq_retry counter
envoy_cluster_upstream_rq_retry{envoy_cluster_name="ns=2Fa=7Cx=2Ey"} 2
# TYPE envoy_cluster_upstream_rq_pending_overflow counter
envoy_cluster_upstream_rq_pending_overflow{envoy_cluster_name="ns=2Fa=7Cx=2Ey"} 4
envoy_cluster_upstream_rq_active_overflow{envoy_cluster_name="ns=2Fa=7Cx=2Ey"} 0
# TYPE envoy_cluster_upstream_rq counter
envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="ns=2Fa=7Cx=2Ey"} 99
# TYPE envoy_cluster_upstream_cx_none_healthy counter
envoy_cluster_upstream_cx_none_healthy{envoy_cluster_name="ns=2Fa=7Ccold"} 5
# TYPE envoy_adaptwin_prompt_tokens counter
envoy_adaptwin_prompt_tokens{cluster="ns/a|x.y"} 70
# TYPE envoy_adaptwin_completion_tokens counter
envoy_adaptwin_completion_tokens{cluster="ns/a|x.y"} 30
"""


def test_what_is_offered_counts_rejections_and_no_repetitions():
    models = read_counters(PAGE)
    assert models["ns/a", "x.y"] == Counters(10, 2, 4, 70, 30)
    assert models["ns/a", "x.y"].offered == 12
    assert models["ns/a", "cold"].offered == 5


def test_envoys_own_clusters_are_no_models():
    assert {host for host, _ in read_counters(PAGE)} == {"ns/a"}


def test_a_counter_that_went_back_was_reset():
    assert difference(Counters(started=3), Counters(started=10)).offered == 3


def reading(started: float) -> dict[tuple[str, str], Counters]:
    return {("ns/a", "m"): Counters(started=started)}


def offered(models) -> float:
    return models.get(("ns/a", "m"), Counters()).offered


def test_what_a_gateway_counted_before_it_was_first_read_does_not_count():
    increments = Increments()
    assert offered(increments.add({"one": reading(1000)}, ["one", "two"])) == 0
    assert offered(increments.add({"one": reading(1003), "two": reading(500)}, ["one", "two"])) == 3
    assert offered(increments.add({"one": reading(1003), "two": reading(501)}, ["one", "two"])) == 1


def test_all_that_a_new_gateway_counted_counts():
    increments = Increments()
    increments.add({"one": reading(10)}, ["one"])
    assert offered(increments.add({"one": reading(10), "new": reading(7)}, ["one", "new"])) == 7


@given(
    st.lists(st.integers(0, 100), min_size=1, max_size=20),
    st.sets(st.integers(0, 19)),
    st.sets(st.integers(1, 19)),
)
def test_missed_rounds_and_restarts_lose_nothing_that_was_read(counts, missed, restarts):
    """What the readings show is counted once, however many rounds are missed in between."""
    increments, counter, seen, expected = Increments(), 0, None, 0
    got = 0.0
    for n, count in enumerate(counts):
        if n in restarts:
            counter = 0
        counter += count
        readings = {} if n in missed else {"one": reading(counter)}
        got += offered(increments.add(readings, ["one"]))
        if readings:
            expected += 0 if seen is None else counter - seen if counter >= seen else counter
            seen = counter
    assert got == expected


def test_totals_are_sums():
    assert total(Counters(1, 2, 3, 4, 5), Counters(1, 1, 1, 1, 1)) == Counters(2, 3, 4, 5, 6)
    assert total() == Counters()
