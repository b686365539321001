"""Decisions for a planning process to make; a module of its own, for the process must import it by name."""

import os
import signal
import time

from adapter_operator.planning import reject


def decide_as_named(request):
    """Does what the request's name says."""
    if request.name == "sleep":
        time.sleep(60.0)
    if request.name == "think":
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
    if request.name == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return reject(request, "Starvation", request.name)
