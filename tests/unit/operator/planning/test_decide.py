from dataclasses import replace

import pytest

from adapter_operator.planning import Decision, VerificationSettings, decide, reject
from adapter_operator.planning.search import MAX_ATTEMPTS
from adapter_predictor.placement import Limits, Objectives
from adapter_twin.errors import ProfileError

TRUE_CAPACITY = 15.0
"""Requests/s that the twin serves on one replica with room to spare."""


def test_a_plan_is_applicable_only_when_the_twin_verified_it(request_for, believe):
    decision = decide(request_for(), predictor=believe(TRUE_CAPACITY))
    assert decision.applicable
    assert decision.status == "Verified"
    assert decision.verdict.reason == ""
    assert decision.verdict.plan_hash == decision.plan.hash
    assert decision.verdict.margin > 0
    assert decision.plan.replicas == 1
    assert {"load predictor", "place", "verify"} <= decision.timings.keys()


def test_a_wrong_predictor_is_overruled_and_its_plan_repaired(request_for, believe):
    request = request_for(adapters=48, rate=1.5)
    decision = decide(request, predictor=believe(1000.0))
    first, last = decision.attempts[0], decision.attempts[-1]
    assert first.verdict.status == "Rejected"
    assert first.verdict.reason == "Starvation"
    assert first.plan.replicas == 1
    assert last.verdict.verified
    assert decision.plan == last.plan
    assert decision.plan.replicas > 1
    assert any("rejected by the twin" in sentence for sentence in decision.explanation)
    assert decision.applicable


def test_a_rejected_plan_is_never_applicable(request_for, believe, scripted):
    decision = decide(request_for(), predictor=believe(1000.0), verifier=scripted(lambda _: "Starvation"))
    assert not decision.applicable
    assert decision.status == "Rejected"
    assert decision.plan is not None


def test_a_verdict_on_another_plan_does_not_make_a_plan_applicable(request_for, believe):
    decision = decide(request_for(), predictor=believe(TRUE_CAPACITY))
    other = replace(decision, verdict=replace(decision.verdict, plan_hash="0000000000"))
    assert not other.applicable
    assert other.status == "Rejected"


def test_the_same_request_gives_the_same_decision(request_for, believe):
    request = request_for(adapters=48, rate=1.5)
    one, two = (decide(request, predictor=believe(1000.0)) for _ in range(2))
    assert replace(one, timings={}) == replace(two, timings={})


def test_objectives_beyond_the_limits_name_the_missing_gpus(request_for, believe):
    request = request_for(adapters=48, rate=3.2, limits=Limits(1, 2))
    decision = decide(request, predictor=believe(25.0))
    assert decision.verdict.reason == "ObjectivesUnreachable"
    assert decision.verdict.missing_gpus >= 3
    assert "more GPUs needed" in decision.verdict.message
    assert decision.plan.replicas == 2
    assert decision.verdict.replicas
    assert not decision.applicable


def test_missing_gpus_are_named_when_only_the_twin_sees_that_the_limits_bind(request_for, believe):
    request = request_for(adapters=48, rate=3.2, limits=Limits(1, 1))
    decision = decide(request, predictor=believe(1000.0))
    assert decision.verdict.reason == "ObjectivesUnreachable"
    assert decision.verdict.missing_gpus >= 1


def test_memory_that_does_not_suffice_is_said_before_anything_is_placed(request_for, small_gpu, believe):
    decision = decide(request_for(profile=small_gpu), predictor=believe(1.0))
    assert decision.plan is None
    assert decision.verdict.reason == "OutOfMemory"
    assert "rank 16" in decision.verdict.message
    assert "GiB per GPU are missing" in decision.verdict.message
    assert "max-model-len" in decision.verdict.message
    assert not decision.attempts


def test_no_plan_is_tried_twice_and_attempts_are_bounded(request_for, believe, scripted):
    verifier = scripted(lambda _: "Starvation")
    decision = decide(request_for(limits=Limits(1, 50)), predictor=believe(1000.0), verifier=verifier)
    hashes = [plan.hash for plan in verifier.asked]
    assert len(hashes) == len(set(hashes)) <= MAX_ATTEMPTS
    assert [attempt.plan for attempt in decision.attempts] == verifier.asked


def test_slots_that_do_not_fit_are_not_tried_again(request_for, believe, scripted):
    verifier = scripted(lambda plan: "OutOfMemory" if len(verifier.asked) == 1 else "")
    decision = decide(request_for(), predictor=believe(1000.0), verifier=verifier)
    first, second = ({(p.max_loras, p.max_lora_rank) for p in plan.pools} for plan in verifier.asked[:2])
    assert not first & second
    assert decision.applicable


def test_a_predictor_that_is_too_careful_is_put_right_by_the_twin(request_for, believe, scripted):
    request = request_for(adapters=24, rate=0.5)
    decision = decide(request, predictor=believe(10.5), verifier=scripted(lambda _: ""))
    assert [attempt.plan.replicas for attempt in decision.attempts] == [2, 1]
    assert decision.plan.replicas == 1


def test_one_replica_less_is_not_taken_where_the_twin_rejects_it(request_for, believe, scripted):
    verifier = scripted(lambda plan: "Starvation" if plan.replicas == 1 else "")
    decision = decide(request_for(adapters=24, rate=0.5), predictor=believe(10.5), verifier=verifier)
    assert decision.plan.replicas == 2
    assert decision.applicable


def test_fewer_replicas_with_other_slots_are_tried_where_the_first_slots_failed(
    request_for, believe, scripted
):
    failed = []

    def only_other_slots(plan):
        failed.append(plan.pools[0].max_loras)
        return "Starvation" if plan.replicas == 1 and plan.pools[0].max_loras == failed[0] else ""

    decision = decide(request_for(), predictor=believe(11.5), verifier=scripted(only_other_slots))
    assert [attempt.plan.replicas for attempt in decision.attempts] == [1, 2, 1]
    assert decision.plan.replicas == 1
    assert decision.plan.pools[0].max_loras != failed[0]


def test_large_plans_are_not_simulated_at_other_rates(request_for, believe, scripted):
    long = VerificationSettings(horizon_s=7 * 3600.0, seeds=1, timeout_s=300.0)
    verifier = scripted(lambda _: "")
    decision = decide(request_for(verification=long), predictor=believe(TRUE_CAPACITY), verifier=verifier)
    assert len(verifier.asked) == 1
    assert decision.verdict.envelope.fails_at is None


def test_time_that_runs_out_is_a_typed_rejection(request_for, believe):
    ticks = iter(range(0, 10_000_000, 1000))
    decision = decide(request_for(), predictor=believe(TRUE_CAPACITY), clock=lambda: float(next(ticks)))
    assert decision.verdict.reason == "Timeout"
    assert not decision.applicable


def test_time_that_runs_out_during_repair_keeps_the_figures_of_the_best_plan(request_for, believe, scripted):
    now = [0.0]

    def answer(_):
        now[0] += 200.0
        return "Starvation"

    settings = VerificationSettings(timeout_s=300.0)
    decision = decide(
        request_for(verification=settings),
        predictor=believe(1000.0),
        verifier=scripted(answer),
        clock=lambda: now[0],
    )
    assert decision.verdict.reason == "Timeout"
    assert "after 2 plans" in decision.verdict.message
    assert decision.timings["verify"] == pytest.approx(400.0)


def test_a_profile_that_cannot_describe_the_request_is_a_typed_rejection(request_for, believe, scripted):
    class Broken:
        def verify(self, request, plan, deadline):
            raise ProfileError("profile: step_time.base is missing")

    decision = decide(request_for(), predictor=believe(TRUE_CAPACITY), verifier=Broken())
    assert decision.verdict.reason == "ProfileInvalid"
    assert "step_time.base" in decision.verdict.message


def test_progress_is_told_in_words(request_for, believe, scripted):
    told = []
    decide(request_for(), predictor=believe(50.0), verifier=scripted(lambda _: ""), progress=told.append)
    assert told[0] == "loading the predictor"
    assert "placing 24 adapters" in told
    assert any(text.startswith("simulating 1 replica") for text in told)


def test_a_latency_objective_that_no_plan_meets_is_unreachable(request_for, believe):
    request = request_for(objectives=Objectives(0.9, 0.0, itl_s=0.0005), limits=Limits(1, 2))
    decision = decide(request, predictor=believe(1000.0))
    assert decision.verdict.reason == "ObjectivesUnreachable"
    assert "inter-token latency" in decision.verdict.message


def test_adapters_without_traffic_are_planned_all_the_same(request_for, believe):
    decision = decide(request_for(adapters=3, rate=0.0), predictor=believe(TRUE_CAPACITY))
    assert decision.applicable
    assert decision.plan.replicas == 1


def test_a_verified_plan_says_how_far_traffic_may_grow(request_for, believe):
    decision = decide(request_for(), predictor=believe(TRUE_CAPACITY))
    assert decision.verdict.envelope.rate_scale >= 1.0


def test_reject_makes_a_decision_without_a_plan(request_for):
    decision = reject(request_for(), "ProfileInvalid", "profile: cannot be read")
    assert isinstance(decision, Decision)
    assert decision.plan is None
    assert not decision.applicable


def test_limits_below_one_replica_leave_no_plan(request_for, profile, believe):
    double = type(profile).model_validate(profile.model_dump() | {"tensor_parallel_size": 2})
    request = request_for(profile=double, limits=Limits(1, 6, max_gpus=1))
    predictor = type(believe(0.0))(double, TRUE_CAPACITY)
    decision = decide(request, predictor=predictor)
    assert decision.plan is None
    assert decision.verdict.reason == "ObjectivesUnreachable"
    assert decision.verdict.missing_gpus >= 1
    assert decision.lower_bound is not None
    assert "place" in decision.timings


def test_no_time_at_all_leaves_no_plan(request_for, believe):
    ticks = iter([0.0] + [1e6] * 100)
    decision = decide(request_for(), predictor=believe(TRUE_CAPACITY), clock=lambda: next(ticks))
    assert decision.plan is None
    assert decision.verdict.reason == "Timeout"


def test_what_the_predictor_does_not_see_is_told_with_the_plan(request_for, believe):
    """Slots are too few for the twin, whatever the belief: all repairs within the limits fail."""
    objectives = Objectives(0.9, 0.0, ttft_s=0.001)
    decision = decide(request_for(objectives=objectives), predictor=believe(1000.0))
    assert decision.verdict.reason in {"LatencyObjective", "ObjectivesUnreachable"}
    assert "time to first token" in decision.verdict.message
