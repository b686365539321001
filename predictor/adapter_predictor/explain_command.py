"""`adaptwin predictor explain` and `capacity`: what the trees say of one replica, and why."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from adapter_predictor.artifact import TARGETS, Artifact, TargetName
from adapter_predictor.drawing import described_tree, plot_tree
from adapter_predictor.errors import PredictionError
from adapter_predictor.load import ReplicaLoad
from adapter_predictor.mix_prediction import MixPredictor
from adapter_predictor.optima import Mix
from adapter_predictor.options import (
    ArtifactOption,
    OutputOption,
    ProfileOption,
    PromptOption,
    RankOption,
    RatesOption,
    parse_rates,
    predictor_of,
    require_rank,
    token_means,
)
from adapter_predictor.predictor import Predictor, TreePredictor
from adapter_twin.outputs import require_image
from adapter_twin.profile import load_profile

_UNITS: dict[TargetName, str] = {
    "served_fraction": "",
    "throughput_tokens_per_s": " tokens/s",
    "itl_s": " s",
    "ttft_s": " s",
}

_console = Console()


def explain(
    profile: ProfileOption,
    artifact: ArtifactOption = None,
    adapters: Annotated[int | None, typer.Option(min=1, help="Adapters on the replica.")] = None,
    rates: RatesOption = "0.1",
    max_loras: Annotated[int, typer.Option(min=1, help="Adapter slots.")] = 32,
    max_lora_rank: RankOption = 16,
    prompt_tokens: PromptOption = None,
    output_tokens: OutputOption = None,
    served: Annotated[float, typer.Option(min=0.0, max=1.0, help="Served fraction to ask flips for.")] = 0.95,
    target: Annotated[str, typer.Option(help=f"Which tree to print: {', '.join(TARGETS)}.")] = TARGETS[0],
    plot: Annotated[Path | None, typer.Option(help="Draw that tree here (.svg, .png, .pdf).")] = None,
) -> None:
    """Print a tree for people, and for a given load the decision in words, with what would change it."""
    name = _target(target)
    if plot is not None:
        require_image(plot, "plot")
    require_rank(max_lora_rank)
    predictor = predictor_of(load_profile(profile), artifact)
    load = None
    if adapters is not None:
        cycle, means = parse_rates(rates), token_means(predictor.profile, prompt_tokens, output_tokens)
        load = Mix(cycle, *means, max_lora_rank).load(adapters, max_loras)
    if isinstance(predictor, TreePredictor):
        _print_tree(predictor.artifact, name)
        if plot is not None:
            _draw(predictor, name, load, plot)
    elif plot is not None:
        raise PredictionError(
            f"plot: {predictor.profile.name} has no tree; `adaptwin predictor train` makes it"
        )
    if load is not None:
        _print_explanation(predictor, load, served)


def capacity(
    profile: ProfileOption,
    rates: RatesOption,
    max_lora_rank: RankOption = 16,
    prompt_tokens: PromptOption = None,
    output_tokens: OutputOption = None,
    artifact: ArtifactOption = None,
) -> None:
    """Print how many adapters like these one replica serves without starving, and with which slots."""
    require_rank(max_lora_rank)
    predictor = predictor_of(load_profile(profile), artifact)
    if not isinstance(predictor, TreePredictor):
        raise PredictionError(f"capacity: {predictor.profile.name} has no trees; `adaptwin predictor train`")
    mixes = MixPredictor(predictor)
    mix = Mix(
        parse_rates(rates), *token_means(predictor.profile, prompt_tokens, output_tokens), max_lora_rank
    )
    found = mixes.walk(mix)
    if found is None:
        _say("Not even one such adapter is served without starving, with any number of slots.")
        return
    _say(
        f"Up to {found.adapters:,} adapters with {found.max_loras} slots of rank {max_lora_rank}: "
        f"{found.throughput:,.0f} tokens/s (a walk over the trees about replicas)."
    )
    if predictor.artifact.mix is not None:
        said = mixes.predict(mix)
        _say(
            f"The tree about mixes says at once: {said.adapters:,} (at worst {said.adapters_low:,}) with "
            f"{said.max_loras} slots, {said.throughput_tokens_per_s:,.0f} tokens/s, because"
        )
        _print_clauses(said.path)
    for warning in predictor.explain(mix.load(found.adapters, found.max_loras)).warnings:
        _say(f"Warning: {warning}")


def _target(text: str) -> TargetName:
    for name in TARGETS:
        if name == text:
            return name
    raise PredictionError(f"target: {text!r} is not one of {', '.join(TARGETS)}")


def _print_tree(artifact: Artifact, name: TargetName) -> None:
    model = artifact.targets[name]
    scores, unit = model.scores, _UNITS[name]
    title = name.removesuffix("_s").removesuffix("_tokens_per").replace("_", " ").capitalize()
    _say(
        f"{title}, the tree to read: mean error {scores.simple_mean_absolute_error:.3g}{unit} on runs "
        f"that it has not seen;\nthe full tree's, of {model.tree.tree().leaf_count} leaves, is "
        f"{scores.mean_absolute_error:.3g}{unit}."
    )
    for line in described_tree(model.simple.tree.tree(), model.simple.scale):
        _say(line)


def _draw(predictor: TreePredictor, name: TargetName, load: ReplicaLoad | None, plot: Path) -> None:
    """The small tree; a load's way through it stands out."""
    simple = predictor.artifact.targets[name].simple
    tree = simple.tree.tree()
    walked = () if load is None else tree.path(predictor.features.vector(load))
    title = f"{predictor.artifact.profile}: {name.replace('_', ' ')}"
    plot_tree(tree, simple.scale, title, plot, walked=walked)
    _say(f"{plot}: the tree, drawn")


def _print_explanation(predictor: Predictor, load: ReplicaLoad, served: float) -> None:
    memory = predictor.memory(load.max_loras, load.max_lora_rank)
    if not memory.fits:
        _say(f"Does not fit: {memory.reason}.")
        return
    said = predictor.predict(load)
    told = predictor.explain(load, served)
    _say(
        f"\n{len(load.rates)} adapters at {load.rate:.3g} req/s on {load.max_loras} slots of rank "
        f"{load.max_lora_rank}, predicted by {predictor.source}:\n"
        f"  served fraction {said.served_fraction:.1%} (at worst {said.served_fraction_low:.1%}), "
        f"{said.throughput_tokens_per_s:,.0f} tokens/s (at worst {said.throughput_low_tokens_per_s:,.0f}),\n"
        f"  inter-token latency {1e3 * said.itl_s:.0f} ms (at worst {1e3 * said.itl_high_s:.0f}), "
        f"time to first token {said.ttft_s:.3g} s (at worst {said.ttft_high_s:.3g})\nbecause"
    )
    _print_clauses(told.path)
    _say(f"Nearest flip (served fraction {served:.0%}): {told.nearest_flip}.")
    for flip in told.other_flips:
        _say(f"Another: {flip}.")
    for warning in told.warnings:
        _say(f"Warning: {warning}")


def _say(text: str) -> None:
    """Print a text as it is: terminals wrap it, files do not."""
    _console.print(text, highlight=False, soft_wrap=True)


def _print_clauses(path: tuple[str, ...]) -> None:
    for clause in path:
        _say(f"  - {clause}")
