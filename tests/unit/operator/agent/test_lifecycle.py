"""What to do next: derived anew from what is wanted and what the engine holds."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from adapter_operator.agent.errors import Reason
from adapter_operator.agent.lifecycle import (
    Actions,
    Failure,
    Files,
    Known,
    State,
    is_ready,
    next_actions,
    retry_after_s,
    trial_name,
)

FILES = Files("v1", "/adapters/v1")
NEW = Files("v2", "/adapters/v2")


def failed(reason: Reason, again_at_s: float = 10.0) -> Failure:
    return Failure(reason, "…", 1, again_at_s)


def test_what_has_no_files_is_fetched():
    assert next_actions({"a": Known()}, {}, 0.0) == Actions(fetch=("a",))


def test_what_has_files_and_is_not_held_is_loaded():
    assert next_actions({"a": Known(FILES)}, {}, 0.0) == Actions(load=("a",))


def test_what_is_held_as_it_should_be_is_left_alone():
    assert next_actions({"a": Known(FILES)}, {"a": FILES.path}, 0.0) == Actions()


def test_another_version_is_swapped():
    assert next_actions({"a": Known(NEW)}, {"a": FILES.path}, 0.0) == Actions(swap=("a",))


def test_what_nobody_wants_is_unloaded_also_what_another_agent_left():
    held = {"a": FILES.path, "gone": "/adapters/x", trial_name("a", "v9"): "/adapters/v9"}
    assert next_actions({"a": Known(FILES)}, held, 0.0) == Actions(unload=("gone", "a@v9"))


def test_a_trial_in_progress_is_not_unloaded():
    held = {"a": FILES.path, trial_name("a", "v2"): NEW.path}
    assert next_actions({"a": Known(NEW, busy=State.LOADING)}, held, 0.0) == Actions()


def test_a_failure_waits_for_its_time():
    known = {"a": Known(failure=failed(Reason.SOURCE_UNREACHABLE))}
    assert next_actions(known, {}, 9.9) == Actions()
    assert next_actions(known, {}, 10.0) == Actions(fetch=("a",))


def test_an_engine_that_was_restarted_is_given_everything_again():
    known = {"a": Known(FILES), "b": Known(NEW)}
    assert next_actions(known, {"a": FILES.path, "b": NEW.path}, 0.0) == Actions()
    assert next_actions(known, {}, 0.0) == Actions(load=("a", "b"))


def test_readiness_waits_for_what_may_still_come_and_not_for_what_has_failed_for_good():
    loaded, pending = Known(FILES), Known()
    held = {"a": FILES.path}
    assert is_ready({"a": loaded}, held)
    assert is_ready({}, {})
    assert not is_ready({"a": loaded, "b": pending}, held)
    assert is_ready({"a": loaded, "b": Known(failure=failed(Reason.INVALID_ADAPTER))}, held)
    assert not is_ready({"a": loaded, "b": Known(failure=failed(Reason.SOURCE_UNREACHABLE))}, held)


def test_a_failed_swap_still_serves_the_old_version_and_says_so():
    known = Known(NEW, failed(Reason.ENGINE_REFUSED))
    assert known.state("a", {"a": FILES.path}) is State.FAILED
    assert is_ready({"a": known}, {"a": FILES.path})


def test_waits_double_up_to_five_minutes():
    waits = [retry_after_s(n) for n in range(1, 12)]
    assert waits[:3] == [2.0, 4.0, 8.0]
    assert waits[-1] == 300.0


names = st.sampled_from(["a", "b", "c", "d"])
files = st.sampled_from([None, FILES, NEW])
paths = st.sampled_from([FILES.path, NEW.path, "/elsewhere"])


@given(st.dictionaries(names, files), st.dictionaries(names, paths))
def test_carrying_out_what_is_to_be_done_ends_with_what_is_wanted(wanted, held):
    known = {name: Known(found) for name, found in wanted.items()}
    held = dict(held)
    for _ in range(3):
        actions = next_actions(known, held, 0.0)
        for name in actions.fetch:
            known[name] = replace(known[name], files=FILES)
        for name in (*actions.load, *actions.swap):
            held[name] = known[name].files.path
        for name in actions.unload:
            del held[name]
    assert next_actions(known, held, 0.0) == Actions()
    assert held == {name: adapter.files.path for name, adapter in known.items()}
    assert is_ready(known, held)
