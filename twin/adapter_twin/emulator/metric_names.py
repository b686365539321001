"""Names, helps, labels and buckets of vLLM's metrics, as version 0.32 has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Counter:
    """A counter; its sample ends in `_total`."""

    name: str
    help: str
    label: str = ""
    """A label of its own."""
    values: tuple[str, ...] = ("",)
    by_engine: bool = True


@dataclass(frozen=True)
class Gauge:
    """A gauge."""

    name: str
    help: str
    label: str = ""


@dataclass(frozen=True)
class Buckets:
    """A histogram."""

    name: str
    help: str
    buckets: tuple[float, ...]


TOKEN_BUCKETS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000)
STEP_BUCKETS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
COUNT_BUCKETS: Final = (1, 2, 5, 10, 20)
FIRST_TOKEN_BUCKETS: Final = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
LATENCY_BUCKETS: Final = (
    0.01,
    0.025,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.4,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
)
REQUEST_BUCKETS: Final = (
    0.3,
    0.5,
    0.8,
    1,
    1.5,
    2,
    2.5,
    5,
    10,
    15,
    20,
    30,
    40,
    50,
    60,
    120,
    240,
    480,
    960,
    1920,
    7680,
)
PREEMPTION_BUCKETS: Final = (1, 2, 3, 4, 5, 10, 20)

WAITING_BY_REASON: Final = "vllm:num_requests_waiting_by_reason"
FINISH_REASONS: Final = ("stop", "length", "abort", "error", "repetition")

GAUGES: Final = (
    Gauge("vllm:num_requests_running", "Number of requests in model execution batches."),
    Gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed."),
    Gauge(
        "vllm:num_requests_waiting_by_reason",
        "Number of waiting requests by reason. Reason labels: 'capacity' = waiting for scheduling "
        "capacity; 'deferred' = deferred by transient constraints (LoRA budget, KV transfer, blocked "
        "status). Sum of all reasons equals vllm:num_requests_waiting.",
        "reason",
    ),
    Gauge(
        "vllm:engine_sleep_state",
        "Engine sleep state; awake = 0 means engine is sleeping; awake = 1 means engine is awake; "
        "weights_offloaded = 1 means sleep level 1; discard_all = 1 means sleep level 2.",
        "sleep_state",
    ),
    Gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage."),
)

COUNTERS: Final = (
    Counter(
        "vllm:estimated_flops_per_gpu",
        "Estimated number of floating point operations per GPU (for Model Flops Utilization calculations).",
    ),
    Counter(
        "vllm:estimated_read_bytes_per_gpu",
        "Estimated number of bytes read from memory per GPU (for Model Flops Utilization calculations).",
    ),
    Counter(
        "vllm:estimated_write_bytes_per_gpu",
        "Estimated number of bytes written to memory per GPU (for Model Flops Utilization calculations).",
    ),
    Counter("vllm:prefix_cache_queries", "Prefix cache queries, in terms of number of queried tokens."),
    Counter("vllm:prefix_cache_hits", "Prefix cache hits, in terms of number of cached tokens."),
    Counter(
        "vllm:external_prefix_cache_queries",
        "External prefix cache queries from KV connector cross-instance cache sharing, in terms of number "
        "of queried tokens.",
    ),
    Counter(
        "vllm:external_prefix_cache_hits",
        "External prefix cache hits from KV connector cross-instance cache sharing, in terms of number of "
        "cached tokens.",
    ),
    Counter("vllm:mm_cache_queries", "Multi-modal cache queries, in terms of number of queried items."),
    Counter("vllm:mm_cache_hits", "Multi-modal cache hits, in terms of number of cached items."),
    Counter("vllm:num_preemptions", "Cumulative number of preemption from the engine."),
    Counter("vllm:prompt_tokens", "Number of prefill tokens processed."),
    Counter(
        "vllm:prompt_tokens_by_source",
        "Number of prompt tokens by source.",
        label="source",
        values=(
            "local_compute",
            "local_cache_hit",
            "external_kv_transfer",
        ),
    ),
    Counter("vllm:prompt_tokens_cached", "Number of cached prompt tokens (local + external)."),
    Counter(
        "vllm:prompt_tokens_cached_by_source",
        "Prefix-cache hit tokens by the cache tier that supplied them: device (local HBM), host "
        "(offloaded to DRAM), disk, p2p (transferred from another vLLM instance) or external_unspecified. "
        "Counted at admission; sums to vllm:prefix_cache_hits + vllm:external_prefix_cache_hits.",
        label="source",
        values=(
            "device",
            "host",
            "p2p",
            "disk",
            "external_unspecified",
        ),
    ),
    Counter("vllm:generation_tokens", "Number of generation tokens processed."),
    Counter(
        "vllm:request_success",
        "Count of successfully processed requests.",
        label="finished_reason",
        values=FINISH_REASONS,
    ),
    Counter(
        "vllm:admission_rejections",
        "Number of admission attempts rejected by a queue limit, by reason.",
        label="reason",
        values=(
            "max_num_queued_reqs",
            "max_num_queued_tokens",
        ),
        by_engine=False,
    ),
)

HISTOGRAMS: Final = (
    Buckets("vllm:request_prompt_tokens", "Number of prefill tokens processed.", TOKEN_BUCKETS),
    Buckets("vllm:request_generation_tokens", "Number of generation tokens processed.", TOKEN_BUCKETS),
    Buckets("vllm:iteration_tokens_total", "Histogram of number of tokens per engine_step.", STEP_BUCKETS),
    Buckets(
        "vllm:request_max_num_generation_tokens",
        "Histogram of maximum number of requested generation tokens.",
        TOKEN_BUCKETS,
    ),
    Buckets("vllm:request_params_n", "Histogram of the n request parameter.", COUNT_BUCKETS),
    Buckets(
        "vllm:request_params_max_tokens", "Histogram of the max_tokens request parameter.", TOKEN_BUCKETS
    ),
    Buckets(
        "vllm:time_to_first_token_seconds",
        "Histogram of time to first token in seconds.",
        FIRST_TOKEN_BUCKETS,
    ),
    Buckets(
        "vllm:inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", LATENCY_BUCKETS
    ),
    Buckets(
        "vllm:request_time_per_output_token_seconds",
        "Histogram of time_per_output_token_seconds per request.",
        LATENCY_BUCKETS,
    ),
    Buckets(
        "vllm:e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", REQUEST_BUCKETS
    ),
    Buckets(
        "vllm:request_queue_time_seconds",
        "Histogram of time spent in WAITING phase for request.",
        REQUEST_BUCKETS,
    ),
    Buckets(
        "vllm:request_inference_time_seconds",
        "Histogram of time spent in RUNNING phase for request.",
        REQUEST_BUCKETS,
    ),
    Buckets(
        "vllm:request_prefill_time_seconds",
        "Histogram of time spent in PREFILL phase for request.",
        REQUEST_BUCKETS,
    ),
    Buckets(
        "vllm:request_decode_time_seconds",
        "Histogram of time spent in DECODE phase for request.",
        REQUEST_BUCKETS,
    ),
    Buckets(
        "vllm:request_num_preemptions",
        "Histogram of the number of times a request was preempted.",
        PREEMPTION_BUCKETS,
    ),
    Buckets(
        "vllm:request_prefill_kv_computed_tokens",
        "Histogram of new KV tokens computed during prefill (excluding cached tokens).",
        TOKEN_BUCKETS,
    ),
)

LORA_INFO: Final = Gauge("vllm:lora_requests_info", "Running stats on lora requests.")
CACHE_CONFIG: Final = Gauge("vllm:cache_config_info", "Information of the LLMEngine CacheConfig")

CACHE_DEFAULTS: Final = {
    "_block_size_resolved": "True",
    "block_size": "128",
    "cache_dtype": "auto",
    "cache_hit_alignment_tokens": "None",
    "effective_attention_block_size": "128",
    "enable_mamba_shared_prefix_checkpoint": "False",
    "enable_prefix_caching": "True",
    "gpu_memory_utilization": "0.92",
    "hash_block_size": "None",
    "is_attention_free": "False",
    "kv_cache_dtype_skip_layers": "[]",
    "kv_cache_layout": "None",
    "kv_cache_max_concurrency": "512.0",
    "kv_cache_memory_bytes": "1073741824",
    "kv_cache_size_tokens": "1048576",
    "kv_offloading_backend": "native",
    "kv_offloading_size": "None",
    "kv_sharing_fast_prefill": "False",
    "mamba_block_size": "None",
    "mamba_cache_dtype": "auto",
    "mamba_cache_mode": "none",
    "mamba_page_size_padded": "None",
    "mamba_ssm_cache_dtype": "float32",
    "num_cpu_blocks": "None",
    "num_gpu_blocks": "8192",
    "num_gpu_blocks_override": "None",
    "prefix_cache_retention_interval": "0",
    "prefix_caching_hash_algo": "sha256",
    "prefix_match_unit": "None",
    "replayssm_buffer_len": "16",
    "skip_page_size_padded": "None",
    "sliding_window": "None",
    "swa_bounded_replay": "True",
    "use_kda_recoverssm": "False",
    "use_replayssm": "False",
    "user_specified_block_size": "False",
}
"""Labels of the configuration of the cache; the server sets those that it knows."""
