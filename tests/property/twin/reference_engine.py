"""A slow engine that is written to be obviously right, and small cases for it and for the compiled one."""

from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from hypothesis import strategies as st

from adapter_twin.engine import step_log
from adapter_twin.engine.building import new_engine
from adapter_twin.engine.policy import SchedulerPolicy
from adapter_twin.engine.step_time import N_COEFFICIENTS, step_time

MAX_LORA_RANK = 16


@dataclass
class Case:
    policy: SchedulerPolicy
    arrival_s: list[float]
    prompt: list[int]
    output: list[int]
    adapter: list[int]  # -1: base model
    coefficients: list[float]
    cpu_to_gpu_s: list[float]
    disk_s: list[float]
    duration_s: float
    preload: bool


@dataclass(eq=False)
class Request:
    index: int
    prompt: int
    output: int
    adapter: int
    generated: int = 0
    computed: int = 0
    scheduled: int = 0
    preempted: bool = False
    streaming: bool = False  # got a token in the step before
    first_token_s: float = np.nan
    finish_s: float = np.nan

    @property
    def known(self):
        return self.prompt + self.generated


@dataclass
class Reference:
    """vLLM's scheduler and adapter caches, a list for every queue and a visit to everyone in every step."""

    case: Case
    set_order: list[int]
    running: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    cpu: OrderedDict = field(default_factory=OrderedDict)
    gpu: OrderedDict = field(default_factory=OrderedDict)  # adapter: slot
    events: list[tuple] = field(default_factory=list)
    rejected: set[int] = field(default_factory=set)
    stall_s: float = 0.0

    def run(self):
        case = self.case
        requests = [
            Request(i, *row) for i, row in enumerate(zip(case.prompt, case.output, case.adapter, strict=True))
        ]
        if case.preload:
            self.touch(range(len(case.disk_s)))
            self.events.clear()
        now, arrived = 0.0, 0
        while now < case.duration_s:
            while arrived < len(requests) and case.arrival_s[arrived] <= now:
                if len(self.running) + len(self.waiting) >= case.policy.max_connections:
                    self.rejected.add(arrived)
                else:
                    self.waiting.append(requests[arrived])
                arrived += 1
            if not self.running and not self.waiting:
                if arrived == len(requests) or case.arrival_s[arrived] >= case.duration_s:
                    return requests
                now = case.arrival_s[arrived]
                continue
            self.schedule()
            end = now + self.seconds()
            if end > case.duration_s:
                return requests
            self.give_tokens(end)
            now = end
        return requests

    def blocks(self, tokens):
        return ceil(tokens / self.case.policy.block_size)

    def free(self):
        return self.case.policy.blocks - sum(self.blocks(r.computed) for r in self.running)

    def schedule(self):  # noqa: C901, PLR0912, PLR0915 (in one piece, as vLLM has it)
        policy = self.case.policy
        self.stall_s, skipped = 0.0, []
        everyone = len(self.running) + len(self.waiting)
        cap = policy.long_prefill_token_threshold or policy.max_num_batched_tokens
        if policy.long_prefill_token_threshold and policy.long_prefill_token_threshold_adaptive:
            cap = max(cap, policy.max_num_batched_tokens // everyone)
        if policy.lone_prefill_is_unlimited and everyone == 1:
            cap = policy.max_num_batched_tokens
        budget, preempted = policy.max_num_batched_tokens, False
        for r in self.running:
            r.scheduled = 0
        k = 0
        while k < len(self.running) and budget > 0:
            r = self.running[k]
            tokens = min(r.known - r.computed, cap, budget)
            while self.blocks(r.computed + tokens) - self.blocks(r.computed) > self.free():
                victim = self.running.pop()
                victim.computed, victim.scheduled, victim.preempted, victim.streaming = 0, 0, True, False
                self.waiting.insert(0, victim)
                self.note(step_log.PREEMPTED, victim.index)
                preempted = True
                if victim is r:
                    break
            if r not in self.running:
                break
            r.scheduled, r.computed, budget = tokens, r.computed + tokens, budget - tokens
            k += 1
        active = {r.adapter for r in self.running} - {-1}
        k = 0
        while not preempted and k < len(self.waiting):
            if budget == 0 or len(self.running) >= policy.max_running:
                break
            r = self.waiting[k]
            if r.adapter >= 0 and r.adapter not in active and len(active) >= policy.max_loras:
                skipped.append(r.index)
                k += 1
                continue
            tokens = min(r.known - r.computed, cap, budget)
            needed = self.blocks(r.known if policy.scheduler_reserve_full_isl else tokens)
            kept = policy.watermark_blocks if self.running else 0
            if needed + kept > self.free():
                break
            self.waiting.pop(k)
            self.running.append(r)
            self.note(step_log.RESUMED if r.preempted else step_log.ADMITTED, r.index)
            active |= {r.adapter} - {-1}
            r.scheduled, r.computed, budget = tokens, tokens, budget - tokens
        self.touch(sorted(active, key=self.set_order.__getitem__))
        for r in self.running:
            if r.scheduled:
                self.note(step_log.SCHEDULED, r.index, r.scheduled)
            self.note(step_log.COMPUTED, r.index, r.computed)
        for r in self.waiting:
            self.note(step_log.QUEUED, r.index)
        for i in skipped:
            self.note(step_log.SKIPPED, i)
        self.note(step_log.BLOCKS_USED, policy.blocks - self.free())

    def touch(self, adapters):
        policy = self.case.policy
        for adapter in adapters:
            if adapter not in self.cpu:
                self.note(step_log.LOADED, adapter)
                self.stall_s += self.case.disk_s[adapter]
                if len(self.cpu) == policy.max_cpu_loras:
                    oldest, _ = self.cpu.popitem(last=False)
                    self.note(step_log.CPU_EVICTED, oldest)
                    if self.gpu.pop(oldest, None) is not None:
                        self.note(step_log.GPU_EVICTED, oldest)
            self.cpu[adapter] = None
            self.cpu.move_to_end(adapter)
            if adapter not in self.gpu:
                self.stall_s += self.case.cpu_to_gpu_s[adapter]
                if len(self.gpu) == policy.max_loras:
                    oldest, _ = self.gpu.popitem(last=False)
                    self.note(step_log.GPU_EVICTED, oldest)
                self.gpu[adapter] = min(set(range(policy.max_loras)) - set(self.gpu.values()))
                self.note(step_log.ACTIVATED, adapter, self.gpu[adapter])
            self.gpu.move_to_end(adapter)

    def seconds(self):
        decodes = [r for r in self.running if r.scheduled and r.streaming]
        prefills = [r for r in self.running if r.scheduled and not r.streaming]
        return self.stall_s + step_time(
            np.array(self.case.coefficients),
            len(decodes),
            sum(r.scheduled for r in prefills),
            sum(r.computed for r in self.running),
            len(prefills),
            len({r.adapter for r in self.running} - {-1}),
            self.case.policy.max_loras,
            MAX_LORA_RANK,
            len(self.waiting),
            len(self.waiting) + len(self.running),
        )

    def give_tokens(self, now):
        for r in list(self.running):
            r.streaming = r.scheduled > 0 and r.computed == r.known
            if r.streaming:
                r.generated += 1
                if r.generated == 1:
                    r.first_token_s = now
                if r.generated == r.output:
                    r.finish_s = now
                    self.running.remove(r)
                    self.note(step_log.FINISHED, r.index, r.generated)
        self.note(step_log.BLOCKS_LEFT, self.case.policy.blocks - self.free())

    def note(self, code, first, second=0):
        self.events.append((code, first, second))


@st.composite
def policies(draw):
    max_loras = draw(st.integers(1, 3))
    return SchedulerPolicy(
        max_num_seqs=draw(st.integers(1, 6)),
        max_num_batched_tokens=draw(st.integers(1, 30)),
        blocks=draw(st.integers(8, 24)),
        block_size=draw(st.integers(1, 4)),
        max_loras=max_loras,
        max_cpu_loras=draw(st.integers(max_loras, 6)),
        max_connections=draw(st.sampled_from([5, 10**6])),
        max_num_active_seqs=draw(st.sampled_from([None, 2])),
        long_prefill_token_threshold=draw(st.sampled_from([0, 0, 3])),
        long_prefill_token_threshold_adaptive=draw(st.booleans()),
        lone_prefill_is_unlimited=draw(st.booleans()),
        scheduler_reserve_full_isl=draw(st.booleans()),
        watermark_blocks=draw(st.sampled_from([0, 2])),
    )


@st.composite
def cases(draw):
    policy = draw(policies())
    adapters = draw(st.integers(1, 5))
    count = draw(st.integers(1, 25))
    longest = policy.blocks * policy.block_size
    prompt = draw(st.lists(st.integers(1, min(12, longest // 2)), min_size=count, max_size=count))
    output = draw(st.lists(st.integers(1, min(12, longest // 2)), min_size=count, max_size=count))
    seconds = st.floats(0, 0.5).map(lambda x: round(x, 3))
    loads = st.lists(seconds, min_size=adapters, max_size=adapters)
    gaps = draw(st.lists(st.sampled_from([0.0, 0.0, 0.1, 1.0, 7.0]), min_size=count, max_size=count))
    return Case(
        policy=policy,
        arrival_s=list(np.cumsum(gaps)),
        prompt=prompt,
        output=output,
        adapter=draw(st.lists(st.integers(-1, adapters - 1), min_size=count, max_size=count)),
        coefficients=[
            0.05,
            *draw(st.lists(st.floats(0, 0.01), min_size=N_COEFFICIENTS - 1, max_size=N_COEFFICIENTS - 1)),
        ],
        cpu_to_gpu_s=draw(loads),
        disk_s=draw(loads),
        duration_s=draw(st.sampled_from([1.0, 5.0, 1e4])),
        preload=draw(st.booleans()),
    )


def engine_for(case):
    return new_engine(
        case.policy,
        np.array(case.coefficients),
        np.array(case.arrival_s),
        np.array(case.prompt),
        np.array(case.output),
        np.array(case.adapter),
        np.array(case.cpu_to_gpu_s),
        np.array(case.disk_s),
        max_lora_rank=MAX_LORA_RANK,
        duration_s=case.duration_s,
        preload=case.preload,
        log_size=1 << 18,
    )


def by_step(events):
    """Events of each step, those of one kind in their order; the unfinished last step is left out."""
    steps, step = [], {}
    for code, first, second in events:
        if code == step_log.STEP:
            continue
        step.setdefault(code, []).append((first, second))
        if code == step_log.BLOCKS_LEFT:
            steps.append(step)
            step = {}
    return steps
