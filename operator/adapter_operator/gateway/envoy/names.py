"""How clusters are named, and how their statistics are.

A cluster is named `HOST|MODEL`: what a client writes into the body can only choose among the clusters of its
own virtual host, never Envoy's own ones. As in vLLM a missing, null or empty model is the base model.
"""

import re
from typing import Final

SEPARATOR: Final = "|"
BASE_NAMES: Final = ("", "-")
"""What a missing and an empty model look like in a header; an adapter of that name goes before."""

METADATA: Final = "adaptwin"
MODEL_KEY: Final = "model"
MODEL_METADATA: Final = f"%DYNAMIC_METADATA({METADATA}:{MODEL_KEY})%"
"""The model that a body names, as Envoy writes it into headers and messages."""
NOT_JSON: Final = "!not-json"
"""Stands for the model of a body that is no JSON; no cluster has that name."""

_PLAIN: Final = re.compile(rb"[A-Za-z0-9_-]")
_ESCAPED: Final = re.compile(r"=([0-9A-F]{2})")


def cluster_name(host: str, model: str) -> str:
    """The cluster that serves a model of a virtual host."""
    return f"{host}{SEPARATOR}{model}"


def split_cluster_name(cluster: str) -> tuple[str, str]:
    """The virtual host and the model of a cluster. Names of hosts hold no separator, models may."""
    host, _, model = cluster.partition(SEPARATOR)
    return host, model


def stat_name(cluster: str) -> str:
    """A cluster's name in statistics: dots and colons would be taken apart there, so they are escaped."""
    return "".join(
        chr(byte) if _PLAIN.match(bytes([byte])) else f"={byte:02X}" for byte in cluster.encode("utf-8")
    )


def cluster_of_stat(stat: str) -> str:
    """The cluster whose `stat_name` this is."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), stat).encode("latin-1").decode("utf-8")
