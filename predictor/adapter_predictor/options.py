"""What several commands of `adaptwin predictor` take, and what they make of it."""

from pathlib import Path
from typing import Annotated

import typer

from adapter_predictor.artifact import read_artifact
from adapter_predictor.errors import PredictionError
from adapter_predictor.predictor import Predictor, TreePredictor
from adapter_twin.memory import ALLOWED_LORA_RANKS
from adapter_twin.profile import Profile

ProfileOption = Annotated[
    str, typer.Option("--profile", "-p", help="Name of a shipped profile, or a profile's file.")
]
ArtifactOption = Annotated[
    Path | None, typer.Option("--artifact", "-a", help="The artifact; the shipped one if it is not given.")
]
RankOption = Annotated[int, typer.Option("--max-lora-rank", help="Rank to which slots are padded.")]
RatesOption = Annotated[
    str, typer.Option("--rates", help="Requests/s of the adapters, cycling: 0.4,0.05,0.00625")
]
PromptOption = Annotated[
    float | None, typer.Option("--prompt-tokens", help="Mean prompt length; the profile's if not given.")
]
OutputOption = Annotated[
    float | None, typer.Option("--output-tokens", help="Mean output length; the profile's if not given.")
]


def predictor_of(profile: Profile, artifact: Path | None) -> Predictor:
    """The predictor with an artifact's trees, or with the shipped ones."""
    if artifact is None:
        return Predictor.for_profile(profile)
    return TreePredictor(profile, read_artifact(artifact))


def parse_rates(text: str) -> tuple[float, ...]:
    """A list of rates as the command line has it."""
    try:
        rates = tuple(float(rate) for rate in text.replace(",", " ").split())
    except ValueError as error:
        raise PredictionError(f"rates: {text!r} is not a list of numbers") from error
    if not rates:
        raise PredictionError("rates: at least one rate is needed")
    return rates


def require_rank(rank: int) -> None:
    """Refuse a rank that vLLM does not take."""
    if rank not in ALLOWED_LORA_RANKS:
        allowed = ", ".join(map(str, ALLOWED_LORA_RANKS))
        raise PredictionError(f"max_lora_rank: {rank} is not one of {allowed}")


def token_means(profile: Profile, prompt: float | None, output: float | None) -> tuple[float, float]:
    """Mean prompt and output tokens: the profile's where they are not given."""
    shape = profile.workload_defaults
    given = (("prompt_tokens", prompt, shape.prompt), ("output_tokens", output, shape.output))
    for name, mean, lengths in given:
        if mean is not None and not lengths.minimum <= mean <= lengths.maximum:
            raise PredictionError(
                f"{name}: a mean of {mean:g} is not between {lengths.minimum} and {lengths.maximum} tokens"
            )
    return shape.prompt.mean if prompt is None else prompt, shape.output.mean if output is None else output
