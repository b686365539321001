"""Workload files: YAML, checked field by field."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapter_twin.errors import WorkloadError
from adapter_twin.profile import AnyProfile
from adapter_twin.workload.arrivals import ArrivalProcess, Diurnal, GammaBurst, OnOff, Poisson
from adapter_twin.workload.lengths import Empirical, Fixed, LengthDistribution, Lognormal
from adapter_twin.workload.model import Adapter, Workload, lognormal
from adapter_twin.workload.popularity import zipf_rates


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ZipfDocument(_Document):
    """A heavy tail: the rate of the k-th adapter is proportional to k to the power of -exponent."""

    total_rate: float = Field(description="requests/s of all adapters together")
    exponent: float = 1.0


class AdapterDocument(_Document):
    """One adapter, or `count` of them named after it, with rates and ranks that cycle, or Zipf's rates."""

    name: str = Field(min_length=1)
    rate: float | None = None
    rank: int | None = None
    count: int | None = Field(default=None, ge=1, le=1_000_000)
    rates: tuple[float, ...] = Field(default=(), description="requests/s, cycling")
    ranks: tuple[int, ...] = Field(default=(), description="cycling")
    zipf: ZipfDocument | None = None

    def adapters(self) -> list[Adapter]:
        """What the entry stands for."""
        rates = self._rates()
        ranks = self.ranks or (() if self.rank is None else (self.rank,))
        if not rates or not ranks:
            missing = "rate" if not rates else "rank"
            raise WorkloadError(f"adapter {self.name}: {missing} is missing, give {missing} or {missing}s")
        if self.count is None:
            return [Adapter(self.name, rates[0], ranks[0])]
        return cycled_adapters(self.count, rates, ranks, self.name)

    def _rates(self) -> tuple[float, ...]:
        if self.zipf is None:
            return self.rates or (() if self.rate is None else (self.rate,))
        if self.rates or self.rate is not None:
            raise WorkloadError(f"adapter {self.name}: give either zipf, or rate or rates")
        return zipf_rates(self.count or 1, self.zipf.total_rate, self.zipf.exponent)


class FixedDocument(_Document):
    """Always the same length."""

    distribution: Literal["fixed"]
    tokens: int

    def build(self) -> LengthDistribution:
        """The distribution."""
        return Fixed(self.tokens)


class LognormalDocument(_Document):
    """A truncated lognormal."""

    distribution: Literal["lognormal"]
    mean: float
    sigma: float
    minimum: int = 1
    maximum: int

    def build(self) -> LengthDistribution:
        """The distribution."""
        return Lognormal(self.mean, self.sigma, self.minimum, self.maximum)


class EmpiricalDocument(_Document):
    """Observed lengths."""

    distribution: Literal["empirical"]
    values: tuple[int, ...]

    def build(self) -> LengthDistribution:
        """The distribution."""
        return Empirical(self.values)


class PoissonDocument(_Document):
    """Memoryless arrivals."""

    process: Literal["poisson"]

    def build(self) -> ArrivalProcess:
        """The process."""
        return Poisson()


class GammaDocument(_Document):
    """Bursts."""

    process: Literal["gamma"]
    cv: float

    def build(self) -> ArrivalProcess:
        """The process."""
        return GammaBurst(self.cv)


class OnOffDocument(_Document):
    """Arrivals that pause."""

    process: Literal["on_off"]
    on_s: float
    off_s: float

    def build(self) -> ArrivalProcess:
        """The process."""
        return OnOff(self.on_s, self.off_s)


class DiurnalDocument(_Document):
    """Days."""

    process: Literal["diurnal"]
    amplitude: float
    period_s: float = 86_400.0

    def build(self) -> ArrivalProcess:
        """The process."""
        return Diurnal(self.amplitude, self.period_s)


LengthsDocument = Annotated[
    FixedDocument | LognormalDocument | EmpiricalDocument, Field(discriminator="distribution")
]
ArrivalsDocument = Annotated[
    PoissonDocument | GammaDocument | OnOffDocument | DiurnalDocument, Field(discriminator="process")
]


class WorkloadDocument(_Document):
    """A workload file. Token lengths that it leaves out are the profile's."""

    adapters: tuple[AdapterDocument, ...]
    duration_s: float | None = None
    prompt: LengthsDocument | None = None
    output: LengthsDocument | None = None
    correlation: float | None = None
    max_total_tokens: int | None = None
    arrivals: ArrivalsDocument = PoissonDocument(process="poisson")

    def build(self, profile: AnyProfile | None, duration_s: float) -> Workload:
        """The workload for a profile, over the document's own duration or else `duration_s`.

        Raises:
            WorkloadError: a value is not allowed, or lengths are missing and no profile says them.
        """
        return Workload(
            adapters=tuple(adapter for entry in self.adapters for adapter in entry.adapters()),
            duration_s=duration_s if self.duration_s is None else self.duration_s,
            arrivals=self.arrivals.build(),
            **self._lengths(profile),
        )

    def _lengths(self, profile: AnyProfile | None) -> dict[str, Any]:
        """The bound on prompt and output together is the profile's only where both lengths are."""
        own = {
            "prompt": self.prompt and self.prompt.build(),
            "output": self.output and self.output.build(),
            "correlation": self.correlation,
            "max_total_tokens": self.max_total_tokens,
        }
        chosen = {name: value for name, value in own.items() if value is not None}
        if profile is None:
            if not {"prompt", "output"} <= chosen.keys():
                raise WorkloadError(
                    "prompt, output: give the lengths of both, or a profile that assumes them"
                )
            return chosen
        assumed = profile.workload_defaults
        lengths = {"prompt": lognormal(assumed.prompt), "output": lognormal(assumed.output)}
        bound = {} if {"prompt", "output"} & chosen.keys() else {"max_total_tokens": assumed.max_total_tokens}
        return lengths | {"correlation": assumed.correlation} | bound | chosen


def read_workload(path: str | Path) -> WorkloadDocument:
    """A workload file.

    Raises:
        WorkloadError: it cannot be read, or a field is not allowed; the first problem, in one sentence.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        return WorkloadDocument.model_validate(content)
    except OSError as error:
        raise WorkloadError(f"{path}: cannot be read, {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WorkloadError(f"{path}: not a YAML file") from error
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise WorkloadError(f"{path}: {field}: {first['msg']}") from error


def cycled_adapters(
    count: int, rates: tuple[float, ...], ranks: tuple[int, ...], prefix: str = "adapter"
) -> list[Adapter]:
    """`count` adapters named prefix-0, prefix-1, …, with rates and ranks that cycle."""
    return [Adapter(f"{prefix}-{i}", rates[i % len(rates)], ranks[i % len(ranks)]) for i in range(count)]
