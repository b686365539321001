"""The command line: vLLM's own flags, and the emulator's beside them.

A flag of vLLM that means nothing here is accepted and ignored, so that a pod's arguments need no change.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from adapter_twin.emulator.errors import EmulatorConfigError
from adapter_twin.memory import ALLOWED_LORA_RANKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

DEFAULT_VERSION: Final = "0.32.0"
_WORDS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


@dataclass(frozen=True)
class LoraModule:
    """An adapter that is loaded at the start."""

    name: str
    path: str


@dataclass(frozen=True)
class Settings:
    """What the command line and the environment say. Times are in seconds; None: the profile's."""

    model: str
    profile: str | None = None
    speed_up: float = 1.0
    seed: int = 0
    startup_delay_s: float | None = None
    faults: tuple[str, ...] = ()
    admin_port: int | None = None
    version: str = DEFAULT_VERSION
    scrape_interval_s: float | None = None
    host: str = "0.0.0.0"  # noqa: S104 - as vLLM does
    port: int = 8000
    api_keys: tuple[str, ...] = ()
    served_model_names: tuple[str, ...] = ()
    enable_lora: bool = False
    max_loras: int = 1
    max_cpu_loras: int | None = None
    max_lora_rank: int = 16
    lora_modules: tuple[LoraModule, ...] = ()
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    gpu_memory_utilization: float | None = None
    tensor_parallel_size: int = 1
    shutdown_timeout_s: float = 0.0
    keep_alive_s: float = 5.0
    runtime_lora_updating: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the base model; answers carry the first."""
        return self.served_model_names or (self.model,)


@dataclass(frozen=True)
class Flag:
    """One flag: where its value goes, how it is read, and what it is for."""

    name: str
    field: str
    read: Callable[[str, Sequence[str]], Any]
    help: str
    value: str = ""
    """Placeholder of its value; empty: it takes none."""
    many: bool = False
    repeats: bool = False
    ours: bool = False

    @property
    def takes_value(self) -> bool:
        """Whether a value follows."""
        return bool(self.value)


def parse_flags(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[Settings, tuple[str, ...]]:
    """The settings, and the flags that were ignored because nothing here depends on them.

    Raises:
        EmulatorConfigError: a value that is not allowed, or no model.
    """
    fields: dict[str, Any] = {}
    ignored: list[str] = []
    words = list(arguments)
    if words[:1] == ["serve"]:
        words.pop(0)
    while words:
        _take_one(words, fields, ignored)
    return _settings(fields, environment), tuple(ignored)


def _take_one(words: list[str], fields: dict[str, Any], ignored: list[str]) -> None:
    word = words.pop(0)
    if not _is_flag(word):
        if "model" in fields:
            raise EmulatorConfigError(f"{word}: unexpected argument; the model is {fields['model']} already")
        fields["model"] = word
        return
    name, equals, given = word.partition("=")
    name = re.sub("_", "-", name)
    values = [given] if equals else []
    flag = FLAGS.get(name)
    if flag is None:
        _take_values(words, values, many=not equals)
        ignored.append(name)
        return
    if flag.takes_value and not (equals and not flag.many):
        _take_values(words, values, many=flag.many)
    if flag.takes_value and not values:
        raise EmulatorConfigError(f"{name}: needs a value")
    value = flag.read(name, values)
    fields[flag.field] = (*fields.get(flag.field, ()), *value) if flag.repeats else value


def _take_values(words: list[str], values: list[str], *, many: bool) -> None:
    """The words up to the next flag, or only the next one."""
    while words and not _is_flag(words[0]) and (many or not values):
        values.append(words.pop(0))


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", word)


def _settings(fields: dict[str, Any], environment: Mapping[str, str]) -> Settings:
    if not fields.get("model"):
        raise EmulatorConfigError("--model: is needed, such as --model meta-llama/Llama-3.1-8B-Instruct")
    if "api_keys" not in fields and environment.get("VLLM_API_KEY"):
        fields["api_keys"] = (environment["VLLM_API_KEY"],)
    fields["runtime_lora_updating"] = environment.get("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "0") in {
        "1",
        "true",
        "True",
    }
    keep_alive = environment.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE")
    if keep_alive is not None:
        fields["keep_alive_s"] = _number("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", [keep_alive])
    settings = Settings(**fields)
    _check_together(settings)
    return settings


def _check_together(settings: Settings) -> None:
    if settings.lora_modules and not settings.enable_lora:
        raise EmulatorConfigError("--lora-modules: needs --enable-lora")
    if settings.max_cpu_loras is not None and settings.max_cpu_loras < settings.max_loras:
        raise EmulatorConfigError(
            f"--max-cpu-loras: {settings.max_cpu_loras} is not allowed, "
            f"it must be at least --max-loras {settings.max_loras}"
        )


def _text(_: str, values: Sequence[str]) -> str:
    return values[0]


def _texts(_: str, values: Sequence[str]) -> tuple[str, ...]:
    return tuple(values)


def _yes(name: str, values: Sequence[str]) -> bool:
    word = values[0].lower() if values else "true"
    if word not in _WORDS:
        raise EmulatorConfigError(f"{name}: {values[0]} is not allowed, it takes no value")
    return _WORDS[word]


def _no(name: str, values: Sequence[str]) -> bool:
    return not _yes(name, values)


def _whole(name: str, values: Sequence[str]) -> int:
    """A whole number; 8k, 1K and 2m mean what they do to vLLM."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kKmMgG]?)", values[0])
    if match is None:
        _refuse(name, values[0], "it must be a whole number")
    digits, unit = match.groups()
    if not unit and "." in digits:
        _refuse(name, values[0], "it must be a whole number")
    factor = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}[unit]
    return int(float(digits) * factor) if unit else int(digits)


def _positive(name: str, values: Sequence[str]) -> int:
    number = _whole(name, values)
    if number < 1:
        _refuse(name, values[0], "it must be at least 1")
    return number


def _port(name: str, values: Sequence[str]) -> int:
    number = _whole(name, values)
    if number > 65535:
        _refuse(name, values[0], "it must be a port, 0 to 65535")
    return number


def _rank(name: str, values: Sequence[str]) -> int:
    number = _whole(name, values)
    if number not in ALLOWED_LORA_RANKS:
        _refuse(name, values[0], f"it must be one of {', '.join(map(str, ALLOWED_LORA_RANKS))}")
    return number


def _number(name: str, values: Sequence[str]) -> float:
    try:
        number = float(values[0])
    except ValueError:
        number = -1.0
    if not 0 <= number < 1e9:
        _refuse(name, values[0], "it must be a number of 0 or more")
    return number


def _above_zero(name: str, values: Sequence[str]) -> float:
    number = _number(name, values)
    if number == 0:
        _refuse(name, values[0], "it must be above 0")
    return number


def _share(name: str, values: Sequence[str]) -> float:
    number = _number(name, values)
    if not 0 < number <= 1:
        _refuse(name, values[0], "it must be above 0 and at most 1")
    return number


def _modules(name: str, values: Sequence[str]) -> tuple[LoraModule, ...]:
    return tuple(_module(name, value) for value in values)


def _module(name: str, value: str) -> LoraModule:
    """`name=path`, or JSON with `name` and `path`."""
    if value.startswith("{"):
        try:
            content = json.loads(value)
            return LoraModule(str(content["name"]), str(content["path"]))
        except (ValueError, KeyError) as error:
            raise EmulatorConfigError(f'{name}: {value} must be JSON with "name" and "path"') from error
    module, equals, path = value.partition("=")
    if not (module and equals and path):
        _refuse(name, value, "it must be name=path or JSON")
    return LoraModule(module, path)


def _refuse(name: str, value: str, rule: str) -> NoReturn:
    raise EmulatorConfigError(f"{name}: {value} is not allowed, {rule}")


_TABLE: Final = (
    Flag("--profile", "profile", _text, "The twin's profile; by default --model's.", "NAME", ours=True),
    Flag("--speed-up", "speed_up", _above_zero, "So many times as fast as the GPU.", "10", ours=True),
    Flag(
        "--fault",
        "faults",
        _texts,
        "Break something: slow-load=SECONDS, fail-load, hang-load (each with @PATTERN of adapters), "
        "crash=SECONDS, engine-crash=SECONDS, hang=SECONDS, freeze=SECONDS, out-of-memory. May repeat.",
        "FAULT",
        repeats=True,
        ours=True,
    ),
    Flag(
        "--admin-port",
        "admin_port",
        _port,
        "Serve /faults and /state on this port of the loopback interface, to break and mend at run time.",
        "PORT",
        ours=True,
    ),
    Flag(
        "--startup-delay",
        "startup_delay_s",
        _number,
        "Seconds until the server listens, instead of the profile's start-up times over --speed-up.",
        "SECONDS",
        ours=True,
    ),
    Flag(
        "--scrape-interval",
        "scrape_interval_s",
        _number,
        "Emulated seconds between scrapes that make the API server pause; 0: none.",
        "SECONDS",
        ours=True,
    ),
    Flag("--version-shown", "version", _text, "What /version says.", "VERSION", ours=True),
    Flag("--model", "model", _text, "Name or path of the model; also as the first argument.", "MODEL"),
    Flag("--served-model-name", "served_model_names", _texts, "Names it is served under.", "NAME", many=True),
    Flag("--host", "host", _text, "Where to listen.", "ADDRESS"),
    Flag("--port", "port", _port, "Where to listen; 0: any free port.", "PORT"),
    Flag("--api-key", "api_keys", _texts, "Required of requests to /v1.", "KEY", many=True, repeats=True),
    Flag("--seed", "seed", _whole, "Of texts and output lengths.", "SEED"),
    Flag("--enable-lora", "enable_lora", _yes, "Serve adapters."),
    Flag("--no-enable-lora", "enable_lora", _no, "Do not."),
    Flag("--max-loras", "max_loras", _positive, "Adapter slots on the GPU.", "N"),
    Flag("--max-cpu-loras", "max_cpu_loras", _positive, "Adapters kept in host memory.", "N"),
    Flag("--max-lora-rank", "max_lora_rank", _rank, "Rank that slots are padded to.", "RANK"),
    Flag(
        "--lora-modules",
        "lora_modules",
        _modules,
        "Adapters to load at the start.",
        "NAME=PATH",
        many=True,
        repeats=True,
    ),
    Flag("--max-num-seqs", "max_num_seqs", _positive, "Requests in a batch.", "N"),
    Flag("--max-num-batched-tokens", "max_num_batched_tokens", _positive, "Tokens in a step.", "N"),
    Flag("--max-model-len", "max_model_len", _positive, "Longest prompt and output together.", "TOKENS"),
    Flag("--gpu-memory-utilization", "gpu_memory_utilization", _share, "Share of the GPU to take.", "SHARE"),
    Flag("--tensor-parallel-size", "tensor_parallel_size", _positive, "Must be the profile's.", "N"),
    Flag("--shutdown-timeout", "shutdown_timeout_s", _number, "How long to drain.", "SECONDS"),
)

_SHORT: Final = {"-tp": "--tensor-parallel-size"}

FLAGS: Final[Mapping[str, Flag]] = {
    **{flag.name: flag for flag in _TABLE},
    **{short: flag for flag in _TABLE for short, name in _SHORT.items() if name == flag.name},
}


def flags_help() -> str:
    """The flags for `--help`, ours first."""
    ours = [flag for flag in _TABLE if flag.ours]
    theirs = [flag for flag in _TABLE if not flag.ours]
    return (
        "Emulation:\n" + _rows(ours) + "\n\nvLLM's own flags that matter here (all others are ignored):\n"
        f"{_rows(theirs)}"
    )


def _rows(flags: Sequence[Flag]) -> str:
    return "\n".join(f"  {f'{flag.name} {flag.value}'.strip():<34} {flag.help}" for flag in flags)
