"""A model's geometry from its Hugging Face `config.json`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from adapter_twin.errors import ProfileError
from adapter_twin.profile.model import ModelGeometry

LORA_ON_EMBEDDINGS = {
    "LlamaForCausalLM": True,
    "MistralForCausalLM": True,
    "Qwen2ForCausalLM": False,
    "Qwen3ForCausalLM": False,
}
"""Dense decoders whose layers are those of the memory model, and whether vLLM wraps their embeddings."""

_BIASED_QKV = ("Qwen2ForCausalLM",)


class _Config(BaseModel):
    """The fields that are read; others are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    architectures: tuple[str, ...]
    num_hidden_layers: PositiveInt
    hidden_size: PositiveInt
    num_attention_heads: PositiveInt
    num_key_value_heads: PositiveInt | None = None
    head_dim: PositiveInt | None = None
    intermediate_size: PositiveInt
    vocab_size: PositiveInt
    max_position_embeddings: PositiveInt
    tie_word_embeddings: bool = False


def read_geometry(path: Path, name: str) -> ModelGeometry:
    """The geometry that a `config.json` describes; `name` becomes the model's.

    Raises:
        ProfileError: the file cannot be read, lacks a field, or is of another architecture.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ProfileError(f"model config: cannot read {path}: {error}") from error
    return geometry_of(content, name)


def geometry_of(content: Mapping[str, Any], name: str) -> ModelGeometry:
    """The geometry that the content of a `config.json` describes."""
    try:
        config = _Config.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise ProfileError(f"model config: {field or 'content'}: {first['msg']}") from error
    architecture = config.architectures[0] if config.architectures else ""
    if architecture not in LORA_ON_EMBEDDINGS:
        known = ", ".join(LORA_ON_EMBEDDINGS)
        raise ProfileError(f"model config: architectures: {architecture!r} is not one of {known}")
    head = config.head_dim or config.hidden_size // config.num_attention_heads
    query = head * config.num_attention_heads
    kv = head * (config.num_key_value_heads or config.num_attention_heads)
    return ModelGeometry(
        name=name,
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        query_size=query,
        kv_size=kv,
        intermediate_size=config.intermediate_size,
        vocabulary_size=config.vocab_size,
        parameters=_parameters(config, query, kv, biased=architecture in _BIASED_QKV),
        max_model_len=config.max_position_embeddings,
        lora_on_embeddings=LORA_ON_EMBEDDINGS[architecture],
    )


def _parameters(config: _Config, query: int, kv: int, *, biased: bool) -> int:
    hidden = config.hidden_size
    attention = 2 * hidden * query + 2 * hidden * kv + (query + 2 * kv if biased else 0)
    layer = attention + 3 * hidden * config.intermediate_size + 2 * hidden
    embeddings = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
    return config.num_hidden_layers * layer + embeddings + hidden
