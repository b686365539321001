import math

import pytest

from adapter_predictor.deadline import Deadline
from adapter_predictor.errors import PlacementError
from adapter_predictor.load import SLOT_GRID
from adapter_predictor.placement import AdapterDemand, Limits, Objectives, TokenMeans, place
from adapter_predictor.placement.judge import Judge, Slots, smallest_rank
from adapter_predictor.placement.packing import Piece, by_rate, contents_of, copies_of, fill, spread
from adapter_predictor.placement.repair import repaired
from adapter_predictor.placement.search import _levelled, fewer_bins, fewest_even
from adapter_predictor.placement.seating import Seat, plan_of
from adapter_predictor.plan import Plan, Pool, pool_name

TOKENS = TokenMeans(223.0, 194.0)
NEVER = Deadline.after(None)


def demands(count=30, rate=0.1, rank=16, **more):
    return [AdapterDemand(f"a{i:04d}", rate, rank, **more) for i in range(count)]


def slots_of(plan):
    return {(pool.max_loras, pool.max_lora_rank) for pool in plan.pools}


def test_the_measured_example_takes_one_replica(steady):
    mixed = [AdapterDemand(f"a{i:03d}", (0.4, 0.05, 0.00625)[i % 3], (8, 16, 32)[i % 3]) for i in range(160)]
    found = place(mixed, steady, Objectives(served_fraction=0.85, headroom=0.0), Limits())
    assert found.feasible
    assert found.plan.replicas == 1
    assert found.lower_bound.gpus == 1
    assert slots_of(found.plan) <= {(16, 32), (32, 32), (64, 32)}
    assert found.missing_gpus == 0


def test_the_same_question_gets_the_same_plan(steady):
    first = place(demands(200), steady, Objectives(), Limits())
    second = place(reversed(demands(200)), steady, Objectives(), Limits())
    assert first.plan.hash == second.plan.hash
    assert first.explanation == second.explanation


def test_predictions_are_at_the_declared_rates(steady):
    found = place(demands(), steady, Objectives(headroom=0.5), Limits())
    (said,) = found.predictions.values()
    assert said.throughput_tokens_per_s == pytest.approx(3.0 * 417.0, rel=0.02)


def test_a_hot_adapter_is_split(steady):
    found = place([AdapterDemand("hot", 90.0, 16)], steady, Objectives(), Limits())
    assert found.feasible
    assert found.plan.replicas >= 3
    assert len(found.plan.shares["hot"]) == found.plan.replicas
    assert math.isclose(sum(found.plan.shares["hot"].values()), 1.0)
    assert any("Split over several replicas" in sentence for sentence in found.explanation)


def test_copies_are_on_different_replicas(steady):
    found = place(demands(5, min_copies=3), steady, Objectives(), Limits())
    assert found.feasible
    assert found.plan.replicas == 3
    assert all(len(shares) == 3 for shares in found.plan.shares.values())


def test_more_headroom_takes_more_replicas(steady):
    counts = [
        place(demands(400), steady, Objectives(headroom=headroom), Limits(max_replicas=50)).plan.replicas
        for headroom in (0.0, 0.5, 2.0)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_at_least_the_least_replicas(steady):
    found = place(demands(1), steady, Objectives(), Limits(min_replicas=3, max_replicas=4))
    assert found.plan.replicas == 3
    assert found.feasible


def test_beyond_the_limits_the_best_effort_names_what_is_missing(steady):
    found = place(demands(900), steady, Objectives(), Limits(max_replicas=1))
    assert not found.feasible
    assert found.plan.replicas == 1
    assert found.missing_gpus >= 1
    assert "max_replicas 1 allow 1" in found.explanation[0]


def test_gpus_limit_too(steady):
    found = place(demands(900), steady, Objectives(), Limits(max_gpus=1))
    assert found.plan.replicas == 1
    assert "max_gpus 1" in found.explanation[0]


def test_no_gpu_no_plan(profile, steady):
    wide = type(steady)(profile.model_copy(update={"tensor_parallel_size": 2}))
    found = place(demands(2, rank=8), wide, Objectives(), Limits(max_gpus=1))
    assert found.plan is None
    assert not found.feasible
    assert found.missing_gpus == 2


def test_a_rank_that_fits_in_no_memory(steady):
    found = place(demands(1, rank=512), steady, Objectives(), Limits())
    assert found.plan is None
    assert found.missing_gpus == 0
    assert "No choice of slots for adapters of rank 512 fits" in found.explanation[0]


def test_a_latency_that_no_gpu_reaches(steady):
    found = place(demands(1), steady, Objectives(itl_s=1e-4), Limits())
    assert not found.feasible
    assert found.plan.replicas == 1
    assert found.missing_gpus == 0
    assert "more GPUs do not help" in found.explanation[0]


def test_latency_objectives_take_replicas(steady):
    lax = place(demands(400), steady, Objectives(), Limits(max_replicas=40))
    fast = place(demands(400), steady, Objectives(itl_s=0.025, ttft_s=0.5), Limits(max_replicas=40))
    assert fast.feasible
    assert fast.plan.replicas > lax.plan.replicas
    assert all(said.itl_s <= 0.025 for said in fast.predictions.values())


def test_excluded_slots_are_not_used(steady):
    first = place(demands(100), steady, Objectives(), Limits())
    again = place(demands(100), steady, Objectives(), Limits(), excluded_slots=slots_of(first.plan))
    assert again.feasible
    assert not slots_of(first.plan) & slots_of(again.plan)


def test_extra_headroom_makes_a_safer_plan(steady):
    tight = place(demands(700), steady, Objectives(headroom=0.0), Limits(max_replicas=20))
    safer = place(demands(700), steady, Objectives(headroom=0.0), Limits(max_replicas=20), extra_headroom=1.0)
    assert safer.plan.replicas > tight.plan.replicas


def test_pools_are_named_with_the_rest_of_the_engine(steady):
    one = place(demands(), steady, Objectives(), Limits(), engine="a")
    other = place(demands(), steady, Objectives(), Limits(), engine="b")
    assert one.plan.pools[0].name != other.plan.pools[0].name


def test_a_present_plan_that_still_does_is_kept(steady):
    present = place(demands(300), steady, Objectives(), Limits()).plan
    warmer = [AdapterDemand(d.name, 1.03 * d.rate, d.rank) for d in demands(300)]
    found = place(warmer, steady, Objectives(), Limits(), present=present)
    assert found.plan.hash == present.hash
    assert "0 of 300 adapters moved" in found.explanation[-1]


def test_new_adapters_move_no_old_ones(steady):
    present = place(demands(290), steady, Objectives(), Limits()).plan
    found = place(demands(300), steady, Objectives(), Limits(), present=present)
    assert all(found.plan.shares[name] == shares for name, shares in present.shares.items())


def test_growth_keeps_what_need_not_move(steady):
    same = {"excluded_slots": {(slots, 16) for slots in SLOT_GRID if slots != 64}}
    present = place(demands(300), steady, Objectives(), Limits(max_replicas=50), **same).plan
    more = demands(2 * present.replicas * 300)
    found = place(more, steady, Objectives(), Limits(max_replicas=50), present=present, **same)
    assert found.feasible
    assert found.plan.replicas > present.replicas
    kept = sum(present.shares[name].keys() <= found.plan.shares[name].keys() for name in present.shares)
    assert kept > 0.5 * len(present.shares)


def test_shrinking_drops_the_highest_ordinals(steady):
    present = place(demands(1500), steady, Objectives(), Limits(max_replicas=50)).plan
    found = place(demands(100), steady, Objectives(), Limits(max_replicas=50), present=present)
    assert found.plan.replicas < present.replicas
    assert set(found.plan.assignment) <= set(present.assignment) or found.plan.pools[0].name not in {
        pool.name for pool in present.pools
    }


def test_a_present_plan_of_another_engine_is_replaced(steady):
    present = place(demands(), steady, Objectives(), Limits(), engine="old").plan
    found = place(demands(), steady, Objectives(), Limits(), present=present, engine="new")
    assert found.feasible
    assert not set(found.plan.assignment) & set(present.assignment)


def test_replicas_to_avoid_lose_the_adapter(steady):
    present = place(demands(40), steady, Objectives(), Limits(min_replicas=2)).plan
    home = next(iter(present.shares["a0000"]))
    found = place(
        demands(40), steady, Objectives(), Limits(min_replicas=2), present=present, avoid={"a0000": {home}}
    )
    assert home not in found.plan.shares["a0000"]
    assert all(found.plan.shares[name] == present.shares[name] for name in present.shares if name != "a0000")


def test_more_copies_come_where_there_are_none(steady):
    present = place(demands(6), steady, Objectives(), Limits(min_replicas=2)).plan
    found = place(demands(6, min_copies=2), steady, Objectives(), Limits(min_replicas=2), present=present)
    assert found.feasible
    assert all(shares == dict.fromkeys(present.assignment, 0.5) for shares in found.plan.shares.values())


def test_an_expired_deadline_never_gives_an_invalid_plan(steady):
    found = place(demands(900), steady, Objectives(), Limits(max_replicas=50), deadline_s=0.0)
    assert isinstance(found.plan, Plan)
    assert not found.feasible or found.plan.replicas >= found.lower_bound.gpus


def test_a_derived_profile_widens_the_headroom(profile, steady):
    derived = type(steady)(profile.model_copy(update={"safety_margin_percent": 25}))
    assert Judge(derived, Objectives(headroom=0.1), TOKENS).headroom == pytest.approx(0.35)


def test_the_margin_grows_with_the_headroom(steady):
    assert Judge(steady, Objectives(headroom=0.0), TOKENS).margin == 0.0
    assert Judge(steady, Objectives(headroom=0.05), TOKENS).margin == pytest.approx(0.5)
    assert Judge(steady, Objectives(headroom=0.3), TOKENS).margin == 1.0


def test_filled_replicas_hold_everything_once(steady):
    judge = Judge(steady, Objectives(), TOKENS)
    asked = demands(500, rate=0.3)
    bins = fill(by_rate(copies_of(asked, 10)), judge, 100, 50, NEVER)
    held = [piece for pieces in bins for piece in pieces]
    assert math.isclose(sum(piece.rate for piece in held), 150.0, rel_tol=1e-9)
    assert {piece.adapter for piece in held} == set(range(500))
    assert fill(by_rate(copies_of(asked, 10)), judge, 100, 1, NEVER) is None
    assert fill(by_rate(copies_of(asked, 10)), judge, 100, 50, Deadline.after(0.0)) is None


def test_even_loads_are_even():
    bins = spread([AdapterDemand(f"a{i}", 1.0 / (i + 1), 8) for i in range(100)], 4)
    rates = [sum(piece.rate for piece in pieces) for pieces in bins]
    assert max(rates) < 1.35 * min(rates)
    sizes = [len(pieces) for pieces in bins]
    assert max(sizes) <= min(sizes) + 12


def test_skewed_adapters_are_all_served(steady):
    skewed = [AdapterDemand(f"a{i:04d}", 6.0 / (i + 1) ** 0.7, (8, 32)[i % 2]) for i in range(600)]
    judge = Judge(steady, Objectives(), TOKENS)
    bins = fewer_bins(skewed, judge, 1, 60, None, NEVER)
    assert all(judge.carries([contents_of(pieces) for pieces in bins if pieces]))
    held = [piece for pieces in bins for piece in pieces]
    assert {piece.adapter for piece in held} == set(range(600))
    assert math.isclose(sum(piece.rate for piece in held), sum(demand.rate for demand in skewed))
    assert fewer_bins(skewed, judge, 1, 2, None, NEVER) is None
    assert fewest_even(skewed, judge, 1, 2, NEVER) is None


def test_levelling_shares_what_is_unused_in_the_last_replica(steady):
    judge = Judge(steady, Objectives(), TOKENS)
    order = by_rate(copies_of(demands(500, rate=0.1), 10))
    filled = fill(order, judge, 100, 50, NEVER)
    level = _levelled(order, judge, 100, filled, Deadline.after(None))
    assert len(level) == len(filled) > 1
    assert len(level[-1]) > len(filled[-1])
    assert _levelled(order, judge, 100, filled, Deadline.after(0.0)) == filled
    assert _levelled(order, judge, 100, filled[:1], Deadline.after(None)) == filled[:1]


def test_an_overloaded_replica_sheds_its_hottest_adapters(steady):
    pool = Pool(name=pool_name(64, 16), replicas=2, max_loras=64, max_lora_rank=16)
    busy, idle = pool.replica_names()
    asked = [AdapterDemand(f"a{i:04d}", 0.02 + 0.001 * i, 16) for i in range(220)]
    present = Plan.build((pool,), {busy: {demand.name: 1.0 for demand in asked}, idle: {}})
    judge = Judge(steady, Objectives(), TOKENS)
    seats = repaired(present, asked, judge, 2, engine="", avoid={}, deadline=NEVER)
    assert all(judge.feasible([(seat.contents, seat.slots) for seat in seats]))
    stayed = {piece.adapter for piece in seats[0].pieces}
    moved = {piece.adapter for piece in seats[1].pieces}
    assert stayed | moved == set(range(220))
    assert min(moved) > max(stayed)


def test_slots_are_from_a_small_grid(steady):
    judge = Judge(steady, Objectives(), TOKENS)
    assert {slots.max_loras for slots in judge.grid(16)} <= set(SLOT_GRID)
    assert smallest_rank(9) == 16
    assert all(slots.max_lora_rank == 16 for slots in judge.grid(9))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdapterDemand("a", -1.0, 8), "a.rate: -1.0"),
        (lambda: AdapterDemand("a", math.inf, 8), "a.rate: inf"),
        (lambda: AdapterDemand("a", 1.0, 1000), "a.rank: 1000"),
        (lambda: AdapterDemand("a", 1.0, 8, 0), "a.min_copies: 0"),
        (lambda: Objectives(served_fraction=0.0), "objectives.served_fraction"),
        (lambda: Objectives(headroom=-0.1), "objectives.headroom"),
        (lambda: Objectives(itl_s=0.0), "objectives.itl_s"),
        (lambda: Objectives(ttft_s=-1.0), "objectives.ttft_s"),
        (lambda: Limits(min_replicas=0), "limits.min_replicas"),
        (lambda: Limits(min_replicas=3, max_replicas=2), "limits.max_replicas: 2 is below"),
        (lambda: Limits(max_gpus=0), "limits.max_gpus"),
        (lambda: TokenMeans(0.0, 1.0), "tokens.prompt"),
    ],
)
def test_impossible_numbers_are_named(make, message):
    with pytest.raises(PlacementError, match=message):
        make()


def test_adapters_are_there_once(steady):
    with pytest.raises(PlacementError, match="there is none"):
        place([], steady, Objectives(), Limits())
    with pytest.raises(PlacementError, match="a0000 is there twice"):
        place([*demands(1), *demands(1)], steady, Objectives(), Limits())


def test_rounding_makes_no_other_plan():
    cut = (0.1,) * 10
    assert sum(cut) != 1.0
    seats = [Seat([Piece(0, share, 9.0 * share, 16)], Slots(8, 16)) for share in cut]
    plan = plan_of(seats, [AdapterDemand("a", 9.0, 16)], None, "")
    assert tuple(plan.shares["a"].values()) == cut
    assert plan_of(seats, [AdapterDemand("a", 9.0, 16)], plan, "").hash == plan.hash


def test_what_does_not_add_up_is_made_to():
    seats = [Seat([Piece(0, 0.4, 3.6, 16)], Slots(8, 16)) for _ in range(2)]
    plan = plan_of(seats, [AdapterDemand("a", 9.0, 16)], None, "")
    assert tuple(plan.shares["a"].values()) == (0.5, 0.5)
