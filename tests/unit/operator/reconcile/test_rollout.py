"""Steps of rollouts, first by example, then from any start: make before break within the GPUs."""

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter_operator.reconcile.rollout import PoolState, PoolTarget, next_step


def running(name, replicas, *, ready=None, pods=None):
    ready = replicas if ready is None else ready
    return PoolState(name, replicas, replicas if pods is None else pods, ready)


def test_the_first_plan_is_created_at_once():
    step = next_step([PoolTarget("a", 2), PoolTarget("b", 1)], [])
    assert step.replicas == {"a": 2, "b": 1}
    assert not step.complete


def test_everything_ready_is_complete():
    step = next_step([PoolTarget("a", 2)], [running("a", 2)])
    assert (step.complete, step.retire, step.replicas) == (True, (), {"a": 2})


def test_a_pool_does_not_shrink_to_replicas_that_are_not_ready():
    """The highest ordinals go first: here the only one that serves."""
    pool = PoolState("a", 2, 2, 1, frozenset({1}))
    step = next_step([PoolTarget("a", 1)], [pool], max_surge_gpus=1, previous_replicas=2)
    assert (step.replicas, step.ready, step.complete) == ({"a": 2}, 0, False)
    recovered = PoolState("a", 2, 2, 2, frozenset({0, 1}))
    assert next_step([PoolTarget("a", 1)], [recovered], previous_replicas=2).replicas == {"a": 1}


def test_a_new_pool_is_ready_before_the_old_one_goes():
    target = [PoolTarget("new", 1)]
    first = next_step(target, [running("old", 1)], max_surge_gpus=1, previous_replicas=1)
    assert (first.replicas, first.retire) == ({"new": 1, "old": 1}, ())
    starting = [running("old", 1), running("new", 1, ready=0)]
    waiting = next_step(target, starting, max_surge_gpus=1, previous_replicas=1)
    assert (waiting.replicas, waiting.retire) == ({"new": 1, "old": 1}, ())
    assert waiting.message == "0 of 1 replicas are ready; 1 of the plan before serve until they are"
    both = [running("old", 1), running("new", 1)]
    last = next_step(target, both, max_surge_gpus=1, previous_replicas=1)
    assert (last.replicas, last.retire, last.complete) == ({"new": 1}, ("old",), False)


def test_without_surge_the_old_goes_first_and_its_gpus_are_waited_for():
    target = [PoolTarget("new", 1)]
    first = next_step(target, [running("old", 1)], previous_replicas=1)
    assert first.replicas == {"new": 0, "old": 0}
    going = [running("old", 0, pods=1, ready=0), running("new", 0)]
    assert next_step(target, going, previous_replicas=1).replicas == {"new": 0, "old": 0}
    gone = next_step(target, [running("old", 0), running("new", 0)], previous_replicas=1)
    assert (gone.replicas, gone.retire) == ({"new": 1}, ("old",))


def test_a_large_pool_is_replaced_in_batches_of_the_surge():
    target = [PoolTarget("new", 4)]
    first = next_step(target, [running("old", 4)], max_surge_gpus=2, previous_replicas=4)
    assert first.replicas == {"new": 2, "old": 4}
    half = [running("old", 4), running("new", 2)]
    second = next_step(target, half, max_surge_gpus=2, previous_replicas=4)
    assert second.replicas == {"new": 2, "old": 2}
    third = next_step(target, [running("old", 2), running("new", 2)], max_surge_gpus=2, previous_replicas=4)
    assert third.replicas == {"new": 4, "old": 2}


def test_a_surge_smaller_than_a_replica_is_none():
    step = next_step(
        [PoolTarget("new", 1)],
        [running("old", 1)],
        gpus_per_replica=2,
        max_surge_gpus=1,
        previous_replicas=1,
    )
    assert step.replicas == {"new": 0, "old": 0}


def test_the_same_pool_grows_at_once_and_shrinks_once_the_rest_is_ready():
    assert next_step([PoolTarget("a", 3)], [running("a", 1)]).replicas == {"a": 3}
    assert next_step([PoolTarget("a", 1)], [running("a", 3)]).replicas == {"a": 1}
    both = [PoolTarget("a", 1), PoolTarget("b", 1)]
    step = next_step(both, [running("a", 3), running("b", 1, ready=0)], previous_replicas=4)
    assert step.replicas == {"a": 3, "b": 1}


def test_of_two_old_pools_the_one_that_does_not_serve_makes_room():
    present = [running("broken", 1, ready=0), running("serving", 1)]
    step = next_step([PoolTarget("new", 1)], present, max_surge_gpus=1, previous_replicas=1)
    assert step.replicas == {"broken": 0, "new": 0, "serving": 1}


@st.composite
def rollouts(draw):
    names = ["a", "b", "c"]
    old = draw(st.dictionaries(st.sampled_from(names), st.integers(1, 4), min_size=0))
    new = draw(st.dictionaries(st.sampled_from(names), st.integers(1, 4), min_size=1))
    return old, new, draw(st.integers(0, 3)), draw(st.integers(1, 2))


@given(rollouts())
@settings(max_examples=300)
def test_every_rollout_ends_within_its_gpus_and_breaks_nothing_early(rollout):
    """From any plan to any other: it ends, GPUs are never exceeded, ready capacity never drops needlessly."""
    old, new, surge, gpus = rollout
    present = {name: running(name, count) for name, count in old.items()}
    targets = [PoolTarget(name, count) for name, count in new.items()]
    previous = sum(old.values())
    ceiling = max(previous, sum(new.values())) + surge // gpus
    for _ in range(60):
        step = next_step(
            targets,
            list(present.values()),
            gpus_per_replica=gpus,
            max_surge_gpus=surge,
            previous_replicas=previous,
        )
        if step.complete and not step.retire:
            break
        before = sum(pool.ready for pool in present.values())
        present = _apply(step, present)
        assert sum(pool.occupied for pool in present.values()) <= ceiling
        after = sum(min(pool.replicas, pool.ready) for pool in present.values())
        wanted = sum(new.values())
        if after < before and after < wanted:
            assert before - after <= max(1, surge // gpus), "more was taken than one batch"
        present = _settle(present)
    assert {name: pool.replicas for name, pool in present.items()} == new


def _apply(step, present):
    """What the StatefulSet controller does at once: new pods are not ready, old ones terminate."""
    result = {}
    for name, replicas in step.replicas.items():
        pool = present.get(name, PoolState(name, 0, 0, 0))
        result[name] = PoolState(name, replicas, max(replicas, pool.pods), min(pool.ready, replicas))
    return result


def _settle(present):
    """Some time later."""
    return {name: running(name, pool.replicas) for name, pool in present.items()}
