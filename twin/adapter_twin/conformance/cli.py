"""`adaptwin twin conform`: replay recordings of vLLM's scheduler and compare."""

from pathlib import Path
from typing import Annotated

import typer


def conform(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Recordings of vLLM's scheduler: JSON, gzipped or not.",
            metavar="FILE...",
            show_default=False,
        ),
    ],
) -> None:
    """Replay recordings of vLLM's scheduler with the twin's engine, and say whether it takes the same steps.

    Prints a line for each file: NAME: same, or NAME: different at step N, with what differs first. Exits with
    1 if any differs, and with 2 if any cannot be read.
    """
    from rich.console import Console  # noqa: PLC0415 - all that is slow to import is left out of --help

    from adapter_twin.conformance.comparison import difference  # noqa: PLC0415
    from adapter_twin.conformance.recording import read_recording  # noqa: PLC0415
    from adapter_twin.errors import ConformanceError  # noqa: PLC0415

    code = 0
    for file in files:
        try:
            found = difference(read_recording(file))
        except ConformanceError as error:
            Console(stderr=True, soft_wrap=True, highlight=False, markup=False).print(f"error: {error}")
            code = 2
            continue
        typer.echo(f"{file.name}: {found or 'same'}")
        code = max(code, int(found is not None))
    raise typer.Exit(code)
