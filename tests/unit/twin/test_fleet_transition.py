"""Fleets that change while they serve."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapter_twin.errors import EngineConfigError, OutOfMemoryError, WorkloadError
from adapter_twin.fleet import (
    EventKind,
    Failure,
    Fate,
    Fleet,
    FleetReplica,
    Mechanics,
    Rollout,
    simulate_fleet,
    simulate_static,
    simulate_transition,
)
from adapter_twin.fleet.figures import Objectives, headline
from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig
from adapter_twin.workload import Adapter, Fixed, Workload

CONFIG, OTHER = ReplicaConfig(8, 8), ReplicaConfig(4, 8)
QUICK = Mechanics(image_s=10.0, weights_s=5.0, compile_s=15.0, drain_timeout_s=60.0)
PROFILE = load_profile("qwen-2.5-7b-instruct-h100-64gb")
ADAPTERS = tuple(Adapter(f"a{i}", (0.6, 0.3, 0.1)[i % 3], 8) for i in range(6))


def traffic(duration_s=300.0, rate=1.0, adapters=ADAPTERS):
    scaled = [replace(adapter, rate=rate * adapter.rate) for adapter in adapters]
    return Workload.for_profile(PROFILE, scaled, duration_s)


def pool(name, replicas, config=CONFIG, adapters=ADAPTERS):
    """Every adapter on one replica, in turn."""
    return [
        FleetReplica(f"{name}-{i}", config, tuple((a.name, 1.0) for a in adapters[i::replicas]))
        for i in range(replicas)
    ]


def everywhere(name, replicas, config=CONFIG, adapters=ADAPTERS):
    """Every adapter on every replica."""
    shares = tuple((adapter.name, 1 / replicas) for adapter in adapters)
    return [FleetReplica(f"{name}-{i}", config, shares) for i in range(replicas)]


def run(fleet, *changes, workload=None, seed=3, **options):
    options.setdefault("mechanics", QUICK)
    options.setdefault("bins", 30)
    return simulate_fleet(
        PROFILE, Fleet.of(fleet), workload or traffic(), seed=seed, changes=changes, **options
    )


def when(report, kind, name=""):
    return [e.at_s for e in report.events if e.kind is kind and name in (e.replica, e.adapter, "")]


# --- agreement with static fleets


@pytest.mark.parametrize("rate", [1.0, 12.0])
def test_invariant_f1_without_changes_a_fleet_is_the_static_one_bit_for_bit(rate):
    workload, replicas = traffic(rate=rate), [*pool("p", 2), FleetReplica("idle-0", CONFIG, ())]
    static = simulate_static(PROFILE, replicas, workload, seed=3)
    report = run(replicas, workload=workload)
    assert list(report.replicas) == list(static.replicas)
    for name, (own,) in report.replicas.items():
        assert own.to_dict() == static.replicas[name].to_dict()
    assert report.served_fraction == static.served_fraction
    assert report.throughput_tokens_per_s == pytest.approx(static.throughput_tokens_per_s, rel=1e-12)
    assert report.events == ()
    assert report.completed_at_s is None


def test_partly_routed_adapters_starve_as_they_do_in_a_static_fleet():
    replicas = [FleetReplica("r-0", CONFIG, (("a0", 1.0), ("a1", 0.5)))]
    static = simulate_static(PROFILE, replicas, traffic(), seed=3)
    report = run(replicas)
    assert report.served_fraction == static.served_fraction
    assert report.adapters.starving(0.9)[:, 2][report.adapters.due_tokens[:, 2] > 0].all()
    assert report.adapters.unavailable_adapter_s() == pytest.approx(4 * 300.0)


def test_a_look_at_the_replicas_changes_nothing():
    """A failure of a replica that serves nobody interrupts the clock, not the others."""
    idle = FleetReplica("idle-0", CONFIG, ())
    alone = run(pool("p", 2))
    looked_at = run([*pool("p", 2), idle], Failure("idle-0", 100.0, 10.0))
    for name in ("p-0", "p-1"):
        assert looked_at.replicas[name][0].to_dict() == alone.replicas[name][0].to_dict()


# --- properties of random transitions

FLEETS = st.builds(
    lambda kind, name, replicas, config: kind(name, replicas, config),
    st.sampled_from([pool, everywhere]),
    st.sampled_from(["p", "q"]),
    st.integers(1, 3),
    st.just(CONFIG),
)
FAILURES = st.lists(
    st.builds(
        Failure,
        st.sampled_from(["p-0", "p-1"]),
        st.floats(0, 140),
        st.one_of(st.none(), st.floats(0, 50)),
    ),
    max_size=2,
)


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=st.sampled_from([pool("p", 2), everywhere("p", 2), everywhere("p", 3)]),
    after=FLEETS,
    surge=st.integers(0, 2),
    at_s=st.floats(0, 120),
    failures=FAILURES,
    rate=st.sampled_from([0.5, 4.0, 20.0]),
    drain_s=st.sampled_from([0.0, 5.0, 60.0]),
    retry=st.booleans(),
    seed=st.integers(0, 3),
)
def test_invariants_f2_and_f3_hold_in_any_transition(
    before, after, surge, at_s, failures, rate, drain_s, retry, seed
):
    workload = traffic(150.0, rate)
    rollout = Rollout(Fleet.of(after), at_s, surge)
    mechanics = replace(QUICK, drain_timeout_s=drain_s, retry_before_first_byte=retry)
    report = run(before, rollout, *failures, workload=workload, seed=seed, mechanics=mechanics)
    outcomes, requests = report.outcomes, report.outcomes.requests

    # conservation
    assert sum(report.fates.values()) == requests.count
    assert report.adapters.offered_requests.sum() == requests.count
    assert report.adapters.completed_requests.sum() == report.fates[Fate.COMPLETED]
    assert ((outcomes.replica < 0) <= np.isin(outcomes.fate, (Fate.UNROUTED, Fate.LOST))).all()
    if not failures and drain_s > 5:
        assert report.fates[Fate.LOST] == 0 or rate > 10

    # causality
    done = outcomes.fate == Fate.COMPLETED
    first, last = outcomes.first_token_s[done], outcomes.finish_s[done]
    assert (requests.arrival_s[done] < first).all()
    assert (first <= last).all()
    assert (last <= report.duration_s).all()
    times = [event.at_s for event in report.events]
    assert times == sorted(times)

    # limits
    ceiling = max(len(before), len(after)) + surge
    assert report.replicas_with_gpus.max() <= ceiling
    assert (report.adapters.served_tokens <= report.adapters.due_tokens).all()
    assert (report.adapters.due_tokens <= report.adapters.offered_tokens).all()

    # determinism
    again = run(before, rollout, *failures, workload=workload, seed=seed, mechanics=mechanics, threads=3)
    assert again.events == report.events
    assert (again.outcomes.fate == outcomes.fate).all()
    assert np.array_equal(again.outcomes.finish_s, outcomes.finish_s, equal_nan=True)


# --- rollouts


def test_a_rollout_loads_confirms_routes_drains_and_unloads_in_this_order():
    report = run(pool("p", 2), Rollout(Fleet.of(reversed_pool()), at_s=50.0))
    assert report.completed_at_s is not None
    (loaded,) = when(report, EventKind.COPY_LOADED, "a0")
    order = [
        event.kind
        for event in report.events
        if event.adapter == "a0" and event.kind is not EventKind.ROLLOUT_STARTED
    ]
    assert order == [
        EventKind.COPY_LOADED,
        EventKind.COPY_CONFIRMED,
        EventKind.ADAPTER_ROUTED,
        EventKind.COPY_UNLOADED,
    ]
    assert loaded > 50.0 + QUICK.fetch_base_s
    (confirmed,) = when(report, EventKind.COPY_CONFIRMED, "a0")
    (routed,) = when(report, EventKind.ADAPTER_ROUTED, "a0")
    assert confirmed == pytest.approx(loaded + QUICK.confirm_s)
    assert routed == pytest.approx(confirmed + QUICK.route_s)
    assert not when(report, EventKind.REPLICA_STARTING)
    outcomes = report.outcomes
    of_a0 = outcomes.requests.adapter == 0
    moved = outcomes.requests.arrival_s >= routed
    assert (outcomes.replica[of_a0 & ~moved] == 0).all()
    assert (outcomes.replica[of_a0 & moved] == 1).all()
    assert report.fates[Fate.LOST] == report.fates[Fate.UNROUTED] == 0
    assert report.adapters.least_copies.min() == 1


def reversed_pool():
    """The adapters of p-0 on p-1, and the other way round."""
    first, second = pool("p", 2)
    return [replace(first, shares=second.shares), replace(second, shares=first.shares)]


def test_several_adapters_are_fetched_at_once_but_loaded_one_after_another():
    slow = replace(QUICK, fetch_base_s=20.0, parallel_fetches=2)
    report = run(pool("p", 2), Rollout(Fleet.of(reversed_pool()), at_s=50.0), mechanics=slow)
    loaded = sorted(
        event.at_s
        for event in report.events
        if event.kind is EventKind.COPY_LOADED and event.replica == "p-1"
    )
    assert len(loaded) == 3
    assert loaded[1] - loaded[0] < 1.0
    assert loaded[1] > loaded[0]
    assert loaded[2] - loaded[0] == pytest.approx(20.0, abs=1.5)


def test_a_new_replica_gets_traffic_once_all_its_adapters_are_loaded():
    report = run(pool("p", 1), Rollout(Fleet.of(pool("p", 2)), at_s=50.0))
    (starting,) = when(report, EventKind.REPLICA_STARTING, "p-1")
    (up,) = when(report, EventKind.REPLICA_UP, "p-1")
    (ready,) = when(report, EventKind.REPLICA_READY, "p-1")
    assert starting == 50.0
    assert up == pytest.approx(80.0)
    loaded = [e.at_s for e in report.events if e.kind is EventKind.COPY_LOADED]
    assert len(loaded) == 3
    assert max(loaded) == ready
    assert min(when(report, EventKind.COPY_CONFIRMED)) == pytest.approx(ready + QUICK.confirm_s)
    outcomes = report.outcomes
    assert outcomes.requests.arrival_s[outcomes.replica == 1].min() >= ready
    assert report.replicas_with_gpus.tolist() == [1] * 5 + [2] * 25


def test_start_up_times_are_the_profiles_unless_told_otherwise():
    mechanics = Mechanics.for_profile(PROFILE, compile_s=1.0)
    startup = PROFILE.startup
    assert (mechanics.image_s, mechanics.weights_s, mechanics.compile_s) == (
        startup.image_s,
        startup.weights_s,
        1.0,
    )


@pytest.mark.parametrize("surge", [0, 1, 2])
def test_a_new_pool_replaces_the_old_one_within_the_surge_and_never_below_the_copies(surge):
    before, after = everywhere("p", 3), everywhere("q", 3, OTHER)
    rollout = Rollout(
        Fleet.of(after), at_s=20.0, surge_gpus=surge, min_copies=tuple((a.name, 2) for a in ADAPTERS)
    )
    report = run(before, rollout, workload=traffic(600.0))
    assert report.completed_at_s is not None
    assert report.replicas_with_gpus.max() == 3 + surge
    assert report.replicas_with_gpus[-1] == 3
    assert report.adapters.least_copies.min() >= 2
    assert report.fates[Fate.UNROUTED] == report.fates[Fate.LOST] == 0
    stopped = [e.replica for e in report.events if e.kind is EventKind.REPLICA_STOPPED]
    assert sorted(stopped) == ["p-0", "p-1", "p-2"]


def test_the_only_replica_is_replaced_with_an_interruption_if_there_is_no_other_gpu():
    rollout = Rollout(Fleet.of(pool("q", 1)), at_s=20.0)
    report = run(pool("p", 1), rollout)
    assert report.fates[Fate.UNROUTED] > 0
    assert report.fates[Fate.LOST] == 0
    assert (report.adapters.unavailable_s.sum(axis=0) > 30.0).all()
    surged = run(pool("p", 1), replace(rollout, surge_gpus=1))
    assert surged.fates[Fate.UNROUTED] == 0


def test_a_drain_waits_for_requests_in_flight_but_not_for_ever():
    long_answers = replace(traffic(), output=Fixed(4000), max_total_tokens=8000)
    patient, hasty = (
        run(
            pool("p", 1),
            Rollout(Fleet.of(pool("q", 1)), at_s=20.0, surge_gpus=1),
            workload=long_answers,
            mechanics=replace(QUICK, drain_timeout_s=timeout_s),
        )
        for timeout_s in (200.0, 2.0)
    )
    assert patient.fates[Fate.LOST] == 0
    assert hasty.fates[Fate.LOST] > 0
    waits = [
        when(r, EventKind.REPLICA_STOPPED)[0] - when(r, EventKind.REPLICA_DRAINING)[0]
        for r in (patient, hasty)
    ]
    assert waits[0] > 20.0
    assert waits[1] == pytest.approx(2.0, abs=QUICK.poll_s)


def test_one_rollout_after_another():
    one, two = pool("p", 1), pool("p", 2)
    report = run(one, Rollout(Fleet.of(two), at_s=20.0), Rollout(Fleet.of(one), at_s=30.0))
    started, done = when(report, EventKind.ROLLOUT_STARTED), when(report, EventKind.ROLLOUT_COMPLETE)
    assert started[1] == done[0]
    assert report.completed_at_s == done[1]
    assert report.replicas_with_gpus[-1] == 1
    assert report.fates[Fate.LOST] == 0


# --- against staying


def test_invariant_f5_staying_meets_the_same_requests():
    comparison = simulate_transition(
        PROFILE,
        Fleet.of(pool("p", 1)),
        [Rollout(Fleet.of(pool("p", 2)), at_s=50.0), Failure("p-0", 200.0, 1.0), Failure("p-1", 250.0)],
        traffic(),
        seed=3,
        mechanics=QUICK,
        threads=2,
    )
    moving, staying = comparison.transition, comparison.staying
    assert (moving.outcomes.requests.arrival_s == staying.outcomes.requests.arrival_s).all()
    assert (moving.adapters.offered_tokens == staying.adapters.offered_tokens).all()
    assert (moving.adapters.due_tokens == staying.adapters.due_tokens).all()
    assert staying.events[0].kind is EventKind.REPLICA_FAILED
    assert not when(staying, EventKind.ROLLOUT_STARTED)
    assert when(moving, EventKind.REPLICA_FAILED, "p-1") == [250.0]
    assert when(staying, EventKind.REPLICA_FAILED) == [200.0]
    early = moving.outcomes.requests.arrival_s < 50.0
    done = early & (staying.outcomes.finish_s < 50.0)
    assert (moving.outcomes.finish_s[done] == staying.outcomes.finish_s[done]).all()


@pytest.mark.parametrize("seed", [1, 2])
def test_invariant_f6_a_scale_up_under_starvation_serves_no_less_than_staying(seed):
    workload = traffic(900.0, rate=12.0)
    comparison = simulate_transition(
        PROFILE,
        Fleet.of(pool("p", 1, OTHER)),
        [Rollout(Fleet.of(pool("p", 3, OTHER)), at_s=120.0)],
        workload,
        seed=seed,
        mechanics=QUICK,
        bins=30,
    )
    moving, staying = comparison.transition, comparison.staying
    assert staying.adapters.starving_adapter_s(0.9) > 0
    assert comparison.starving_adapter_s(0.9)[0] < comparison.starving_adapter_s(0.9)[1]
    assert moving.fates[Fate.COMPLETED] > staying.fates[Fate.COMPLETED]
    slack = 0.02
    for ours, theirs in zip(
        moving.adapters.total_served_fraction(), staying.adapters.total_served_fraction(), strict=True
    ):
        assert np.isnan(ours) or ours >= theirs - slack
    assert comparison.slow_adapter_s(ttft_s=5.0)[0] < comparison.slow_adapter_s(ttft_s=5.0)[1]


# --- failures


def test_a_failed_replica_comes_back_and_reloads_before_it_gets_traffic():
    report = run(pool("p", 2), Failure("p-1", 100.0, 20.0))
    (failed,) = when(report, EventKind.REPLICA_FAILED)
    (starting,) = when(report, EventKind.REPLICA_STARTING)
    (up,) = when(report, EventKind.REPLICA_UP)
    (ready,) = when(report, EventKind.REPLICA_READY)
    assert (failed, starting) == (100.0, 120.0)
    assert up == pytest.approx(starting + QUICK.weights_s + QUICK.compile_s)
    assert len(when(report, EventKind.COPY_LOADED)) == 3
    assert ready > up
    own = report.outcomes.requests.adapter % 2 == 1
    arrival = report.outcomes.requests.arrival_s
    away = own & (arrival >= 100.0) & (arrival < ready)
    assert set(report.outcomes.fate[away].tolist()) == {Fate.UNROUTED}
    assert report.outcomes.replica[own & (arrival > ready + QUICK.confirm_s)].min() == 1
    assert len(report.replicas["p-1"]) == 2
    assert report.adapters.unavailable_s[:, 1].sum() == pytest.approx(ready + QUICK.confirm_s - 100.0)
    assert report.adapters.unavailable_s[:, 0].sum() == 0
    assert report.replicas_with_gpus.tolist() == [2] * 30


def test_failures_alone_are_compared_with_a_fleet_of_which_nothing_fails():
    comparison = simulate_transition(
        PROFILE, Fleet.of(pool("p", 2)), [Failure("p-1", 100.0, 20.0)], traffic(), seed=3, mechanics=QUICK
    )
    assert comparison.only_failures
    assert comparison.staying.fates[Fate.UNROUTED] == 0
    assert comparison.transition.fates[Fate.UNROUTED] > 0
    failing, whole = comparison.starving_adapter_s(0.9)
    assert failing > whole
    assert headline(comparison, Objectives(served_fraction=0.9)).startswith(
        "Failing is worse than not failing"
    )


def test_other_copies_take_over_and_answer_what_had_no_first_byte():
    crowded = traffic(200.0, rate=25.0)
    fleet = everywhere("p", 2, ReplicaConfig(2, 8))
    with_retry, without = (
        run(
            fleet,
            Failure("p-1", 100.0),
            workload=crowded,
            mechanics=replace(QUICK, retry_before_first_byte=retry),
        )
        for retry in (True, False)
    )
    assert 0 < with_retry.fates[Fate.LOST] < without.fates[Fate.LOST]
    assert with_retry.fates[Fate.UNROUTED] == 0
    arrival = with_retry.outcomes.requests.arrival_s
    assert (with_retry.outcomes.replica[arrival > 100.0] == 0).all()
    lost = with_retry.outcomes.fate == Fate.LOST
    assert np.isfinite(with_retry.outcomes.first_token_s[lost]).all()


def test_a_replica_that_fails_while_it_starts_starts_again():
    rollout = Rollout(Fleet.of(pool("p", 2)), at_s=50.0)
    report = run(pool("p", 1), rollout, Failure("p-1", 60.0, 10.0))
    assert when(report, EventKind.REPLICA_STARTING) == [50.0, 70.0]
    assert when(report, EventKind.REPLICA_UP) == [pytest.approx(90.0)]
    assert report.completed_at_s is not None
    assert report.fates[Fate.LOST] == report.fates[Fate.UNROUTED] == 0


def test_a_replica_that_never_comes_back_holds_up_the_rollout():
    rollout = Rollout(Fleet.of(pool("p", 2)), at_s=50.0)
    report = run(pool("p", 1), rollout, Failure("p-1", 60.0))
    assert report.completed_at_s is None
    assert report.fates[Fate.UNROUTED] == 0


def test_what_does_not_exist_cannot_fail():
    report = run(pool("p", 1), Rollout(Fleet.of(pool("p", 2)), at_s=50.0), Failure("p-1", 10.0, 1.0))
    assert not when(report, EventKind.REPLICA_FAILED)


# --- bad input


@pytest.mark.parametrize(
    ("fleet", "changes", "error", "message"),
    [
        (pool("p", 1), [Failure("x-0", 1.0)], WorkloadError, "there is no replica x-0; known are p-0"),
        (
            pool("p", 1),
            [Rollout(Fleet.of(pool("p", 1, OTHER)))],
            WorkloadError,
            "replica p-0: its engine arguments differ",
        ),
        (
            pool("p", 1),
            [Rollout(Fleet.of([FleetReplica("p-0", CONFIG, (("b", 1.0),))]))],
            WorkloadError,
            "adapter b is not in the workload",
        ),
        (
            [FleetReplica("p-0", ReplicaConfig(8, 1), (("a0", 1.0),))],
            [],
            EngineConfigError,
            "adapter a0 of rank 8 does not fit",
        ),
        (pool("p", 1, ReplicaConfig(512, 320)), [], OutOfMemoryError, "512 slots of rank 320"),
    ],
)
def test_what_cannot_be_simulated_is_refused_at_once(fleet, changes, error, message):
    with pytest.raises(error, match=message):
        run(fleet, *changes)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"poll_s": 0.0}, "poll_s: 0 is not allowed"),
        ({"drain_timeout_s": -1.0}, "drain_timeout_s: -1 is not allowed"),
        ({"image_s": float("nan")}, "image_s: nan is not allowed"),
    ],
)
def test_bad_mechanics_are_named(arguments, message):
    with pytest.raises(WorkloadError, match=message):
        Mechanics.for_profile(PROFILE, **arguments)


def test_replica_names_are_distinct_and_hold_an_adapter_once():
    with pytest.raises(WorkloadError, match="replicas: the name p-0 appears more than once"):
        Fleet.of(pool("p", 1) * 2)
    with pytest.raises(WorkloadError, match="replica p-0: the name a0 appears more than once"):
        Fleet.of([FleetReplica("p-0", CONFIG, (("a0", 0.5), ("a0", 0.5)))])
