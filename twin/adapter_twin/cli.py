"""`adaptwin twin`: the twin's commands."""

import typer

from adapter_twin.calibration.cli import calibrate
from adapter_twin.profile.cli import derive, profiles
from adapter_twin.run_command import run
from adapter_twin.trace_command import trace
from adapter_twin.validation.cli import validate

app = typer.Typer(
    name="twin",
    help="Simulate, calibrate and validate the digital twin.",
    no_args_is_help=True,
    add_completion=False,
)
app.command()(run)
app.command()(trace)
app.command()(calibrate)
app.command()(validate)
app.command()(derive)
app.command()(profiles)
