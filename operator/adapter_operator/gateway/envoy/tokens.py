"""Counting tokens per adapter: from the `usage` of answers, streamed or not, into counters by cluster.

Streams carry usage only where the client asks for it (`stream_options.include_usage`).
"""

from typing import Any, Final

Config = dict[str, Any]

NAMESPACE: Final = "adaptwin.usage"
KINDS: Final = ("prompt_tokens", "completion_tokens")
STAT_PREFIX: Final = "adaptwin"


def response_token_rules() -> Config:
    """Rules of `json_to_metadata` for answers that are not streamed."""
    return {
        "rules": [
            {
                "selectors": [{"key": "usage"}, {"key": kind}],
                "on_present": {"metadata_namespace": NAMESPACE, "key": kind, "type": "NUMBER"},
            }
            for kind in KINDS
        ],
        "allow_content_types_regex": {"regex": "application/json(;.*)?"},
    }


def streamed_token_filter() -> Config:
    """`sse_to_metadata`, for answers that are streamed."""
    rules = [
        {
            "rule": {
                "selectors": [{"key": "usage"}, {"key": kind}],
                "on_present": {"metadata_namespace": NAMESPACE, "key": kind, "type": "NUMBER"},
            }
        }
        for kind in KINDS
    ]
    parser = {
        "@type": "type.googleapis.com/envoy.extensions.content_parsers.json.v3.JsonContentParser",
        "rules": rules,
    }
    return {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.sse_to_metadata.v3.SseToMetadata",
        "response_rules": {"content_parser": {"name": "envoy.content_parsers.json", "typed_config": parser}},
    }


def access_log() -> list[Config]:
    """The stats logger: counters of tokens by cluster, which is bounded, never by what a client wrote."""
    counters = [
        {
            "stat": {
                "name": kind,
                "tags": [{"name": "cluster", "value_format": "%UPSTREAM_CLUSTER_RAW%"}],
            },
            "value_format": f"%DYNAMIC_METADATA({NAMESPACE}:{kind})%",
        }
        for kind in KINDS
    ]
    return [
        {
            "name": "envoy.access_loggers.stats",
            "filter": {
                "metadata_filter": {
                    "matcher": {
                        "filter": NAMESPACE,
                        "path": [{"key": KINDS[0]}],
                        "value": {"present_match": True},
                    },
                    "match_if_key_not_found": False,
                }
            },
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
                "stat_prefix": STAT_PREFIX,
                "counters": counters,
            },
        }
    ]
