"""The command `adaptwin`: its own command `plan`, and the commands of the packages."""

from collections.abc import Mapping
from typing import Annotated, ClassVar

import typer

from adapter_operator.command_group import DeferredApp, DeferringGroup
from adapter_twin.version import __version__


class AdaptwinGroup(DeferringGroup):
    """The sub-commands live in the package that they drive."""

    deferred: ClassVar[Mapping[str, DeferredApp]] = {
        "twin": DeferredApp("adapter_twin.cli", "Simulate, calibrate and validate the digital twin."),
        "predictor": DeferredApp("adapter_predictor.cli", "Train, evaluate and explain the predictor."),
        "operator": DeferredApp("adapter_operator.kubernetes.cli", "Run the Kubernetes operator."),
    }


app = typer.Typer(
    name="adaptwin",
    cls=AdaptwinGroup,
    help="Plan, verify and operate the serving of hundreds of LoRA adapters on vLLM.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"adaptwin {__version__}")
        raise typer.Exit


@app.callback()
def adaptwin(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plan, verify and operate the serving of hundreds of LoRA adapters on vLLM."""


def main() -> None:
    """Entry point of the console script."""
    app()
