"""What scheduler and server are told: limits and the switches by which versions of vLLM differ."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SchedulerPolicy:
    """Limits in tokens, requests and blocks; the defaults of the switches are vLLM 0.8.5's."""

    max_num_seqs: int
    max_num_batched_tokens: int
    blocks: int
    """KV cache blocks that requests can hold (vLLM's own null block not among them)."""
    max_loras: int
    max_cpu_loras: int
    block_size: int = 16
    max_connections: int = 2**31 - 1
    """Open requests beyond which further arrivals are turned away."""
    max_num_active_seqs: int | None = None
    long_prefill_token_threshold: int = 0
    """Most prompt tokens of one request in a step; 0: no limit."""
    long_prefill_token_threshold_adaptive: bool = False
    """Raise the threshold to a fair share of the budget."""
    lone_prefill_is_unlimited: bool = False
    """Newer versions do not apply the threshold to the only request there is."""
    scheduler_reserve_full_isl: bool = False
    """Admit a request only if all its known tokens would fit."""
    watermark_blocks: int = 0
    """Blocks that admissions leave free while something runs."""
    adapter_limit_counts_running: bool = False
    """`max_loras` limits the adapters of all running requests, not of those scheduled in the step; that
    differs only where a running request is not scheduled, which is where scheduling is asynchronous."""
    async_scheduling: bool = False
    """Schedule a batch while the one before it runs, whose tokens are then not known yet."""
    scheduling_s: float = 0.0
    """What the host takes of every step beside scanning the queue; asynchronous scheduling hides both."""

    @property
    def max_running(self) -> int:
        """Requests that may be in the running list."""
        if self.max_num_active_seqs is None:
            return self.max_num_seqs
        return min(self.max_num_seqs, self.max_num_active_seqs)


@dataclass(frozen=True)
class FrontEndPolicy:
    """The API server in front of the engine; see `adapter_twin.engine.front_end`."""

    request_s: float = 0.0
    """From the client to the engine's queue."""
    scrape_interval_s: float = 0.0
    """Pause between two scrapes of `/metrics`; 0: nobody scrapes."""
    render_per_label_set_s: float = 0.0
    """Rendering time of each combination of running and waiting adapters that was ever seen."""
    render_per_name_s: float = 0.0
    """The same for each adapter named in it."""
    tokenizer_s: float = 0.0
    """Loading the tokenizer of an adapter, at its first request."""
    coalesce_below: int = 128
    """Steps with fewer outputs have tokens that wait for the server merged into one chunk."""


UNSCRAPED = FrontEndPolicy()
