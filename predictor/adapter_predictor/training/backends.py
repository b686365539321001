"""Where the twin runs while a dataset is made: this machine, or a cluster that joblib can reach."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.parallel import BACKENDS, EXTERNAL_BACKENDS

from adapter_predictor.errors import DatasetError

_T = TypeVar("_T")

_BATCH: Final = 64
"""Calls that a backend is given at once where it cannot hand back results one by one."""


@dataclass(frozen=True)
class Workers:
    """What runs a dataset's simulations.

    Attributes:
        jobs: Runs at once on this machine; -1 for all cores.
        backend: joblib's name of it (loky, threading, dask, ray, …); joblib's default where None.
        scheduler: Address of a Dask or Ray cluster, which then has its own number of workers.
    """

    jobs: int = 1
    backend: str | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        known = sorted({*BACKENDS, *EXTERNAL_BACKENDS, *_CLUSTERS})
        if self.jobs == 0 or self.jobs < -1:
            raise DatasetError(f"jobs: {self.jobs} is not allowed; give at least 1, or -1 for all cores")
        if self.backend is not None and self.backend not in known:
            raise DatasetError(f"backend: joblib knows no {self.backend!r}; it knows {', '.join(known)}")
        if self.scheduler is not None and self.backend not in _CLUSTERS:
            raise DatasetError(f"scheduler: give it with --backend {' or '.join(_CLUSTERS)}")

    def run(self, function: Callable[..., _T], calls: Iterable[tuple[Any, ...]]) -> Iterator[_T]:
        """Results of a function's calls in the order in which they end.

        Raises:
            DatasetError: the backend is not installed, or its cluster cannot be reached.
        """
        cluster = _CLUSTERS.get(self.backend or "", _no_cluster)
        jobs = self.jobs if self.scheduler is None else -1
        with cluster(self), parallel_config(self.backend or "loky", n_jobs=jobs):
            pending = iter(calls)
            if (one_by_one := _one_by_one()) is not None:
                yield from one_by_one(delayed(function)(*call) for call in pending)
            while batch := list(islice(pending, _BATCH)):
                yield from Parallel()(delayed(function)(*call) for call in batch)


def _one_by_one() -> Parallel | None:
    """Workers that hand back each result as it comes; None where the backend in use cannot."""
    try:
        return Parallel(return_as="generator_unordered")
    except ValueError:
        return None


@contextmanager
def _dask(workers: Workers) -> Iterator[None]:
    """A client of a Dask cluster; of one on this machine where no address is given."""
    try:
        from distributed import Client  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise DatasetError("backend: dask is missing; install adaptwin[dask]") from error
    local = {} if workers.scheduler else {"n_workers": _count(workers.jobs), "threads_per_worker": 1}
    connect: Callable[..., AbstractContextManager[Any]] = Client
    try:
        client = connect(workers.scheduler, **local)
    except (OSError, ValueError) as error:
        raise DatasetError(f"scheduler: no Dask cluster answers at {workers.scheduler}: {error}") from error
    with client:
        yield


@contextmanager
def _ray(workers: Workers) -> Iterator[None]:
    """A connection to a Ray cluster; to one on this machine where no address is given."""
    try:
        import ray  # noqa: PLC0415 - an extra
        from ray.util.joblib import register_ray  # noqa: PLC0415
    except ImportError as error:
        raise DatasetError("backend: ray is missing; install adaptwin[ray]") from error
    try:
        ray.init(address=workers.scheduler, num_cpus=None if workers.scheduler else _count(workers.jobs))
    except (ConnectionError, OSError, ValueError, RuntimeError) as error:
        raise DatasetError(f"scheduler: no Ray cluster answers at {workers.scheduler}: {error}") from error
    register_ray()
    try:
        yield
    finally:
        ray.shutdown()


def _no_cluster(_: Workers) -> AbstractContextManager[None]:
    return nullcontext()


def _count(jobs: int) -> int | None:
    """A number of workers as clusters take it: None for all cores."""
    return None if jobs == -1 else jobs


_CLUSTERS: Final[dict[str, Callable[[Workers], AbstractContextManager[None]]]] = {"dask": _dask, "ray": _ray}
