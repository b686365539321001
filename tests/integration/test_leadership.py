"""Leadership on a real API server: one leader at a time, quick succession, and a fence before writes."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from adapter_operator.kubernetes.client import KubernetesClient, connect
from adapter_operator.kubernetes.errors import LeadershipLostError
from adapter_operator.kubernetes.leader import LEASES, LeaderElector
from adapter_operator.settings import LeaderSettings


class HandClock:
    """Seconds that pass when a test says so."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def settings(namespace):
    return LeaderSettings(namespace=namespace, retry_s=0.05)


@pytest.fixture
def client(cluster):
    @asynccontextmanager
    async def client():
        async with connect(cluster.kubeconfig) as api_client:
            yield KubernetesClient(api_client, field_manager="test")

    return client


def test_the_second_waits_until_the_first_gives_up(client, settings):
    async def scenario():
        async with client() as api:
            first = LeaderElector(api, settings, "first")
            second = LeaderElector(api, settings, "second")
            await first.acquire()
            waiting = asyncio.create_task(second.acquire())
            await asyncio.sleep(0.3)
            assert not waiting.done()
            await first.release()
            await asyncio.wait_for(waiting, 5)
            assert (first.leads, second.leads) == (False, True)
            return await api.get(LEASES, settings.namespace, settings.name)

    lease = asyncio.run(scenario())
    assert lease["spec"]["holderIdentity"] == "second"
    assert lease["spec"]["leaseTransitions"] == 1


def test_of_many_candidates_exactly_one_leads(client, settings):
    async def scenario():
        async with client() as api:
            electors = [LeaderElector(api, settings, f"candidate-{n}") for n in range(5)]
            tasks = [asyncio.create_task(elector.acquire()) for elector in electors]
            await asyncio.sleep(1.0)
            for task in tasks:
                task.cancel()
            return [elector.leads for elector in electors].count(True)

    assert asyncio.run(scenario()) == 1


def test_a_leader_that_was_frozen_writes_nothing_and_is_succeeded(client, settings):
    """Its own clock tells it, before anybody else may have taken over."""

    async def scenario():
        first_clock, second_clock = HandClock(), HandClock()
        async with client() as api:
            first = LeaderElector(api, settings, "first", first_clock)
            second = LeaderElector(api, settings, "second", second_clock)
            await first.acquire()
            assert not await second._try()
            second_clock.seconds += settings.renew_deadline_s + 1.0
            assert not await second._try(), "the lease has not run out"
            first_clock.seconds += settings.renew_deadline_s + 1.0
            with pytest.raises(LeadershipLostError):
                first.fence()
            second_clock.seconds += settings.lease_s
            assert await second._try()
            with pytest.raises(LeadershipLostError):
                await asyncio.wait_for(first.hold(), 5)

    asyncio.run(scenario())


def test_a_fenced_client_writes_nothing(cluster, namespace, settings):
    async def scenario():
        async with connect(cluster.kubeconfig) as api_client:
            elector = LeaderElector(KubernetesClient(api_client, field_manager="test"), settings, "nobody")
            fenced = KubernetesClient(api_client, field_manager="test", fence=elector.fence)
            body = {"metadata": {"name": "x"}, "spec": {}}
            with pytest.raises(LeadershipLostError):
                await fenced.create(LEASES, namespace, body)
            with pytest.raises(LeadershipLostError):
                await fenced.apply(LEASES, namespace, body)
            with pytest.raises(LeadershipLostError):
                await fenced.delete(LEASES, namespace, "x", uid="x")
            return await fenced.get(LEASES, namespace, "x")

    assert asyncio.run(scenario()) is None


def test_a_leader_renews(client, settings):
    async def scenario():
        async with client() as api:
            elector = LeaderElector(api, settings, "first")
            await elector.acquire()
            before = await api.get(LEASES, settings.namespace, settings.name)
            holding = asyncio.create_task(elector.hold())
            await asyncio.sleep(0.3)
            assert not holding.done()
            holding.cancel()
            after = await api.get(LEASES, settings.namespace, settings.name)
            return before["spec"], after["spec"]

    before, after = asyncio.run(scenario())
    assert after["renewTime"] > before["renewTime"]
    assert after["acquireTime"] == before["acquireTime"]
