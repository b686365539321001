"""Planning beside the event loop: it never stalls, and a process that hangs or dies is replaced."""

import asyncio
import importlib
import time
from pathlib import Path

import pytest

from adapter_operator.planning import PlanningRequest, VerificationSettings
from adapter_operator.reconcile.errors import PlannerError
from adapter_operator.reconcile.planner import InlinePlanner
from adapter_predictor.placement import AdapterDemand
from adapter_twin.profile import load_profile

pytestmark = pytest.mark.slow


@pytest.fixture
def make_request():
    profile = load_profile("llama-3.1-8b-instruct-h100-64gb")

    def make(name, timeout_s=60.0):
        return PlanningRequest(
            name=name,
            profile=profile,
            adapters=(AdapterDemand("a", 0.1, 8),),
            verification=VerificationSettings(timeout_s=timeout_s),
        )

    return make


@pytest.fixture
def with_planner(monkeypatch):
    """Runs a scenario with a planner whose process does what requests are named."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    decide = importlib.import_module("scripted_decisions").decide_as_named

    def run(scenario, **options):
        async def planned():
            planner = InlinePlanner(decide=decide, **options)
            try:
                await planner.start()
                return await scenario(planner)
            finally:
                planner.close()

        return asyncio.run(planned())

    return run


def test_the_loop_goes_on_while_a_process_thinks(with_planner, make_request):
    async def scenario(planner):
        thinking = asyncio.create_task(planner.decide(make_request("think")))
        longest, last = 0.0, time.monotonic()
        while not thinking.done():
            await asyncio.sleep(0.005)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        return longest, (await thinking).verdict.message

    longest, message = with_planner(scenario)
    assert message == "think"
    assert longest < 0.75, "the loop would have stood still for a second"


def test_a_process_that_hangs_is_killed_and_replaced(with_planner, make_request):
    async def scenario(planner):
        hung = await planner.decide(make_request("sleep", timeout_s=0.5))
        return hung.verdict.reason, (await planner.decide(make_request("next"))).verdict.message

    assert with_planner(scenario, grace_s=0.5) == ("Timeout", "next")


def test_a_process_that_dies_is_replaced(with_planner, make_request):
    async def scenario(planner):
        with pytest.raises(PlannerError):
            await planner.decide(make_request("die"))
        return (await planner.decide(make_request("next"))).verdict.message

    assert with_planner(scenario) == "next"


def test_a_request_that_is_no_longer_wanted_does_not_delay_the_next(with_planner, make_request):
    async def scenario(planner):
        unwanted = asyncio.create_task(planner.decide(make_request("sleep")))
        await asyncio.sleep(0.2)
        unwanted.cancel()
        async with asyncio.timeout(30.0):
            return (await planner.decide(make_request("next"))).verdict.message

    assert with_planner(scenario) == "next"
