"""Adapters from an object store and from a hub, both played by small local servers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import boto3
import pytest
from moto.server import ThreadedMotoServer

from adapter_operator.agent.errors import AdapterError, Reason
from adapter_operator.agent.library import Library
from adapter_operator.agent.sources.hugging_face import HuggingFaceRepository
from adapter_operator.agent.sources.object_store import S3Prefix

CONFIG = json.dumps({"r": 8, "peft_type": "LORA"}).encode()
FILES = {"adapter_config.json": CONFIG, "adapter_model.safetensors": b"weights", "README.md": b"not needed"}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    made = Library(tmp_path / "library")
    made.prepare()
    return made


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch):
    """An S3-compatible store with the bucket `adapters`."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    client = boto3.client("s3", endpoint_url=url)
    client.create_bucket(Bucket="adapters")
    for name, content in FILES.items():
        client.put_object(Bucket="adapters", Key=f"team/support/{name}", Body=content)
    yield url
    client.close()
    server.stop()


def test_all_objects_under_a_prefix_are_fetched(library: Library, store: str):
    files = library.obtain(S3Prefix("s3://adapters/team/support", store), rank=8)
    assert (Path(files.path) / "adapter_model.safetensors").read_bytes() == b"weights"
    assert library.obtain(S3Prefix("s3://adapters/team/support/", store), rank=8) == files


@pytest.mark.parametrize("uri", ["s3://adapters/team/nobody", "s3://no-such-bucket/x"])
def test_a_prefix_without_objects_is_not_found(library: Library, store: str, uri: str):
    with pytest.raises(AdapterError) as caught:
        library.obtain(S3Prefix(uri, store), rank=8)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


class Hub(BaseHTTPRequestHandler):
    """The few calls of the hub's API that fetching an adapter takes."""

    known: ClassVar[dict[str, bytes]] = FILES

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        content, headers = self._content()
        self.send_response(404 if content is None else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content or b"")))
        self.end_headers()
        if body:
            self.wfile.write(content or b"")

    def _content(self) -> tuple[bytes | None, dict[str, str]]:
        if self.path.startswith("/api/models/team/support/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.known.items()
            ]
            return json.dumps(tree).encode(), {"Content-Type": "application/json"}
        if self.path.startswith("/api/models/team/support"):
            siblings = [{"rfilename": name} for name in self.known]
            info = {"id": "team/support", "sha": COMMIT, "siblings": siblings}
            return json.dumps(info).encode(), {"Content-Type": "application/json"}
        name = self.path.rpartition("/")[2]
        if self.path.startswith(f"/team/support/resolve/{COMMIT}/") and name in self.known:
            content = self.known[name]
            return content, {"X-Repo-Commit": COMMIT, "ETag": f'"{hash(content)}"'}
        return None, {"X-Error-Code": "RepoNotFound"}

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield url
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_adapter_of_the_hub_is_fetched_at_the_commit_its_revision_names(library: Library, hub: str):
    files = library.obtain(HuggingFaceRepository("team/support", "main", endpoint=hub), rank=8)
    assert files.version == COMMIT[:16]
    assert (Path(files.path) / "adapter_model.safetensors").read_bytes() == b"weights"
    assert not (Path(files.path) / "README.md").exists()


def test_a_repository_that_is_not_there_is_not_found(library: Library, hub: str):
    with pytest.raises(AdapterError) as caught:
        library.obtain(HuggingFaceRepository("team/nobody", "main", endpoint=hub), rank=8)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


def test_a_hub_that_is_away_may_come_back(library: Library):
    with pytest.raises(AdapterError) as caught:
        library.obtain(HuggingFaceRepository("team/support", "main", endpoint="http://127.0.0.1:1"), rank=8)
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE
