import numpy as np
import pytest

from adapter_operator.load.traffic import phase_seed, read_traffic
from adapter_twin.errors import AdaptwinError
from adapter_twin.workload_options import WorkloadOptions

LENGTHS = """
prompt: {distribution: fixed, tokens: 100}
output: {distribution: lognormal, mean: 50, sigma: 0.5, maximum: 200}
"""
ADAPTERS = "[{name: a, rate: 2, rank: 8}, {name: b, rate: 1, rank: 16}]"
PHASES = f"""
{LENGTHS}
phases:
  - {{name: calm, duration_s: 100, adapters: {ADAPTERS}}}
  - duration_s: 50
    adapters: [{{name: b, rate: 4, rank: 16}}, {{name: c, rate: 1, rank: 8}}]
    prompt: {{distribution: fixed, tokens: 7}}
"""


def read(tmp_path, text, **options):
    path = tmp_path / "traffic.yaml"
    path.write_text(text)
    return read_traffic(WorkloadOptions(workload=path, **options))


def same(left, right):
    return all(
        np.array_equal(getattr(left, name), getattr(right, name))
        for name in ("arrival_s", "prompt_tokens", "output_tokens", "adapter")
    )


def test_a_workload_becomes_the_requests_that_the_twin_simulates(tmp_path):
    text = f"duration_s: 100\nadapters: {ADAPTERS}\n{LENGTHS}"
    traffic = read(tmp_path, text, seed=7)
    simulated = WorkloadOptions(workload=tmp_path / "traffic.yaml", seed=7).simulated(None)
    assert same(traffic.requests, simulated.requests)
    assert traffic.adapters == simulated.adapters
    assert traffic.duration_s == 100


def test_the_first_phase_is_the_workload_of_that_seed(tmp_path):
    phased = read(tmp_path, PHASES, seed=3)
    alone = read(tmp_path, f"duration_s: 100\nadapters: {ADAPTERS}\n{LENGTHS}", seed=3)
    assert same(phased.requests.select(phased.requests.arrival_s < 100), alone.requests)


def test_rates_shift_from_phase_to_phase(tmp_path):
    traffic = read(tmp_path, PHASES)
    assert [adapter.name for adapter in traffic.adapters] == ["a", "b", "c"]
    assert [(phase.name, phase.start_s, phase.end_s) for phase in traffic.phases] == [
        ("calm", 0.0, 100.0),
        ("2", 100.0, 150.0),
    ]
    assert traffic.duration_s == 150
    requests = traffic.requests
    later = requests.arrival_s >= 100
    counts = np.array([np.bincount(requests.adapter[mask], minlength=3) for mask in (~later, later)])
    assert counts[0, 2] == counts[1, 0] == 0
    assert counts[0] == pytest.approx([200, 100, 0], abs=45)
    assert counts[1] == pytest.approx([0, 200, 50], abs=45)
    assert set(requests.prompt_tokens[~later]) == {100}
    assert set(requests.prompt_tokens[later]) == {7}
    assert [adapter.rate for adapter in traffic.adapters] == pytest.approx([4 / 3, 2.0, 1 / 3])


def test_phases_draw_independently():
    seeds = {phase_seed(seed, phase) for seed in range(20) for phase in range(20)}
    assert len(seeds) == 400
    assert phase_seed(5, 0) == 5


def test_the_part_before_a_time(tmp_path):
    part = read(tmp_path, PHASES).until(120.0)
    assert part.duration_s == 120
    assert part.requests.arrival_s.max() < 120
    assert [phase.end_s for phase in part.phases] == [100.0, 120.0]


def test_a_trace(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("arrival_time,prompt_tokens,output_tokens,adapter\n0.5,3,4,x\n1.5,5,6,\n")
    traffic = read_traffic(WorkloadOptions(trace=path))
    assert [adapter.name for adapter in traffic.adapters] == ["x"]
    assert traffic.base_requests == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phases: []", "phases: "),
        ("phases: 3", "phases: "),
        (f"phases: [{{adapters: {ADAPTERS}}}]", "phases.0.duration_s: Field required"),
        (f"phases: [{{duration_s: -1, adapters: {ADAPTERS}}}]", "phases.0.duration_s"),
        (f"extra: 1\nphases: [{{duration_s: 1, adapters: {ADAPTERS}}}]", "phases.0.extra"),
        (f"phases: [{{duration_s: 1, adapters: {ADAPTERS}}}]", "prompt, output: give the lengths of both"),
        (
            LENGTHS + "phases: [{duration_s: 1, adapters: [{name: a, rate: 1, rank: 8}]}, "
            "{duration_s: 1, adapters: [{name: a, rate: 1, rank: 16}]}]",
            "adapter a has rank 8 in one phase and 16 in another",
        ),
        ("phases: [", "not a YAML file"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, text, message):
    with pytest.raises(AdaptwinError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_phases_have_their_own_durations(tmp_path):
    with pytest.raises(AdaptwinError, match="duration: does not go with a file with phases"):
        read(tmp_path, PHASES, duration=5)
