"""Workers that take keys from the queue and have them reconciled, and the resync that asks for all."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable

from adapter_operator.metrics import Metrics
from adapter_operator.reconcile.errors import ReconcileError
from adapter_operator.reconcile.queue import WorkQueue
from adapter_operator.reconcile.values import ObjectKey

logger = logging.getLogger(__name__)

Reconcile = Callable[[ObjectKey], Awaitable[float | None]]


async def run_workers(
    queue: WorkQueue[ObjectKey], reconcile: Reconcile, count: int, metrics: Metrics
) -> None:
    """Reconcile what the queue holds, several objects at a time, until cancelled."""
    async with asyncio.TaskGroup() as group:
        for _ in range(count):
            group.create_task(_work(queue, reconcile, metrics))


async def resync(queue: WorkQueue[ObjectKey], known: Iterable[ObjectKey], period_s: float) -> None:
    """Ask for work on every known object once per period, spread over the period, until cancelled."""
    while True:
        await asyncio.sleep(period_s)
        for key in known:
            queue.add_after(key, random.uniform(0.0, period_s / 2.0))  # noqa: S311 - no secrecy needed


async def _work(queue: WorkQueue[ObjectKey], reconcile: Reconcile, metrics: Metrics) -> None:
    while True:
        key = await queue.take()
        metrics.queue_length.set(len(queue))
        try:
            await _reconcile_one(queue, reconcile, key, metrics)
        finally:
            queue.done(key)


async def _reconcile_one(
    queue: WorkQueue[ObjectKey], reconcile: Reconcile, key: ObjectKey, metrics: Metrics
) -> None:
    """Reconcile one object; whatever goes wrong with it must not stop the others."""
    with metrics.reconcile_seconds.time():
        try:
            again_s = await reconcile(key)
        except ReconcileError as error:
            delay_s = queue.failed(key)
            logger.warning("%s: %s; trying again in %.1f s", key, error, delay_s)
            metrics.reconciles.labels("error").inc()
            return
        except Exception:
            delay_s = queue.failed(key)
            logger.exception("%s: unexpected; trying again in %.1f s", key, delay_s)
            metrics.reconciles.labels("unexpected").inc()
            return
    queue.succeeded(key)
    metrics.reconciles.labels("success").inc()
    if again_s is not None:
        queue.add_after(key, again_s)
