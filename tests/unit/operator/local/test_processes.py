"""Child processes: kept running, ended with all that they started, and never left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from adapter_operator.local.processes import Child, Program


async def until(holds, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"


def test_a_process_that_ends_is_started_again_until_it_is_stopped(tmp_path):
    async def scenario():
        child = Child(Program("sleeper", ("sleep", "1000")), tmp_path)
        child.start()
        await until(lambda: child.pid)
        first = child.pid
        child.kill()
        await until(lambda: child.pid not in {None, first})
        second = child.pid
        await child.stop()
        assert child.starts == 2
        assert not alive(second)

    asyncio.run(scenario())


def test_what_a_process_started_ends_with_it(tmp_path):
    async def scenario():
        child = Child(Program("family", ("sh", "-c", "sleep 1000 & echo $!; wait")), tmp_path)
        child.start()
        await until(lambda: child.last_words().strip())
        grandchild = int(child.last_words())
        await child.stop()
        await until(lambda: not alive(grandchild))

    asyncio.run(scenario())


def test_children_die_with_a_parent_that_is_killed(tmp_path):
    code = f"""
    import asyncio, sys
    from pathlib import Path
    from adapter_operator.local.processes import Child, Program

    async def main():
        child = Child(Program("sleeper", ("sleep", "1000")), Path({str(tmp_path)!r}))
        child.start()
        while child.pid is None:
            await asyncio.sleep(0.01)
        print(child.pid, flush=True)
        await asyncio.sleep(1000)

    asyncio.run(main())
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        asyncio.run(until(lambda: not alive(pid)))
