import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter_twin.errors import WorkloadError
from adapter_twin.workload import (
    Adapter,
    Fixed,
    GammaBurst,
    OnOff,
    Workload,
    generate,
    zipf_rates,
    zipf_shares,
)
from adapter_twin.workload.document import WorkloadDocument, read_workload


@given(st.integers(1, 3000), st.floats(0, 3), st.floats(0, 1e4))
def test_rates_add_up_and_fall(count, exponent, total):
    rates = np.array(zipf_rates(count, total, exponent))
    assert rates.size == count
    assert rates.sum() == pytest.approx(total)
    assert np.all(np.diff(rates) <= 0)


def test_shares_follow_the_law():
    shares = zipf_shares(100, 1.3)
    assert shares[0] / shares[9] == pytest.approx(10**1.3)
    assert zipf_shares(4, 0.0).tolist() == [0.25] * 4


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: zipf_shares(0, 1.0), "zipf: 0 adapters are not allowed"),
        (lambda: zipf_shares(3, -1.0), "zipf: exponent -1 is not allowed"),
        (lambda: zipf_rates(3, float("nan"), 1.0), "total rate: nan is not allowed"),
    ],
)
def test_bad_values_are_named(build, message):
    with pytest.raises(WorkloadError, match=message):
        build()


def document(text, tmp_path):
    path = tmp_path / "workload.yaml"
    path.write_text(text)
    return read_workload(path)


def test_a_file_may_mix_singles_and_a_tail(tmp_path):
    read = document(
        "adapters:\n"
        "  - {name: support, rate: 1.5, rank: 16}\n"
        "  - {name: tenant, count: 50, ranks: [8, 16], zipf: {total_rate: 8, exponent: 0.9}}\n"
        "prompt: {distribution: fixed, tokens: 3000}\n"
        "output: {distribution: fixed, tokens: 10}\n",
        tmp_path,
    )
    built = read.build(None, 60.0)
    assert [adapter.name for adapter in built.adapters[:3]] == ["support", "tenant-0", "tenant-1"]
    assert sum(adapter.rate for adapter in built.adapters) == pytest.approx(9.5)
    assert [adapter.rank for adapter in built.adapters[1:4]] == [8, 16, 8]
    assert set(generate(built, 0).prompt_tokens.tolist()) == {3000}


def test_rates_and_zipf_exclude_each_other(tmp_path):
    text = "adapters: [{name: a, count: 2, rate: 1, rank: 8, zipf: {total_rate: 1}}]"
    with pytest.raises(WorkloadError, match="adapter a: give either zipf, or rate or rates"):
        document(text, tmp_path).build(None, 1.0)


def test_lengths_need_a_profile_or_to_be_given():
    with pytest.raises(WorkloadError, match="prompt, output: give the lengths of both, or a profile"):
        WorkloadDocument(adapters=()).build(None, 1.0)


def on_off_dispersion(process, rate, duration_s):
    """Variance over mean of the number of arrivals, by the autocovariance of the on/off process."""
    cycle_s = process.on_s + process.off_s
    relaxation_s = process.on_s * process.off_s / cycle_s
    share = process.on_s / cycle_s
    correlated = 1 - relaxation_s / duration_s * (1 - np.exp(-duration_s / relaxation_s))
    time_on = 2 * share * (1 - share) * relaxation_s * duration_s * correlated
    return 1 + (rate / share) ** 2 * time_on / (rate * duration_s)


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        (GammaBurst(0.5), 0.25),
        (GammaBurst(2.0), 4.0),
        (OnOff(3.0, 6.0), on_off_dispersion(OnOff(3.0, 6.0), 0.5, 400.0)),
    ],
)
def test_mean_rate_holds_from_the_first_second_and_bursts_are_as_large_as_declared(process, expected):
    adapters = tuple(Adapter(f"a{i}", 0.5, 8) for i in range(4000))
    requests = generate(Workload(adapters, Fixed(1), Fixed(1), 400.0, arrivals=process), 3)
    counts = np.bincount((requests.arrival_s // 100).astype(int), minlength=4)
    assert counts == pytest.approx(np.full(4, 200_000), rel=0.02)
    own = np.bincount(requests.adapter, minlength=4000)
    assert own.var() / own.mean() == pytest.approx(expected, rel=0.1)
