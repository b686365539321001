from dataclasses import replace

import numpy as np
import pytest

from adapter_operator.planning import Deadline, TwinVerifier, VerificationSettings
from adapter_operator.planning.judge import judge
from adapter_operator.planning.verify import demanded_workload
from adapter_predictor.placement import AdapterDemand, Objectives, TokenMeans
from adapter_predictor.plan import Plan, Pool, to_fleet
from adapter_twin.fleet import simulate_static


def one_pool(request, *, replicas=1, max_loras=24, max_lora_rank=16):
    """A plan that deals the adapters out to equal replicas."""
    pool = Pool(name="p-test", replicas=replicas, max_loras=max_loras, max_lora_rank=max_lora_rank)
    names = [adapter.name for adapter in request.adapters]
    dealt = {f"p-test-{i}": dict.fromkeys(names[i::replicas], 1.0) for i in range(replicas)}
    return Plan.build((pool,), dealt)


def verdict_on(request, plan, **settings):
    return TwinVerifier(**settings).verify(request, plan, Deadline.after(600.0))


def test_a_light_load_is_verified_with_figures(request_for):
    request = request_for(verification=VerificationSettings(horizon_s=600.0, seeds=2))
    plan = one_pool(request)
    verdict = verdict_on(request, plan)
    assert verdict.verified
    assert verdict.plan_hash == plan.hash
    assert verdict.profile_hash == request.profile.content_hash
    assert verdict.seeds == request.verification_seeds
    assert verdict.margin == pytest.approx(verdict.replicas[0].served_fraction / 0.9 - 1.0)
    (figures,) = verdict.replicas
    assert figures.offered_per_s == pytest.approx(12.0, rel=0.05)
    assert figures.adapters == 24
    assert 0.0 < figures.itl_s < figures.ttft_s
    assert figures.timeline.time_s.size > 10
    assert len(verdict.worst_adapters) == 10


def test_overload_is_starvation_and_stops_after_the_first_seed(request_for):
    request = request_for(rate=6.0, verification=VerificationSettings(horizon_s=600.0, seeds=3))
    verdict = verdict_on(request, one_pool(request))
    assert (verdict.status, verdict.reason) == ("Rejected", "Starvation")
    assert verdict.failing == ("p-test-0",)
    assert verdict.margin < 0
    assert verdict.seeds == request.verification_seeds[:1]
    assert "below the objective of 90.0%" in verdict.message


def test_slots_that_do_not_fit_are_out_of_memory(request_for):
    request = request_for()
    verdict = verdict_on(request, one_pool(request, max_loras=384, max_lora_rank=512))
    assert verdict.reason == "OutOfMemory"
    assert verdict.failing == ("p-test-0",)
    assert "384 slots of rank 512" in verdict.message
    assert verdict.margin is None


def test_latency_objectives_are_judged(request_for):
    request = request_for()
    plan = one_pool(request)
    itl = verdict_on(request, plan).replicas[0].itl_s
    strict = replace(request, objectives=Objectives(0.9, 0.0, itl_s=0.9 * itl))
    loose = replace(request, objectives=Objectives(0.9, 0.0, itl_s=1.1 * itl, ttft_s=100.0))
    verdict = verdict_on(strict, plan)
    assert verdict.reason == "LatencyObjective"
    assert verdict.margin == pytest.approx(1.0 - 1.0 / 0.9)
    assert "mean inter-token latency" in verdict.message
    assert verdict_on(loose, plan).verified


def held_by_one_adapter(request_for, cold_rate):
    """One slot, held by the hot adapter: the cold one is passed over again and again."""
    adapters = (AdapterDemand("hot", 8.0, 16), AdapterDemand("cold", cold_rate, 16))
    request = replace(request_for(adapters=0), adapters=adapters)
    return verdict_on(request, one_pool(request, max_loras=1))


def test_no_adapter_may_be_shut_out_of_a_replica_that_does_well(request_for):
    verdict = held_by_one_adapter(request_for, cold_rate=0.1)
    assert verdict.replicas[0].served_fraction > 0.9
    assert verdict.reason == "Starvation"
    assert verdict.message.startswith("adapter cold is served")
    assert "less than half the objective" in verdict.message
    assert verdict.failing == ("p-test-0",)
    assert verdict.starving == 1
    assert verdict.worst_adapters[0].name == "cold"
    assert verdict.worst_adapters[0].shut_out
    assert verdict.margin < -0.5


def fed_by_hand(request, plan, served):
    """The verdict on reports that say what part of each adapter's 200 requests was served."""
    report = simulate_static(request.profile, to_fleet(plan), demanded_workload(request), seed=1)
    ((name, replica),) = report.replicas.items()
    parts = np.array([served.get(adapter, 1.0) for adapter in replica.per_adapter.names])
    counts = np.full(len(parts), 200)
    done = (counts * parts).astype(np.int64)
    adapters = replace(
        replica.per_adapter,
        offered_requests=counts,
        completed_requests=done,
        completable_tokens=counts * 100,
        served_tokens=done * 100,
    )
    return judge(request, plan, [replace(report, replicas={name: replace(replica, per_adapter=adapters)})])


def test_starving_adapters_may_carry_what_the_objective_leaves(request_for):
    request = request_for(adapters=20, rate=0.1)
    plan = one_pool(request)
    few = fed_by_hand(request, plan, {"a-000": 0.7, "a-001": 0.7})
    assert few.verified
    assert few.starving == 2
    assert [adapter.starving for adapter in few.worst_adapters[:3]] == [True, True, False]
    many = fed_by_hand(request, plan, dict.fromkeys(("a-000", "a-001", "a-002"), 0.7))
    assert many.reason == "Starvation"
    assert many.message == (
        "3 adapters with 15.0% of the traffic of replica p-test-0 starve, more than 10.0% may"
    )


def test_no_time_is_a_timeout(request_for):
    request = request_for()
    verdict = TwinVerifier().verify(request, one_pool(request), Deadline(0.0, lambda: 1.0))
    assert (verdict.status, verdict.reason) == ("Rejected", "Timeout")
    assert verdict.plan_hash == one_pool(request).hash


def test_threads_do_not_change_the_verdict(request_for):
    request = request_for(adapters=48)
    plan = one_pool(request, replicas=2)
    assert verdict_on(request, plan, threads=2) == verdict_on(request, plan)


def test_headroom_and_the_profiles_margin_are_in_the_demand(request_for, profile):
    careful = type(profile).model_validate(profile.model_dump() | {"safety_margin_percent": 20})
    request = request_for(profile=careful, objectives=Objectives(0.9, 0.1))
    assert request.demand_factor == pytest.approx(1.3)
    assert demanded_workload(request).adapters[0].rate == pytest.approx(0.65)


def test_token_means_keep_the_shape_of_the_lengths(request_for):
    plain = demanded_workload(request_for())
    longer = demanded_workload(request_for(tokens=TokenMeans(300.0, 250.0)))
    assert (longer.prompt.mean, longer.output.mean) == (300.0, 250.0)
    assert (longer.prompt.sigma, longer.correlation) == (plain.prompt.sigma, plain.correlation)


def test_a_plan_that_leaves_an_adapter_out_is_rejected(request_for):
    request = request_for()
    plan = one_pool(replace(request, adapters=request.adapters[1:]))
    verdict = verdict_on(request, plan)
    assert verdict.reason == "ObjectivesUnreachable"
    assert verdict.message == "adapter a-000 is on 0 replicas, below its 1"


def test_copies_are_part_of_what_is_verified(request_for):
    request = request_for(adapters=0)
    request = replace(request, adapters=(AdapterDemand("twice", 0.1, 16, min_copies=2),))
    assert verdict_on(request, one_pool(request)).message == "adapter twice is on 1 replica, below its 2"
