import numpy as np
import pytest

from adapter_twin.profile import load_profile
from adapter_twin.replica import ReplicaConfig, simulate_replica
from adapter_twin.report import Histogram, LatencySummary, percentiles
from adapter_twin.workload import Adapter, Requests


@pytest.mark.parametrize("size", [1, 2, 3, 17, 1000, 50_000])
@pytest.mark.parametrize("scale", [1e-5, 1.0, 3000.0])
def test_percentiles_are_numpys_to_the_last_bit(size, scale):
    values = np.random.default_rng(size).exponential(scale, size)
    wanted = (0.0, 12.5, 50.0, 90.0, 99.0, 100.0)
    assert percentiles(values, wanted) == np.percentile(values, wanted).tolist()


@pytest.mark.parametrize("value", [0.0, 0.25])
def test_percentiles_of_equal_values(value):
    assert percentiles(np.full(9, value), (50.0, 99.0)) == [value, value]


def test_summary_of_nothing_is_unknown():
    assert np.isnan(LatencySummary.of(np.zeros(0)).p99)


@pytest.mark.parametrize("duration_s", [7.7, 15.4, 30.8])
def test_time_series_end_with_a_duration_whose_bins_do_not_add_up_to_it(duration_s):
    profile = load_profile("qwen-2.5-7b-instruct-h100-64gb")
    count = int(20 * duration_s)
    arrival_s = np.linspace(0.0, duration_s, count, endpoint=False)
    asked = Requests(arrival_s, *np.full((2, count), 9), [0] * count)
    report = simulate_replica(
        profile, ReplicaConfig(8, 8), asked, [Adapter("a", 20.0, 8)], duration_s=duration_s
    )
    series = report.timeseries
    bin_s = duration_s / series.time_s.size
    decoded = (series.decoded_tokens_per_s * bin_s).sum()
    assert 0.8 * 9 * count < decoded <= 9 * count
    assert series.running.mean() > 0
    assert series.running[-1] > 0


def test_histogram_counts_every_value_where_it_lies():
    values = np.random.default_rng(0).lognormal(-3.0, 2.0, 10_000)
    histogram = Histogram.of(values)
    assert histogram.counts.tolist() == np.histogram(values, histogram.edges_s)[0].tolist()
    assert histogram.counts.sum() == values.size
    widths = histogram.edges_s[1:] / histogram.edges_s[:-1]
    assert np.all((widths > 1.05) & (widths <= 1.125))
    assert Histogram.of(np.zeros(0)).counts.size == 0


def test_a_single_request_whose_tokens_came_in_one_chunk_has_no_inter_token_latency():
    """Its only gap lies within the chunk: the server was loading the other adapter's tokenizer."""
    profile = load_profile("llama-3.1-8b-instruct-h100-64gb")
    config = ReplicaConfig(
        2, 8, max_num_batched_tokens=64, max_model_len=512, gpu_memory_utilization=0.6, scrape_interval_s=0.0
    )
    asked = Requests(np.zeros(3), [1, 1, 1], [1, 2, 1], [0, 0, 1])
    adapters = [Adapter("a0", 1.0, 8), Adapter("a1", 1.0, 8)]
    report = simulate_replica(profile, config, asked, adapters, duration_s=20.0)
    assert report.completed_requests == 3
    assert np.isnan(report.itl_s.mean)
    assert report.tpot_s.mean == 0.0
