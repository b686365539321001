"""What the scheduler is told: limits and the switches by which versions of vLLM differ."""

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

    @property
    def max_running(self) -> int:
        """Requests that may be in the running list."""
        if self.max_num_active_seqs is None:
            return self.max_num_seqs
        return min(self.max_num_seqs, self.max_num_active_seqs)
