"""`adaptwin predictor dataset`, `merge`, `job` and `train`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adapter_predictor.artifact import Artifact
from adapter_predictor.errors import DatasetError
from adapter_predictor.options import ProfileOption
from adapter_predictor.physics import HORIZON_S
from adapter_predictor.training import shards
from adapter_predictor.training.backends import Workers
from adapter_predictor.training.dataset import Dataset, generate, holds_runs, read_dataset
from adapter_predictor.training.job import DatasetJob
from adapter_predictor.training.progress import counted, stepped
from adapter_predictor.training.sampling import edge_share
from adapter_predictor.training.shards import Shard
from adapter_predictor.training.tables import depth_table, histogram_table, score_table
from adapter_twin.outputs import require_writable, write_text
from adapter_twin.profile import Profile, load_profile
from adapter_twin.version import __version__

SAMPLES = 10_000
"""Runs of the twin that trees are trained on unless told otherwise."""

SamplesOption = Annotated[int, typer.Option(min=1, help="Runs of the twin in the whole dataset.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of loads and arrivals.")]
HorizonOption = Annotated[float, typer.Option(min=1.0, help="Simulated seconds of each run.")]
JobsOption = Annotated[int, typer.Option(help="Runs at once; -1 for all cores.")]
BackendOption = Annotated[
    str | None, typer.Option(help="joblib's backend: loky, threading, dask, ray, … (registered ones).")
]
SchedulerOption = Annotated[
    str | None,
    typer.Option(
        help="Address of a cluster: tcp://scheduler:8786 with --backend dask, ray://head:10001 with ray."
    ),
]

_console = Console()


def dataset(
    profile: ProfileOption,
    folder: Annotated[Path, typer.Option("--out", help="Folder of the dataset; one that was begun goes on.")],
    samples: SamplesOption = SAMPLES,
    seed: SeedOption = 0,
    horizon: HorizonOption = HORIZON_S,
    jobs: JobsOption = 1,
    backend: BackendOption = None,
    scheduler: SchedulerOption = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Make only part I/N, from 0/N on; /N takes I from a pod's JOB_COMPLETION_INDEX."),
    ] = None,
) -> None:
    """Run the twin on sampled loads; a run that was killed goes on where it stopped."""
    workers, part = Workers(jobs, backend, scheduler), Shard.parse(shard)
    indices = part.indices(samples)
    _generate(load_profile(profile), folder, indices, seed, horizon, workers)
    made = read_dataset(folder) if indices else None
    if made is not None:
        share = edge_share(made.target("served_fraction"))
        _console.print(f"{folder}: {len(made.samples):,} runs, {share:.0%} of them at the edge of starvation")
        _console.print(histogram_table(made))


def merge(
    folders: Annotated[list[Path], typer.Argument(help="Folders of the shards.", metavar="SHARD…")],
    out: Annotated[Path, typer.Option(help="Folder of the whole.")],
    samples: Annotated[
        int | None,
        typer.Option(min=1, help="Runs that it must hold; up to the highest there is if not given."),
    ] = None,
) -> None:
    """Put shards together: byte for byte what one machine would have made."""
    whole = shards.merge(folders, out, samples=samples)
    _console.print(f"{out}: {len(whole.samples):,} runs")


def job(
    profile: ProfileOption,
    samples: SamplesOption = 100_000,
    seed: SeedOption = 0,
    horizon: HorizonOption = HORIZON_S,
    parts: Annotated[int, typer.Option("--shards", min=1, help="Pods that each make their part.")] = 64,
    parallelism: Annotated[int, typer.Option(min=1, help="Pods at once.")] = 16,
    name: Annotated[str, typer.Option(help="Of every object.")] = "adaptwin-dataset",
    image: Annotated[str, typer.Option(help="The operator's image, where your cluster finds it.")] = (
        f"adaptwin:{__version__}"
    ),
    storage_class: Annotated[
        str | None, typer.Option(help="Of a ReadWriteMany volume; the cluster's default if not given.")
    ] = None,
    merging: Annotated[
        bool, typer.Option("--merge", help="Print the Job that puts finished shards together.")
    ] = False,
) -> None:
    """Print a Kubernetes Indexed Job that makes a large dataset in shards."""
    manifest = DatasetJob(
        profile=load_profile(profile),
        samples=samples,
        seed=seed,
        horizon_s=horizon,
        shards=parts,
        parallelism=min(parallelism, parts),
        name=name,
        image=image,
        storage_class=storage_class,
    )
    typer.echo(manifest.merge_yaml() if merging else manifest.to_yaml(), nl=False)


def train(
    profiles: Annotated[
        list[str],
        typer.Option(
            "--profile",
            "-p",
            help="Name or file of a profile; several, each with its --dataset, for general trees.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="File of the artifact.")],
    folders: Annotated[
        list[Path] | None,
        typer.Option("--dataset", help="Folder of the dataset; the artifact's name with .runs if not given."),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(min=1, help=f"Make the dataset this large first; {SAMPLES:,} where there is none yet."),
    ] = None,
    seed: SeedOption = 0,
    jobs: JobsOption = -1,
    backend: BackendOption = None,
    scheduler: SchedulerOption = None,
) -> None:
    """Fit the trees of a profile and write them as an artifact, making what the dataset lacks first."""
    require_writable(out, "out")
    workers = Workers(jobs, backend, scheduler)
    folders = folders or [out.with_suffix(".runs")]
    if len(folders) != len(profiles):
        raise DatasetError(f"dataset: {len(profiles)} profiles need as many folders, not {len(folders)}")
    pairs = [
        (_completed(loaded, folder, samples, seed, workers), loaded)
        for loaded, folder in zip(map(load_profile, profiles), folders, strict=True)
    ]
    artifact = _fitted(pairs)
    write_text(out, artifact.to_json())
    _console.print(score_table(artifact))
    _console.print(depth_table(artifact))
    _console.print(f"{out}: {out.stat().st_size:,} bytes")


def _completed(profile: Profile, folder: Path, samples: int | None, seed: int, workers: Workers) -> Dataset:
    """A folder's dataset, made or made larger where that is asked for."""
    if samples is not None or not holds_runs(folder):
        _generate(profile, folder, range(samples or SAMPLES), seed, HORIZON_S, workers)
    return read_dataset(folder)


def _fitted(pairs: list[tuple[Dataset, Profile]]) -> Artifact:
    try:
        from adapter_predictor.training import fit, mixes  # noqa: PLC0415 - scikit-learn is an extra
    except ImportError as error:
        raise DatasetError("training: scikit-learn is missing; install adaptwin[train]") from error
    if len(pairs) > 1:
        with stepped("fitting trees", fit.STEPS) as step:
            return fit.train_general(pairs, step)
    read, profile = pairs[0]
    with stepped("fitting trees", fit.STEPS) as step:
        artifact = fit.train(read, profile, step)
    with stepped("distilling trees about mixes", mixes.STEPS) as step:
        return mixes.with_mix_trees(artifact, profile, read.manifest.seed, step)


def _generate(
    profile: Profile, folder: Path, indices: range, seed: int, horizon_s: float, workers: Workers
) -> None:
    runs = generate(profile, folder, indices=indices, seed=seed, horizon_s=horizon_s, workers=workers)
    with counted("runs of the twin", len(indices)) as tell:
        for done in runs:
            tell(done)
