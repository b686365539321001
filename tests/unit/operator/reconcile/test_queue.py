"""The queue's promises: no key twice at once, none lost, failures come back later and later."""

import asyncio
import random

import pytest

from adapter_operator.reconcile.queue import Backoff, WorkQueue


@pytest.fixture
def run():
    return asyncio.run


def test_a_key_that_waits_is_queued_once(run):
    async def scenario():
        queue = WorkQueue()
        queue.add("a")
        queue.add("a")
        queue.add("b")
        return len(queue), await queue.take(), await queue.take()

    assert run(scenario()) == (2, "a", "b")


def test_a_key_that_is_added_while_it_is_worked_on_is_worked_on_once_more(run):
    async def scenario():
        queue = WorkQueue()
        queue.add("a")
        key = await queue.take()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 0, "nobody else may work on it meanwhile"
        queue.done(key)
        again = await queue.take()
        queue.done(again)
        return again, len(queue)

    assert run(scenario()) == ("a", 0)


def test_take_waits_for_a_key(run):
    async def scenario():
        queue = WorkQueue()
        taking = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        assert not taking.done()
        queue.add("a")
        return await asyncio.wait_for(taking, 1)

    assert run(scenario()) == "a"


def test_the_sooner_of_two_delays_counts_and_an_immediate_wish_replaces_both(run):
    async def scenario():
        queue = WorkQueue()
        queue.add_after("a", 0.01)
        queue.add_after("a", 60.0)
        await asyncio.wait_for(queue.take(), 1)
        queue.done("a")
        queue.add_after("a", 60.0)
        queue.add("a")
        await asyncio.wait_for(queue.take(), 1)
        queue.done("a")
        return len(queue), queue._state.timers

    assert run(scenario()) == (0, {})


def test_failures_come_back_later_and_later_until_the_key_succeeds(run):
    async def scenario():
        queue = WorkQueue(Backoff(initial_s=100.0, maximum_s=350.0, jitter=0.0))
        delays = [queue.failed("a") for _ in range(4)]
        queue.succeeded("a")
        delays.append(queue.failed("a"))
        queue.add("a")
        return delays

    assert run(scenario()) == [100.0, 200.0, 350.0, 350.0, 100.0]


def test_jitter_only_shortens_delays_and_huge_counts_do_not_overflow():
    backoff, rng = Backoff(initial_s=1.0, maximum_s=60.0, jitter=0.3), random.Random(1)
    delays = [backoff.delay_s(10_000, rng) for _ in range(100)]
    assert 60.0 * 0.7 <= min(delays) < max(delays) <= 60.0


def test_many_workers_never_share_a_key_and_lose_none(run):
    async def scenario():
        queue, rng = WorkQueue(), random.Random(7)
        working, seen = set(), dict.fromkeys(range(10), 0)

        async def worker():
            while True:
                key = await queue.take()
                assert key not in working
                working.add(key)
                await asyncio.sleep(rng.random() * 0.002)
                working.discard(key)
                seen[key] += 1
                queue.done(key)

        async with asyncio.timeout(30):
            workers = [asyncio.create_task(worker()) for _ in range(4)]
            for _ in range(300):
                queue.add(rng.randrange(10))
                await asyncio.sleep(rng.random() * 0.001)
            while len(queue) or working:  # noqa: ASYNC110 - the queue is what is tested
                await asyncio.sleep(0.001)
        for task in workers:
            task.cancel()
        return seen

    assert all(count > 0 for count in run(scenario()).values())
