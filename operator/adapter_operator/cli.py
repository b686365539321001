"""The command `adaptwin`: its own command `plan`, and the commands of the packages."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from adapter_operator.command_group import DeferredApp, DeferringGroup
from adapter_twin.version import __version__


class AdaptwinGroup(DeferringGroup):
    """The sub-commands live in the package that they drive."""

    deferred: ClassVar[Mapping[str, DeferredApp]] = {
        "twin": DeferredApp("adapter_twin.cli", "Simulate, calibrate and validate the digital twin."),
        "predictor": DeferredApp("adapter_predictor.cli", "Train, evaluate and explain the predictor."),
        "compare": DeferredApp(
            "adapter_predictor.compare.cli", "Compare the placement with baselines, judged by the twin."
        ),
        "operator": DeferredApp("adapter_operator.kubernetes.cli", "Run the Kubernetes operator."),
        "agent": DeferredApp("adapter_operator.agent.cli", "Keep the adapters of the engine beside it."),
        "gateway": DeferredApp(
            "adapter_operator.gateway.cli", "Tell Envoy which replicas hold which adapters.", extra="gateway"
        ),
        "local": DeferredApp(
            "adapter_operator.local.cli", "Run the whole system on this machine, without a GPU."
        ),
        "load": DeferredApp(
            "adapter_operator.load.cli", "Send open-loop traffic and measure what comes back."
        ),
        "emulate": DeferredApp(
            "adapter_twin.emulator.cli", "Serve vLLM's HTTP API without a GPU, timed by the digital twin."
        ),
    }


class OutputFormat(StrEnum):
    """How a decision is printed."""

    TEXT = "text"
    YAML = "yaml"
    JSON = "json"


class AnswerFormat(StrEnum):
    """How the answer to a what-if is printed."""

    TEXT = "text"
    JSON = "json"


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


@app.command()
def plan(
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The AdapterDeployment, as YAML or JSON.", metavar="FILE")
    ],
    output: Annotated[
        OutputFormat, typer.Option("--output", "-o", help="For people, or for machines.")
    ] = OutputFormat.TEXT,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page with plots here.", metavar="HTML")
    ] = None,
    present: Annotated[
        Path | None,
        typer.Option(help="The plan that runs now, as `-o yaml` or `-o json` wrote it; fewer adapters move."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Use this profile (a name or a file) instead of the one the spec names."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Simulate this often, instead of the spec's verification.seeds.")
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(help="Simulate this long, such as 30m, instead of verification.horizon.")
    ] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Name every adapter of every replica.")] = False,
) -> None:
    """Find the fewest GPUs that serve the adapters within their objectives, verified by the digital twin.

    Needs no cluster and changes nothing.

    Exit code 0: verified; 1: rejected, and the best effort is shown all the same; 2: bad input.
    """
    from adapter_operator.plan_command import PlanOptions, run  # noqa: PLC0415 - keeps --help quick

    options = PlanOptions(file, output.value, report, present, profile, seeds, horizon, wide)
    raise typer.Exit(run(options))


@app.command(name="what-if")
def what_if(
    file: Annotated[
        Path, typer.Option("--file", "-f", help="The AdapterDeployment, as YAML or JSON.", metavar="FILE")
    ],
    add: Annotated[int, typer.Option(min=0, max=100_000, help="So many adapters come.")] = 0,
    rate: Annotated[str, typer.Option(help="Requests/s of each that comes: 0.1, 400m.")] = "0",
    rank: Annotated[int | None, typer.Option(help="Their rank; the commonest there is by default.")] = None,
    copies: Annotated[int, typer.Option(min=1, help="Replicas that must hold each of them.")] = 1,
    remove: Annotated[
        list[str] | None,
        typer.Option(help="An adapter that goes, or a pattern such as 'tenant-*'; may be given often."),
    ] = None,
    scale_rates: Annotated[
        float, typer.Option(help="Multiply the rates of all that stay, such as by 1.5.")
    ] = 1.0,
    present: Annotated[
        Path | None,
        typer.Option(help="The plan that runs now, as `adaptwin plan -o yaml` wrote it; placed anew if not."),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="Use this profile (a name or a file) instead of the one the spec names."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Have the twin verify the plan after the change, which takes longer."),
    ] = False,
    output: Annotated[
        AnswerFormat, typer.Option("--output", "-o", help="For people, or for machines.")
    ] = AnswerFormat.TEXT,
) -> None:
    """Say whether other adapters or other rates would still fit, and what they would cost.

    Needs no cluster and changes nothing.

    Exit code 0: fits on the GPUs there are; 3: fits, but takes more GPUs; 1: does not fit within the limits,
    or the twin rejects it; 2: bad input.
    """
    from adapter_operator.what_if_command import options_from, run  # noqa: PLC0415 - keeps --help quick

    raise typer.Exit(
        run(
            options_from(
                file=file,
                present=present,
                profile=profile,
                output=output.value,
                remove=tuple(remove or ()),
                scale_rates=scale_rates,
                add=add,
                rate=rate,
                rank=rank,
                copies=copies,
                verify=verify,
            )
        )
    )


def main() -> None:
    """Entry point of the console script."""
    app()
