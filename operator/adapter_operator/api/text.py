"""Kinds of text that the custom resource holds, with the words that say what is allowed in each."""

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import StringConstraints

_DNS_LABEL: Final = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_DNS_NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
_PRINTABLE: Final = r"^[!-~]([ -~]*[!-~])?$"
_REPOSITORY: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?$"
_SEGMENT: Final = r"\.?[A-Za-z0-9_-][A-Za-z0-9._@+-]*"
_ABSOLUTE_PATH: Final = rf"^(/{_SEGMENT})+/?$"
_RELATIVE_PATH: Final = rf"^{_SEGMENT}(/{_SEGMENT})*/?$"
_S3_URI: Final = r"^s3://[a-z0-9][a-z0-9.-]+(/[!-~]*)?$"
_HTTP_URL: Final = r"^https?://[!-~]+$"
_SHA256: Final = r"^[0-9a-f]{64}$"
_CONFIG_KEY: Final = r"^[-._a-zA-Z0-9]+$"
_VERSION: Final = r"^[0-9]+\.[0-9]+\.[0-9]+([a-z0-9.+-]*)$"
_IMAGE: Final = r"^[a-zA-Z0-9][a-zA-Z0-9._/:@-]*$"
_ENV_NAME: Final = r"^[A-Za-z_][A-Za-z0-9_]*$"
_ENGINE_ARGUMENT: Final = (
    r"^--(max-num-seqs|max-num-batched-tokens|max-model-len)=[1-9][0-9]{0,6}$"
    r"|^--gpu-memory-utilization=0\.[0-9]{1,4}$"
    r"|^--(enable-auto-tool-choice|enable-request-id-headers|disable-log-requests"
    r"|disable-uvicorn-access-log|return-tokens-as-token-ids)$"
    r"|^--(chat-template-content-format|generation-config|load-format|max-logprobs|override-generation-config"
    r"|reasoning-parser|response-role|seed|shutdown-timeout|tokenizer|tokenizer-revision|tool-call-parser"
    r"|uvicorn-log-level)=[ -~]+$"
)

PATTERN_WORDS: Final[Mapping[str, str]] = {
    _DNS_LABEL: "must be lower-case letters, digits and '-', at most 63 of them",
    _DNS_NAME: "must be lower-case letters, digits, '-' and '.'",
    _PRINTABLE: "must be printable ASCII without spaces at its ends",
    _REPOSITORY: 'must be a Hugging Face repository such as "organisation/name"',
    _ABSOLUTE_PATH: 'must be an absolute path such as "/adapters/support"',
    _RELATIVE_PATH: 'must be a path relative to the volume, such as "adapters/support"',
    _S3_URI: 'must be an S3 address such as "s3://bucket/adapters/support"',
    _HTTP_URL: "must begin with http:// or https://",
    _SHA256: "must be 64 lower-case hexadecimal digits",
    _CONFIG_KEY: "must be letters, digits, '-', '_' and '.'",
    _VERSION: 'must be a version such as "0.8.5"',
    _IMAGE: 'must be a container image such as "vllm/vllm-openai:v0.8.5"',
    _ENV_NAME: "must be a name of an environment variable",
    _ENGINE_ARGUMENT: (
        "is not among the engine arguments that may be set: --max-num-seqs=N, --max-num-batched-tokens=N, "
        "--max-model-len=N, --gpu-memory-utilization=0.N, and those that leave the engine's timing alone "
        "(see the field's description); adaptwin sets the others itself"
    ),
}
"""What each pattern demands, for messages."""

DnsLabel = Annotated[str, StringConstraints(pattern=_DNS_LABEL, min_length=1, max_length=63)]
DnsName = Annotated[str, StringConstraints(pattern=_DNS_NAME, min_length=1, max_length=253)]
ServedName = Annotated[str, StringConstraints(pattern=_PRINTABLE, min_length=1, max_length=253)]
Repository = Annotated[str, StringConstraints(pattern=_REPOSITORY, min_length=1, max_length=200)]
Revision = Annotated[str, StringConstraints(pattern=_PRINTABLE, min_length=1, max_length=128)]
AbsolutePath = Annotated[str, StringConstraints(pattern=_ABSOLUTE_PATH, min_length=1, max_length=1024)]
RelativePath = Annotated[str, StringConstraints(pattern=_RELATIVE_PATH, min_length=1, max_length=1024)]
S3Uri = Annotated[str, StringConstraints(pattern=_S3_URI, min_length=1, max_length=1024)]
HttpUrl = Annotated[str, StringConstraints(pattern=_HTTP_URL, min_length=1, max_length=2048)]
Sha256 = Annotated[str, StringConstraints(pattern=_SHA256, max_length=64)]
ConfigKey = Annotated[str, StringConstraints(pattern=_CONFIG_KEY, min_length=1, max_length=253)]
EngineVersion = Annotated[str, StringConstraints(pattern=_VERSION, min_length=1, max_length=64)]
Image = Annotated[str, StringConstraints(pattern=_IMAGE, min_length=1, max_length=512)]
EnvName = Annotated[str, StringConstraints(pattern=_ENV_NAME, min_length=1, max_length=128)]
EngineArgument = Annotated[str, StringConstraints(pattern=_ENGINE_ARGUMENT, min_length=3, max_length=1024)]
