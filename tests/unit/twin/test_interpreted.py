"""The engine's functions mean the same to Python as to the compiler, so that they can be debugged."""

import json
import os
import subprocess
import sys
from pathlib import Path

RECORDING = Path(__file__).parents[2] / "data" / "conformance" / "c5_all_reserve_tiny.json.gz"

PROGRAM = """
import json, sys
from pathlib import Path
from adapter_twin.conformance.recording import read_recording
from adapter_twin.conformance.replay import replay
print(json.dumps(list(replay(read_recording(Path(sys.argv[1]))))))
"""


def replayed(**environment):
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(RECORDING)]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_interpreted_steps_are_the_compiled_ones():
    assert replayed(NUMBA_DISABLE_JIT="1") == replayed()
