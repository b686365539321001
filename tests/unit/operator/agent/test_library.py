"""Adapters' files: from every kind of source, checked, whole, one path per version."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adapter_operator.agent.errors import AdapterError, Reason
from adapter_operator.agent.library import Library
from adapter_operator.agent.sources import source_of
from adapter_operator.agent.sources.archive import HttpArchive
from adapter_operator.agent.sources.local import LocalFolder
from adapter_operator.api.v1alpha1.sources import AdapterSource


def adapter_files(rank: int = 8, weights: bytes = b"weights") -> dict[str, bytes]:
    return {
        "adapter_config.json": json.dumps({"r": rank, "peft_type": "LORA"}).encode(),
        "adapter_model.safetensors": weights,
    }


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def tar(files: dict[str, bytes], top: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(top + name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


@contextmanager
def served(pages: dict[str, bytes]):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = pages.get(self.path)
            self.send_response(200 if body is not None else 404)
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def library(tmp_path: Path) -> Library:
    made = Library(tmp_path / "library", max_lora_rank=16)
    made.prepare()
    return made


def test_a_folder_is_linked_to_and_its_version_follows_its_content(library, tmp_path):
    folder = write(tmp_path / "support", adapter_files())
    first = library.obtain(LocalFolder(folder), rank=8)
    assert Path(first.path).resolve() == folder
    assert library.obtain(LocalFolder(folder), rank=8) == first
    write(folder, adapter_files(weights=b"other weights"))
    changed = library.obtain(LocalFolder(folder), rank=8)
    assert changed.version != first.version
    assert changed.path != first.path


def test_a_claim_is_found_under_its_name(library, tmp_path):
    write(tmp_path / "volumes" / "adapters" / "support", adapter_files())
    declared = AdapterSource.model_validate({"pvc": {"claimName": "adapters", "path": "support"}})
    files = library.obtain(source_of(declared, tmp_path / "volumes"), rank=8)
    assert (Path(files.path) / "adapter_config.json").is_file()


@pytest.mark.parametrize("top", ["", "support-v1/"])
def test_an_archive_is_unpacked_once_its_digest_is_right(library, top):
    body = tar(adapter_files(), top)
    digest = hashlib.sha256(body).hexdigest()
    with served({"/a.tar.gz": body}) as url:
        files = library.obtain(HttpArchive(f"{url}/a.tar.gz", digest), rank=8)
    assert files.version == digest[:16]
    assert (Path(files.path) / "adapter_model.safetensors").read_bytes() == b"weights"


def test_a_zip_is_an_archive_too(library):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in adapter_files().items():
            archive.writestr(name, content)
    with served({"/a.zip": buffer.getvalue()}) as url:
        assert library.obtain(HttpArchive(f"{url}/a.zip"), rank=8).version


def _refused(library: Library, source, rank: int = 8) -> AdapterError:
    with pytest.raises(AdapterError) as caught:
        library.obtain(source, rank)
    assert len(str(caught.value).splitlines()) == 1
    left = [path.name for path in library.root.iterdir()]
    assert left == [], "something half-done was left"
    return caught.value


def test_a_wrong_digest_is_refused_before_anything_is_unpacked(library):
    with served({"/a.tar.gz": tar(adapter_files())}) as url:
        error = _refused(library, HttpArchive(f"{url}/a.tar.gz?token=secret", "0" * 64), 8)
    assert error.reason is Reason.SOURCE_NOT_FOUND  # the stand-in knows no query
    with served({"/a.tar.gz": tar(adapter_files())}) as url:
        error = _refused(library, HttpArchive(f"{url}/a.tar.gz", "0" * 64))
    assert error.reason is Reason.CHECKSUM_MISMATCH


def test_secrets_in_an_address_are_not_told(library):
    with served({}) as url:
        error = _refused(library, HttpArchive(f"{url.replace('//', '//user:secret@')}/a.tar?token=secret"))
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"no archive at all", Reason.INVALID_ADAPTER), (tar({"readme": b""}), Reason.INVALID_ADAPTER)],
)
def test_an_archive_that_holds_no_adapter_is_refused(library, body, reason):
    with served({"/a.tar": body}) as url:
        assert _refused(library, HttpArchive(f"{url}/a.tar")).reason is reason


def test_an_archive_cannot_write_outside_its_folder(library, tmp_path):
    with served({"/a.tar": tar(adapter_files() | {"../../escaped": b"x"})}) as url:
        assert _refused(library, HttpArchive(f"{url}/a.tar")).reason is Reason.INVALID_ADAPTER
    assert not list(tmp_path.rglob("escaped"))


def test_a_server_that_is_away_may_come_back(library):
    assert _refused(library, HttpArchive("http://127.0.0.1:1/a.tar")).reason.passes


@pytest.mark.parametrize(
    ("files", "rank", "reason", "message"),
    [
        ({}, 8, Reason.INVALID_ADAPTER, "adapter_config.json is missing"),
        ({"adapter_config.json": b"{"}, 8, Reason.INVALID_ADAPTER, "adapter_config.json is not JSON"),
        ({"adapter_config.json": b"[]"}, 8, Reason.INVALID_ADAPTER, "adapter_config.json is not an object"),
        ({"adapter_config.json": b'{"r": 8}'}, 8, Reason.INVALID_ADAPTER, "no weights"),
        (adapter_files() | {"adapter_config.json": b'{"r": "8"}'}, 8, Reason.INVALID_ADAPTER, "r is '8'"),
        (adapter_files(16), 8, Reason.RANK_TOO_HIGH, "r is 16, above 8, the rank that was declared"),
        (adapter_files(32), 32, Reason.RANK_TOO_HIGH, "r is 32, above 16, the engine's max-lora-rank"),
    ],
)
def test_files_that_cannot_be_loaded_are_refused_before_the_engine_is_asked(
    library, tmp_path, files, rank, reason, message
):
    error = _refused(library, LocalFolder(write(tmp_path / "bad", files)), rank)
    assert error.reason is reason
    assert message in str(error)


def test_a_folder_that_is_not_there_is_named(library, tmp_path):
    error = _refused(library, LocalFolder(tmp_path / "nowhere"))
    assert error.reason is Reason.SOURCE_NOT_FOUND
    assert "nowhere" in str(error)


def test_what_an_interrupted_run_left_is_removed(library):
    (library.root / ".partial-x").mkdir()
    library.prepare()
    assert list(library.root.iterdir()) == []


def test_files_of_other_versions_are_removed_and_what_is_linked_to_is_not(library, tmp_path):
    folder = write(tmp_path / "support", adapter_files())
    old = library.obtain(LocalFolder(folder), rank=8)
    library.keep_only(set())
    assert not Path(old.path).exists()
    assert (folder / "adapter_config.json").exists()
