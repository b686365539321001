"""Writing traces in adaptwin's own format, piece by piece."""

from __future__ import annotations

import csv
from typing import IO, TYPE_CHECKING

from adapter_twin.workload.trace_formats import OWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from adapter_twin.workload.model import Adapter, Requests

_ROWS_AT_ONCE = 20_000


def write_trace(
    file: IO[str],
    adapters: Sequence[Adapter],
    requests: Requests,
    on_rows: Callable[[int], None] | None = None,
) -> None:
    """Write requests as CSV; what is read back is the same to the last bit.

    Args:
        file: opened for text with newline="".
        adapters: those that the requests point to.
        requests: what to write.
        on_rows: called after every piece with the number of rows written so far.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(OWN.columns)
    names = [*(adapter.name for adapter in adapters), ""]  # the last stands for the base model, -1
    for start in range(0, requests.count, _ROWS_AT_ONCE):
        piece = slice(start, start + _ROWS_AT_ONCE)
        owners = (names[i] for i in requests.adapter[piece].tolist())
        columns = (requests.arrival_s[piece], requests.prompt_tokens[piece], requests.output_tokens[piece])
        writer.writerows(zip(*(column.tolist() for column in columns), owners, strict=True))
        if on_rows is not None:
            on_rows(min(start + _ROWS_AT_ONCE, requests.count))
