"""What may go wrong while a cluster is being had."""

from __future__ import annotations


class Unavailable(Exception):  # noqa: N818 - a state of the world, not a fault of the caller
    """A source of programs, or the cluster itself, cannot be had here; the message says why."""


class StartError(Exception):
    """The programs are there, but the control plane does not come up; the message holds the logs' ends."""
