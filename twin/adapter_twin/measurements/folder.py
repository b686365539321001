"""Where the measurement tables lie."""

from dataclasses import dataclass
from pathlib import Path

from adapter_twin.errors import MeasurementError
from adapter_twin.measurements.tables import (
    AdapterLoading,
    KvCapacity,
    Microbenchmark,
    Run,
    read_adapter_loading,
    read_kv_capacity,
    read_microbenchmarks,
    read_runs,
)

ENVIRONMENT_VARIABLE = "ADAPTWIN_MEASUREMENTS"
DEFAULT_FOLDER = Path("tests/data/measurements")


@dataclass(frozen=True)
class MeasurementFolder:
    """A folder of tables in the documented schema (`docs/measurements.md`)."""

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise MeasurementError(
                f"measurements: there is no folder {self.path}; name one with --measurements "
                f"or {ENVIRONMENT_VARIABLE}"
            )

    def run_tables(self) -> list[Path]:
        """The tables of measured runs, of whatever engine."""
        return [self.path / name for name in ("runs.csv", "slora_runs.csv") if (self.path / name).exists()]

    def runs(self, model: str) -> list[Run]:
        """The runs of one model, in the table's order."""
        return [row for row in read_runs(self.path / "runs.csv") if row.model == model]

    def kv_capacity(self, model: str) -> list[KvCapacity]:
        """The KV capacities of one model."""
        return [row for row in read_kv_capacity(self.path / "kv_capacity.csv") if row.model == model]

    def adapter_loading(self) -> list[AdapterLoading]:
        """Loading times of all models."""
        return read_adapter_loading(self.path / "adapter_loading.csv")

    def microbenchmarks(self) -> list[Microbenchmark]:
        """Microbenchmarks of all models."""
        return read_microbenchmarks(self.path / "microbenchmarks.csv")
