"""What a tree sees of a replica's load: one function, for training and for serving.

Every feature has a name, a unit and a sentence, since explanations are made of them. Most are what a person
would ask first (how many adapters, how fast, how many slots); the others are the steady state that `physics`
computes in closed form, so that small trees suffice.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from adapter_predictor import physics
from adapter_predictor.lengths import held_tokens
from adapter_predictor.load import LoadBatch, ReplicaLoad
from adapter_twin.memory import MemoryVerdict, memory_verdict
from adapter_twin.profile import Profile

FloatArray = NDArray[np.float64]

_PREEMPTIONS: Final = 0.45
_NO_PREEMPTION_RATIO: Final = 0.8


@dataclass(frozen=True)
class Feature:
    """One input of the trees.

    Attributes:
        name: Its name, an identifier.
        unit: Its unit, "" for a ratio.
        description: What it is, as a noun phrase.
        demand: What a higher total rate (and, but for features of the full batch, longer tokens) does to it,
            all else equal: it rises, falls, stands apart, or moves either way.
    """

    name: str
    unit: str
    description: str
    demand: Literal["rises", "falls", "apart", "mixed"] = "apart"


FEATURES: Final = (
    Feature("adapters", "adapters", "adapters that get traffic"),
    Feature("max_loras", "slots", "adapter slots"),
    Feature("max_lora_rank", "rank", "rank to which every slot is padded"),
    Feature("top_share", "", "the hottest adapter's share of the requests"),
    Feature("effective_adapters", "adapters", "adapters, each counted by how much it is used (1 / Σ share²)"),
    Feature("kv_cache_tokens", "tokens", "KV cache that weights and slots leave"),
    Feature("rate", "req/s", "requests per second", "rises"),
    Feature("prompt_tokens", "tokens", "mean prompt length", "rises"),
    Feature("output_tokens", "tokens", "mean output length", "rises"),
    Feature("offered_tokens", "tokens/s", "offered load", "rises"),
    Feature("utilisation", "", "offered rate over the rate that a full batch sustains", demand="rises"),
    Feature("kv_demand", "", "KV cache that the running requests would hold, over what there is", "rises"),
    Feature("batch", "requests", "requests expected to run at once", "mixed"),
    Feature("active_adapters", "adapters", "adapters expected to have a running request", demand="rises"),
    Feature("slot_pressure", "", "adapters expected to be active, over slots", "rises"),
    Feature("slot_wait", "s", "time for which an adapter waits for a slot", "rises"),
    Feature("largest_batch", "requests", "requests that can run at once"),
    Feature("batch_limits", "", "the batch that KV cache allows, over the one that the token budget allows"),
    Feature("output_ratio", "", "mean output length over mean prompt length"),
    Feature("full_itl", "s", "inter-token latency of a full batch"),
    Feature("full_slot_pressure", "", "adapters expected in a full batch, over slots"),
    Feature("steady_served", "", "served fraction of the steady state", "falls"),
    Feature("steady_throughput", "tokens/s", "throughput of the steady state", "mixed"),
    Feature("steady_itl", "s", "inter-token latency of the steady state", "mixed"),
    Feature("steady_ttft", "s", "time to first token of the steady state", "mixed"),
)
"""The features, in the order of the vector."""

FEATURE_INDEX: Final = {feature.name: index for index, feature in enumerate(FEATURES)}


class FeatureFunction:
    """Features of loads on one profile's replicas; remembers the memory of the slots it has met."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._coefficients = profile.coefficients()
        self._memory: dict[tuple[int, int], MemoryVerdict] = {}

    def memory(self, max_loras: int, max_lora_rank: int) -> MemoryVerdict:
        """Whether a replica with these slots starts, and with how much KV cache."""
        key = (max_loras, max_lora_rank)
        if key not in self._memory:
            self._memory[key] = memory_verdict(self.profile, max_loras, max_lora_rank)
        return self._memory[key]

    def fits(self, loads: LoadBatch) -> NDArray[np.bool_]:
        """Which replicas of the batch start, shape (n)."""
        verdicts = (self.memory(*slots) for slots in _slots(loads))
        return np.array([verdict.fits for verdict in verdicts], dtype=np.bool_)

    def matrix(self, loads: LoadBatch) -> FloatArray:
        """Features of many loads, shape (n, len(FEATURES))."""
        kv = self._kv_tokens(loads)
        prompt, output = loads.prompt_tokens_mean, loads.output_tokens_mean
        held = self._held_tokens(prompt, output)
        slots, rank = loads.max_loras.astype(np.float64), loads.max_lora_rank.astype(np.float64)
        budget = self.profile.engine.max_num_batched_tokens / (1.0 + prompt / output)
        largest = self._largest_batch(kv / held, budget)
        connections = np.full(len(loads), float(self.profile.engine.max_connections))
        again = np.where(largest < kv / held, 0.0, _recomputed_prompts(prompt, output))
        loading = np.array([self.profile.cpu_to_gpu_s(int(r), int(r)) for r in rank])
        given = np.column_stack([prompt, output, held, slots, rank, largest, connections, again, loading])
        states = physics.steady_states(self._coefficients, loads.rates, loads.offsets, given)
        state = dict(zip(physics.COLUMNS, states.T, strict=True))
        mix = physics.mixes(loads.rates, loads.offsets)
        rate = mix[:, 1]
        columns = {
            "adapters": mix[:, 0],
            "max_loras": slots,
            "max_lora_rank": rank,
            "top_share": mix[:, 2],
            "effective_adapters": mix[:, 3],
            "kv_cache_tokens": kv,
            "rate": rate,
            "prompt_tokens": prompt,
            "output_tokens": output,
            "offered_tokens": rate * (prompt + output),
            "utilisation": rate / state["capacity_per_s"],
            "kv_demand": rate * output * state["itl_s"] * held / kv,
            "batch": state["batch"],
            "active_adapters": state["active_adapters"],
            "slot_pressure": state["active_adapters"] / slots,
            "slot_wait": state["slot_wait_s"],
            "largest_batch": largest,
            "batch_limits": kv / held / budget,
            "output_ratio": output / prompt,
            "full_itl": state["full_itl_s"],
            "full_slot_pressure": state["full_active_adapters"] / slots,
            "steady_served": state["served"],
            "steady_throughput": state["served"] * rate * (prompt + output),
            "steady_itl": state["itl_s"],
            "steady_ttft": state["ttft_s"],
        }
        return np.column_stack([columns[feature.name] for feature in FEATURES])

    def vector(self, load: ReplicaLoad) -> FloatArray:
        """Features of one load, shape (len(FEATURES))."""
        row: FloatArray = self.matrix(LoadBatch.of([load]))[0]
        return row

    def _kv_tokens(self, loads: LoadBatch) -> FloatArray:
        """KV cache of each replica in tokens, one block at least, shape (n)."""
        tokens = [self.memory(*slots).kv_cache_tokens for slots in _slots(loads)]
        return np.maximum(np.array(tokens, dtype=np.float64), self.profile.engine.block_size)

    def _held_tokens(self, prompt: FloatArray, output: FloatArray) -> FloatArray:
        """KV tokens that a running request holds on average, shape (n)."""
        lengths = self.profile.workload_defaults
        pairs = zip(prompt.tolist(), output.tolist(), strict=True)
        return np.array([held_tokens(lengths, *pair) for pair in pairs], dtype=np.float64)

    def _largest_batch(self, by_memory: FloatArray, by_budget: FloatArray) -> FloatArray:
        """Requests that can run at once: what KV cache, token budget and sequence limit allow, shape (n)."""
        allowed = np.minimum(by_memory, by_budget)
        largest: FloatArray = np.maximum(1.0, np.minimum(allowed, self.profile.engine.max_num_seqs))
        return largest


def _recomputed_prompts(prompt: FloatArray, output: FloatArray) -> FloatArray:
    """Prompts computed again per request while the KV cache is full: the engine admits by prompt alone."""
    return _PREEMPTIONS * np.maximum(output / prompt - _NO_PREEMPTION_RATIO, 0.0)


def feature_vector(profile: Profile, load: ReplicaLoad) -> FloatArray:
    """Features of one load, shape (len(FEATURES)); for many loads, keep a `FeatureFunction`."""
    return FeatureFunction(profile).vector(load)


def _slots(loads: LoadBatch) -> list[tuple[int, int]]:
    return list(zip(loads.max_loras.tolist(), loads.max_lora_rank.tolist(), strict=True))
