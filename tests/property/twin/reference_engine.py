"""A slow engine that is written to be obviously right, and small cases for it and for the compiled one."""

from collections import OrderedDict
from dataclasses import dataclass, field
from math import ceil

import numpy as np
from hypothesis import strategies as st

from adapter_twin.engine import step_log
from adapter_twin.engine.building import new_engine
from adapter_twin.engine.policy import SchedulerPolicy
from adapter_twin.engine.step_time import N_COEFFICIENTS, PER_WAITING, step_time

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
    generated: int = 0  # delivered
    placeholders: int = 0  # sampled by batches in flight
    stale: int = 0  # batches in flight from before a preemption
    computed: int = 0
    scheduled: int = 0
    preempted: bool = False
    streaming: bool = False  # got a token in the step before
    first_token_s: float = np.nan
    finish_s: float = np.nan

    @property
    def known(self):
        return self.prompt + self.generated

    @property
    def ending(self):
        """A batch in flight has its last token: vLLM's condition."""
        return self.placeholders > 0 and self.computed + 2 - self.placeholders >= self.prompt + self.output


@dataclass
class Batch:
    scheduled: list[Request]
    sampled: list[Request]
    end_s: float = 0.0


@dataclass
class Reference:
    """vLLM's scheduler and adapter caches, a list for every queue and a visit to everyone in every step."""

    case: Case
    set_order: list[int]
    running: list[Request] = field(default_factory=list)
    waiting: list[Request] = field(default_factory=list)
    in_flight: list[Batch] = field(default_factory=list)  # the oldest first
    active: set[int] = field(default_factory=set)
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
            if self.running or self.waiting:
                now = self.step(now)
            elif self.in_flight:
                now = max(now, self.in_flight.pop().end_s)
            elif arrived == len(requests) or case.arrival_s[arrived] >= case.duration_s:
                break
            else:
                now = case.arrival_s[arrived]
        return requests

    def step(self, now):
        """Schedule a batch, and wait for the oldest if as many are in flight as may be; when that is over."""
        batch = self.schedule()
        boundary = self.time(batch, now)
        self.in_flight.append(batch)
        if len(self.in_flight) <= self.case.policy.async_scheduling:
            self.note(step_log.BLOCKS_LEFT, self.case.policy.blocks - self.free())
        elif boundary <= self.case.duration_s:
            self.deliver(self.in_flight.pop(0), boundary)
        return boundary

    def time(self, batch, now):
        """Set when the batch ends; returns when the next one may be scheduled."""
        total = self.seconds()
        if not self.case.policy.async_scheduling:
            batch.end_s = now + total
            return batch.end_s
        scanning = self.case.coefficients[PER_WAITING] * len(self.waiting)
        host = min(total, self.case.policy.scheduling_s + scanning)
        device, boundary = total - host, now + host
        if self.in_flight:
            boundary = max(boundary, self.in_flight[-1].end_s)
            device = device if batch.scheduled else 0.0
        batch.end_s = boundary + device
        return boundary

    def blocks(self, tokens):
        return ceil(tokens / self.case.policy.block_size)

    def free(self):
        return self.case.policy.blocks - sum(self.blocks(r.computed) for r in self.running)

    def preempt(self, victim):
        victim.computed, victim.scheduled, victim.preempted, victim.streaming = 0, 0, True, False
        victim.placeholders = 0
        victim.stale = sum(victim in batch.scheduled for batch in self.in_flight)
        self.waiting.insert(0, victim)
        self.note(step_log.PREEMPTED, victim.index)

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
            if r.ending:
                k += 1
                continue
            tokens = min(r.known + r.placeholders - r.computed, cap, budget)
            while self.blocks(r.computed + tokens) - self.blocks(r.computed) > self.free():
                victim = self.running.pop()
                self.preempt(victim)
                preempted = True
                if victim is r:
                    break
            if r not in self.running:
                break
            r.scheduled, r.computed, budget = tokens, r.computed + tokens, budget - tokens
            k += 1
        counted = [r for r in self.running if r.scheduled or not r.ending]
        self.active = {
            r.adapter for r in (self.running if policy.adapter_limit_counts_running else counted)
        } - {-1}
        k = 0
        while not preempted and k < len(self.waiting):
            if budget == 0 or len(self.running) >= policy.max_running:
                break
            r = self.waiting[k]
            if r.stale or (
                r.adapter >= 0 and r.adapter not in self.active and len(self.active) >= policy.max_loras
            ):
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
            self.active |= {r.adapter} - {-1}
            r.scheduled, r.computed, budget = tokens, tokens, budget - tokens
        self.touch(sorted(self.active, key=self.set_order.__getitem__))
        for r in self.running:
            if r.scheduled:
                self.note(step_log.SCHEDULED, r.index, r.scheduled)
            self.note(step_log.COMPUTED, r.index, r.computed)
            self.note(step_log.KNOWN, r.index, r.known + r.placeholders)
        for r in self.waiting:
            self.note(step_log.QUEUED, r.index)
        for i in skipped:
            self.note(step_log.SKIPPED, i)
        self.note(step_log.BLOCKS_USED, policy.blocks - self.free())
        scheduled = [r for r in self.running if r.scheduled]
        return Batch(scheduled, [r for r in scheduled if r.computed == r.known + r.placeholders])

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
        """The step's time; from here on the batch's tokens count for scheduling."""
        decodes = [r for r in self.running if r.scheduled and r.streaming]
        prefills = [r for r in self.running if r.scheduled and not r.streaming]
        computing = [r for r in self.running if r.scheduled or not r.ending]
        taken = self.stall_s + step_time(
            np.array(self.case.coefficients),
            len(decodes),
            sum(r.scheduled for r in prefills),
            sum(r.computed for r in computing),
            len(prefills),
            len(self.active),
            self.case.policy.max_loras,
            MAX_LORA_RANK,
            len(self.waiting),
        )
        for r in self.running:
            r.streaming = r.scheduled > 0 and r.computed == r.known + r.placeholders
            r.placeholders += r.streaming
        return taken

    def deliver(self, batch, now):
        for r in batch.scheduled:
            stale = r.stale > 0
            r.stale -= stale
            if r not in batch.sampled:
                continue
            r.generated += 1
            r.placeholders -= not stale
            if r.generated == 1:
                r.first_token_s = now
            if r.generated == r.output:
                r.finish_s = now
                (self.running if r in self.running else self.waiting).remove(r)
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
        adapter_limit_counts_running=draw(st.booleans()),
        async_scheduling=draw(st.booleans()),
        scheduling_s=draw(st.sampled_from([0.0, 0.02, 0.3])),
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
