from adapter_predictor.optima import Outcome, optimum, points_by_slots


def cell(adapters, slots, throughput=1.0, *, starves=False):
    return Outcome(adapters, slots, throughput, starves)


def test_walks_stop_at_the_first_starving_cell():
    cells = [cell(8, 8), cell(16, 8), cell(32, 8, starves=True), cell(64, 8), cell(8, 16, starves=True)]
    assert points_by_slots(reversed(cells)) == {8: cell(16, 8)}


def test_the_optimum_prefers_adapters_then_throughput_then_few_slots():
    cells = [cell(32, 8, 5.0), cell(64, 16, 3.0), cell(64, 32, 4.0), cell(64, 64, 4.0)]
    assert optimum(cells) == cell(64, 32, 4.0)
    assert optimum([cell(8, 8, starves=True)]) is None
