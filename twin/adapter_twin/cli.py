"""`adaptwin twin`: the twin's commands, each imported when it is called."""

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup


class TwinGroup(TyperGroup):
    """Finds commands by the modules that hold them, so that calling one does not import the others."""

    modules: ClassVar[Mapping[str, str]] = {
        "run": "adapter_twin.run_command",
        "transition": "adapter_twin.transition_command",
        "trace": "adapter_twin.trace_command",
        "calibrate": "adapter_twin.calibration.cli",
        "validate": "adapter_twin.validation.cli",
        "conform": "adapter_twin.conformance.cli",
        "derive": "adapter_twin.profile.cli",
        "profiles": "adapter_twin.profile.cli",
    }

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the parent's signature
        """Names in order."""
        return list(self.modules)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """The command that its module has under that name, or None."""
        if cmd_name not in self.modules:
            return None
        single = typer.Typer(add_completion=False)
        single.command(cmd_name)(getattr(importlib.import_module(self.modules[cmd_name]), cmd_name))
        return typer.main.get_command(single)


app = typer.Typer(
    name="twin",
    cls=TwinGroup,
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def twin() -> None:
    """Simulate, calibrate and validate the digital twin."""
