"""Envoy's own answers in the form that OpenAI's clients understand, as vLLM's are."""

from typing import Any, Final

from adapter_operator.gateway.envoy.names import METADATA, MODEL_KEY, MODEL_METADATA, NOT_JSON

Config = dict[str, Any]

RETRY_AFTER_S: Final = 1


def local_replies() -> Config:
    """Mappers for `local_reply_config`; the first that fits counts."""
    return {
        "mappers": [
            _mapper(_not_json(), 400, "BadRequestError", "The request body is not valid JSON."),
            _mapper(
                _flag("NC"),
                404,
                "NotFoundError",
                f"The model `{MODEL_METADATA}` does not exist.",
                param="model",
            ),
            _mapper(_status(413), 413, "RequestEntityTooLargeError", "The request body is too large."),
            _mapper(
                _flag("UO"),
                503,
                "ServiceUnavailableError",
                f"The model `{MODEL_METADATA}` has too many requests in flight; try again later.",
                retry=True,
            ),
            _mapper(
                _flag("UH"),
                503,
                "ServiceUnavailableError",
                f"No replica of the model `{MODEL_METADATA}` is ready; try again later.",
                retry=True,
            ),
            _mapper(
                _status(503),
                503,
                "ServiceUnavailableError",
                "The replica could not be reached; try again later.",
                retry=True,
            ),
            _mapper(
                _status(504), 504, "GatewayTimeoutError", "The replica did not answer in time.", retry=True
            ),
            _mapper(_flag("NR"), 404, "NotFoundError", "There is no such path, or no such host."),
        ]
    }


def _mapper(
    condition: Config, status: int, kind: str, message: str, *, param: str | None = None, retry: bool = False
) -> Config:
    error = {"message": message, "type": kind, "param": param, "code": status}
    mapper: Config = {
        "filter": condition,
        "status_code": status,
        "body_format_override": {"json_format": {"error": error}},
    }
    if retry:
        header = {"key": "retry-after", "value": str(RETRY_AFTER_S)}
        mapper["headers_to_add"] = [{"header": header}]
    return mapper


def _flag(flag: str) -> Config:
    return {"response_flag_filter": {"flags": [flag]}}


def _status(code: int) -> Config:
    comparison = {"op": "EQ", "value": {"default_value": code, "runtime_key": f"adaptwin.status_{code}"}}
    return {"status_code_filter": {"comparison": comparison}}


def _not_json() -> Config:
    matcher = {
        "filter": METADATA,
        "path": [{"key": MODEL_KEY}],
        "value": {"string_match": {"exact": NOT_JSON}},
    }
    metadata = {"metadata_filter": {"matcher": matcher, "match_if_key_not_found": False}}
    return {"and_filter": {"filters": [_flag("NC"), metadata]}}
