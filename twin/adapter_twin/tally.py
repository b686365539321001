"""One pass over requests after a simulation: what each of them, and each adapter, got."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Finished(NamedTuple):
    """Requests that completed, in order of arrival; and all that the engine was given."""

    ttft_s: NDArray[np.float64]
    e2e_s: NDArray[np.float64]
    decoding_s: NDArray[np.float64]
    """First to last token."""
    output: NDArray[np.int64]
    input_tokens: int
    first_token_s: NDArray[np.float64]
    """This and the next: of all requests, NaN for those that did not complete."""
    finish_s: NDArray[np.float64]


@njit(cache=True, nogil=True)
def tally_finished(done, arrival_s, prompt, output, first_token_s, finish_s):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """The columns of `Finished`, from the engine's strided ones.

    Args:
        done: whether each request completed; all arguments have the shape (requests,).
        arrival_s: as the client saw it.
        prompt: tokens.
        output: tokens.
        first_token_s: as delivered.
        finish_s: as delivered.
    """
    count = np.sum(done)
    ttft, e2e, decoding = np.empty(count), np.empty(count), np.empty(count)
    generated = np.empty(count, np.int64)
    first, end = np.full(done.shape[0], np.nan), np.full(done.shape[0], np.nan)
    place, input_tokens = 0, 0
    for i in range(done.shape[0]):
        if done[i]:
            first[i], end[i] = first_token_s[i], finish_s[i]
            ttft[place] = first[i] - arrival_s[i]
            e2e[place] = end[i] - arrival_s[i]
            decoding[place] = end[i] - first[i]
            generated[place] = output[i]
            input_tokens += prompt[i]
            place += 1
    return ttft, e2e, decoding, generated, input_tokens, first, end


@njit(cache=True, nogil=True)
def tally_adapters(owner, arrival_s, prompt, output, first_token_s, finish_s, completable, counts, sums):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    """Add up what each adapter's requests got; the base model's, -1, come last.

    Args:
        owner: adapter of each offered request; it and the next six have the shape (offered,).
        arrival_s: arrivals.
        prompt: tokens.
        output: tokens.
        first_token_s: NaN for requests that did not complete.
        finish_s: likewise.
        completable: whether each counts, by `slo.completable`.
        counts: int64[adapters + 1, 7], added to: requests offered and completed, tokens offered, completed,
            completable and served, gaps between the tokens of completed requests.
        sums: float64[adapters + 1, 2], added to: seconds to the first token, and from there to the last.
    """
    for i in range(owner.shape[0]):
        count, total = counts[owner[i]], sums[owner[i]]
        tokens = np.int64(prompt[i]) + output[i]
        done = not np.isnan(finish_s[i])
        count[0] += 1
        count[2] += tokens
        if completable[i]:
            count[4] += tokens
        if done:
            count[1] += 1
            count[3] += tokens
            count[6] += output[i] - 1
            total[0] += first_token_s[i] - arrival_s[i]
            total[1] += finish_s[i] - first_token_s[i]
            if completable[i]:
                count[5] += tokens
