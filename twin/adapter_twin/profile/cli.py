"""`adaptwin twin profiles` and `adaptwin twin derive`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from adapter_twin.errors import ProfileError
from adapter_twin.outputs import require_writable, write_text
from adapter_twin.profile.derivation import derive_profile
from adapter_twin.profile.geometry import read_geometry
from adapter_twin.profile.hardware import known_gpus, load_gpu
from adapter_twin.profile.store import (
    available_profiles,
    available_slora_profiles,
    load_any_profile,
    load_profile,
    profile_json,
)


def profiles() -> None:
    """List the shipped profiles, and the GPUs that profiles can be derived for."""
    table = Table("profile", "engine", "origin", "SMAPE of throughput, ITL, TTFT")
    for profile in map(load_any_profile, [*available_profiles(), *available_slora_profiles()]):
        fit = profile.fit
        errors = f"{fit.throughput_smape:.2f}, {fit.itl_smape:.2f}, {fit.ttft_smape:.2f}" if fit else "–"
        table.add_row(profile.name, f"{profile.engine.kind} {profile.engine.version}", profile.origin, errors)
    console = Console()
    console.print(table)
    console.print("GPUs: " + ", ".join(known_gpus()))


def derive(
    source: Annotated[str, typer.Argument(help="Calibrated profile to scale: a name or a JSON file.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the derived profile.")],
    gpu: Annotated[str | None, typer.Option(help="GPU by name; `adaptwin twin profiles` lists them.")] = None,
    model_config: Annotated[
        Path | None, typer.Option(help="The model's config.json, as on Hugging Face.")
    ] = None,
    model_name: Annotated[str | None, typer.Option(help="Name of that model.")] = None,
    tensor_parallel_size: Annotated[int, typer.Option(min=1, help="GPUs per replica.")] = 1,
) -> None:
    """Derive a profile for another model or GPU by roofline scaling of a calibrated one.

    It is marked as derived, and plans made with it keep a safety margin; docs/profiles.md has the method and
    its error. Calibrate on your own measurements to be rid of both.
    """
    if (model_config is None) != (model_name is None):
        raise ProfileError(
            "--model-config and --model-name go together: name the model that the file describes"
        )
    if gpu is None and model_config is None and tensor_parallel_size == 1:
        raise ProfileError("derive: say what differs, by --gpu, --model-config or --tensor-parallel-size")
    require_writable(output, "output")
    model = read_geometry(model_config, model_name) if model_config and model_name else None
    derived = derive_profile(
        load_profile(source),
        model=model,
        gpu=load_gpu(gpu) if gpu else None,
        tensor_parallel_size=tensor_parallel_size,
    )
    write_text(output, profile_json(derived))
    typer.echo(f"{output}: {derived.name}, safety margin {derived.safety_margin_percent}%", err=True)
