import numpy as np
import pytest
from scipy.special import ndtr

from adapter_twin.errors import WorkloadError
from adapter_twin.profile import load_profile
from adapter_twin.workload import (
    Adapter,
    Diurnal,
    Empirical,
    Fixed,
    GammaBurst,
    Lognormal,
    OnOff,
    Poisson,
    Requests,
    Workload,
    generate,
    generate_lengths,
    route,
)
from adapter_twin.workload.lengths import tokens_at
from adapter_twin.workload.random_streams import stream, streams

PROCESSES = [Poisson(), GammaBurst(0.5), GammaBurst(3.0), OnOff(20.0, 40.0), Diurnal(0.8, 500.0)]


def workload(adapters=20, rate=0.5, duration_s=2000.0, **changes):
    settings = {
        "adapters": tuple(Adapter(f"a{i}", rate, 8) for i in range(adapters)),
        "prompt": Lognormal(200.0, 1.2, 4, 1024),
        "output": Lognormal(150.0, 1.0, 1, 2000),
        "duration_s": duration_s,
    }
    return Workload(**(settings | changes))


def twice(name):
    return Workload((Adapter(name, 1, 8), Adapter(name, 1, 8)), Fixed(1), Fixed(1), 1.0)


def of(requests, adapter):
    own = requests.adapter == adapter
    return requests.arrival_s[own], requests.prompt_tokens[own], requests.output_tokens[own]


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
class TestArrivals:
    def test_rate_is_the_declared_one(self, process):
        requests = generate(workload(adapters=100, rate=1.0, arrivals=process), seed=1)
        spread = 4 * getattr(process, "cv", 8.0 if isinstance(process, OnOff) else 1.0)
        assert abs(requests.count - 200_000) < spread * 200_000**0.5 + 10

    def test_sorted_within_the_duration(self, process):
        arrival_s = generate(workload(arrivals=process), seed=1).arrival_s
        assert np.all(np.diff(arrival_s) >= 0)
        assert arrival_s[0] >= 0
        assert arrival_s[-1] < 2000.0

    def test_invariant_10_other_adapters_do_not_shift_an_adapters_requests(self, process):
        few = generate(workload(adapters=2, arrivals=process), seed=7)
        many = generate(workload(adapters=9, arrivals=process), seed=7)
        for mine, same in zip(of(few, 1), of(many, 1), strict=True):
            assert np.array_equal(mine, same)

    def test_same_seed_same_bytes_other_seed_others(self, process):
        one, same, other = (generate(workload(arrivals=process), seed) for seed in (3, 3, 4))
        assert one.arrival_s.tobytes() == same.arrival_s.tobytes()
        assert one.output_tokens.tobytes() == same.output_tokens.tobytes()
        assert one.count != other.count or not np.array_equal(one.arrival_s, other.arrival_s)

    def test_silent_adapters_send_nothing(self, process):
        assert generate(workload(rate=0.0, arrivals=process), seed=1).count == 0


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
@pytest.mark.parametrize("seed", range(5))
def test_a_longer_duration_only_adds_arrivals(process, seed):
    short = generate(workload(adapters=1, duration_s=500.0, arrivals=process), seed)
    long = generate(workload(adapters=1, duration_s=5000.0, arrivals=process), seed)
    assert np.array_equal(long.arrival_s[: short.count], short.arrival_s)
    assert np.array_equal(long.output_tokens[: short.count], short.output_tokens)
    assert long.arrival_s[short.count] >= 500.0


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 1, 2**128 + 3])
def test_streams_taken_together_are_those_taken_singly(seed):
    names = ["a", "b", "", "ä"]
    together = [random.random(4) for random in streams(seed, "arrivals", names)]
    assert np.array_equal(together, [stream(seed, "arrivals", name).random(4) for name in names])


def test_requests_of_many_adapters_are_sorted_with_their_own_lengths():
    settings = workload(adapters=37, rate=0.3)
    together = generate(settings, seed=4)
    for i in (0, 17, 36):
        alone = generate(workload(adapters=37, rate=0.3, output=Fixed(7)), seed=4)
        assert np.array_equal(of(together, i)[0], of(alone, i)[0])
        assert np.array_equal(of(together, i)[1], of(alone, i)[1])


@pytest.mark.parametrize(("cv", "low", "high"), [(0.5, 0.4, 0.6), (3.0, 2.5, 3.5)])
def test_gamma_gaps_have_the_declared_variation(cv, low, high):
    gaps = np.diff(generate(workload(adapters=1, rate=10.0, arrivals=GammaBurst(cv)), seed=5).arrival_s)
    assert low < gaps.std() / gaps.mean() < high


def test_on_off_pauses():
    arrival_s = generate(workload(adapters=1, rate=5.0, arrivals=OnOff(20.0, 40.0)), seed=5).arrival_s
    gaps = np.diff(arrival_s)
    assert gaps[gaps < 10].mean() == pytest.approx(1 / 15.0, rel=0.15)
    assert (gaps > 10).sum() > 10


def test_diurnal_has_peaks_and_valleys():
    arrival_s = generate(
        workload(rate=5.0, duration_s=6000.0, arrivals=Diurnal(0.8, 600.0)), seed=5
    ).arrival_s
    phase = arrival_s % 600.0
    peak, valley = ((phase > 100) & (phase < 200)).sum(), ((phase > 400) & (phase < 500)).sum()
    assert peak / valley == pytest.approx((1 + 0.8 * 0.955) / (1 - 0.8 * 0.955), rel=0.15)


@pytest.mark.parametrize(
    "lengths",
    [
        Lognormal(223.0, 1.2, 4, 1024),
        Lognormal(30.0, 2.0, 1, 4096),
        Lognormal(900.0, 0.8, 4, 1024),
        Lognormal(20.0, 0.01, 1, 100),
        Fixed(250),
        Empirical((1, 2, 3, 3, 200)),
    ],
    ids=repr,
)
def test_invariant_11_lengths_have_the_declared_mean(lengths):
    tokens = lengths.quantile((np.arange(200_000) + 0.5) / 200_000)
    assert tokens.dtype == np.int32
    assert tokens.mean() == pytest.approx(lengths.mean, rel=0.005)
    assert tokens.min() >= 1
    assert tokens.max() <= getattr(lengths, "maximum", 250)


@pytest.mark.parametrize(
    "lengths",
    [
        Lognormal(223.0, 1.2, 4, 1024),
        Lognormal(20.0, 0.01, 1, 100),
        Lognormal(4000.0, 1.5, 1, 200_000),
        Fixed(250),
        Empirical((1, 2, 3, 3, 200)),
    ],
    ids=repr,
)
def test_looked_up_lengths_are_those_of_the_quantile(lengths):
    scores = np.append(np.random.default_rng(0).standard_normal(300_000), [-6.0, 0.0, 6.0])
    assert np.array_equal(tokens_at(lengths, scores), lengths.quantile(ndtr(scores)))


@pytest.mark.parametrize("correlation", [-0.4, 0.0, 0.6])
def test_prompts_and_outputs_correlate_as_declared(correlation):
    requests = generate(workload(adapters=100, correlation=correlation), seed=1)
    ranks = [np.argsort(np.argsort(tokens)) for tokens in (requests.prompt_tokens, requests.output_tokens)]
    spearman = 6 / np.pi * np.arcsin(correlation / 2)
    assert np.corrcoef(*ranks)[0, 1] == pytest.approx(spearman, abs=0.02)


def test_total_tokens_are_bounded():
    requests = generate(workload(max_total_tokens=1100), seed=1)
    total = requests.prompt_tokens + requests.output_tokens
    assert total.max() == 1100
    assert requests.output_tokens.min() >= 1


def test_lengths_for_known_arrivals_follow_the_same_distributions():
    prompt, output = generate_lengths(workload(), 50_000, seed=1)
    assert prompt.mean() == pytest.approx(200.0, rel=0.03)
    assert output.mean() == pytest.approx(150.0, rel=0.03)


def test_profile_gives_lengths():
    profile = load_profile("qwen-2.5-7b-instruct-h100-64gb")
    built = Workload.for_profile(profile, [Adapter("a", 1.0, 8)], 100.0, GammaBurst(2.0))
    assert built.prompt.mean == profile.workload_defaults.prompt.mean
    assert built.max_total_tokens == profile.workload_defaults.max_total_tokens
    assert built.arrivals == GammaBurst(2.0)


class TestRouting:
    shares = np.array([[0.25] * 20, [0.75] * 19 + [0.5]])

    def test_shares_are_met(self):
        requests = generate(workload(rate=5.0), seed=1)
        owner = route(workload(rate=5.0), requests, self.shares, seed=1)
        assert (owner[requests.adapter < 19] == 0).mean() == pytest.approx(0.25, abs=0.01)
        assert (owner[requests.adapter == 19] == -1).mean() == pytest.approx(0.25, abs=0.02)
        assert np.all(owner[requests.adapter < 19] >= 0)

    def test_thirds_add_up(self):
        requests = generate(workload(), seed=1)
        thirds = np.full((3, 20), 1 / 3)
        assert route(workload(), requests, thirds, seed=1).min() == 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Adapter("x", -1.0, 8), "adapter x: rate -1 is not allowed"),
        (lambda: Adapter("x", float("nan"), 8), "adapter x: rate nan"),
        (lambda: Adapter("x", 1.0, 12), "adapter x: rank 12 is not one of 1, 8, 16"),
        (lambda: twice("x"), "the name x appears more than once"),
        (lambda: workload(duration_s=0.0), "duration_s: 0 is not allowed"),
        (lambda: workload(correlation=1.0), "correlation: 1 is not allowed"),
        (lambda: workload(max_total_tokens=1), "max_total_tokens: 1 is not allowed"),
        (lambda: Fixed(0), "tokens: 0 is not allowed"),
        (lambda: Lognormal(5.0, 1.0, 0, 10), "minimum: 0 is not allowed"),
        (lambda: Lognormal(50.0, 1.0, 1, 10), "mean: 50 is not allowed"),
        (lambda: Lognormal(5.0, 0.0, 1, 10), "sigma: 0 is not allowed"),
        (lambda: Empirical(()), "at least one length"),
        (lambda: Empirical((0,)), "values: 0 is not allowed"),
        (lambda: GammaBurst(0.0), "cv: 0 is not allowed"),
        (lambda: OnOff(0.0, 1.0), "on_s must be at least 0.1"),
        (lambda: OnOff(1.0, float("inf")), "both at most 1e"),
        (lambda: Diurnal(0.5, float("inf")), "at most 1e"),
        (lambda: workload(duration_s=float("inf")), "duration_s: inf is not allowed"),
        (lambda: workload(adapters=4, rate=1e9), "8e.12 requests are too many, at most 20,000,000"),
        (lambda: workload(max_total_tokens=2**40), "max_total_tokens: 1099511627776 is not allowed"),
        (lambda: Fixed(3_000_000_000), "tokens: 3000000000 is not allowed, it must be at most 1073741823"),
        (lambda: Empirical((1, 2**31)), "values: 2147483648 is not allowed"),
        (lambda: Lognormal(200.0, 1.0, 1, 10**11), "maximum: 100000000000 is not allowed"),
        (lambda: Diurnal(2.0, 10.0), "the amplitude must lie between 0 and 1"),
    ],
)
def test_bad_values_are_named(build, message):
    with pytest.raises(WorkloadError, match=message.replace("(", r"\(")):
        build()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([0.0], [1, 2], [1], [0]), "different lengths"),
        (([2.0, 1.0], [1, 1], [1, 1], [0, 0]), "sorted"),
        (([0.0], [1], [0], [0]), "at least 1 of each"),
        (([0.0], [1], [1], [-2]), "-1 for the base model"),
    ],
)
def test_requests_are_checked(columns, message):
    with pytest.raises(WorkloadError, match=message):
        Requests(*(np.array(column) for column in columns))
