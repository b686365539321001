"""Settings of the agent: read once, frozen."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class AgentSettings(BaseModel):
    """All settings of `adaptwin agent`.

    Attributes:
        engine_url: The engine beside it.
        engine_api_key: Its API key, where it has one.
        assignment: The file that holds the assignment; posted ones alone where None.
        adapters: The folder of adapters, which the engine mounts at the same path.
        volumes: Where PersistentVolumeClaims of adapters are mounted, by claim.
        max_lora_rank: The engine's; adapters of a higher rank are refused before it is asked.
        address: Where the agent listens.
        port: Its port.
        token: What a posted assignment must bear; none are taken where it is empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine_url: str = "http://127.0.0.1:8000"
    engine_api_key: str = Field(default="", repr=False)
    assignment: Path | None = None
    adapters: Path = Path("/adapters")
    volumes: Path = Path("/volumes")
    max_lora_rank: int | None = None
    address: str = "0.0.0.0"  # noqa: S104 - the kubelet and the operator come from outside the pod
    port: Annotated[int, Field(ge=0, le=65535)] = 8001
    token: str = Field(default="", repr=False)
