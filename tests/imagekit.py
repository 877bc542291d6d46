"""Images made by hand, with `json`, `tarfile` and `gzip` alone, and a registry in this process to push them to.

The fixtures at its end are every test's, by way of conftest.py.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import io
import json
import os
import random
import re
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent / "registry"))

from fake_registry import FakeRegistry

Json = dict[str, Any]

OCI = "application/vnd.oci.image."
MANIFEST, INDEX, CONFIG = f"{OCI}manifest.v1+json", f"{OCI}index.v1+json", f"{OCI}config.v1+json"
GZIP, TAR, ZSTD = f"{OCI}layer.v1.tar+gzip", f"{OCI}layer.v1.tar", f"{OCI}layer.v1.tar+zstd"
REF_NAME = "org.opencontainers.image.ref.name"
IMAGE_NAME = "io.containerd.image.name"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def make_tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def compress_zstd(data: bytes) -> bytes:
    for name in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            return bytes(importlib.import_module(name).compress(data))
        except ImportError:
            continue
    pytest.skip("needs Python 3.14, or the package backports.zstd or zstandard")


def noise(size: int, seed: object = 1) -> bytes:
    return random.Random(str(seed)).randbytes(size)


def check_words(err: str) -> None:
    """See that errors and warnings have the form that all have: no traceback, and each a line in lower case."""
    # Whoever debugs has asked for it.
    assert "Traceback" not in err or os.environ.get("FASTOCI_LOG") == "debug"
    for kind, words in re.findall(r"^(error|cause|hint|warning): +(.*)$", err, re.MULTILINE):
        # What stands in capitals or in quotes is somebody's name: `POST https://…`, `FASTOCI_STATE_DIR`.
        assert not re.match(r"[A-Z][a-z]", words), f"{kind}: {words}"
        assert not re.search(r"[^.\s]\.$", words), f"{kind}: {words}"


class LayoutKit:
    """A layout that is written file by file, and may be made wrong on purpose."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.entries: list[Json] = []
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.write_index()

    def __str__(self) -> str:
        return str(self.path)

    def file(self, digest: str) -> Path:
        return self.path / "blobs" / digest.replace(":", "/")

    def blob(self, data: bytes, media_type: str, **fields: Any) -> Json:
        digest = sha256(data)
        self.file(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data), **fields}

    def document(self, obj: Json, **fields: Any) -> Json:
        return self.blob(json.dumps(obj, indent=1).encode(), obj["mediaType"], **fields)

    def config(self, tars: list[bytes], **changes: Any) -> Json:
        architecture = changes.pop("architecture", "amd64")
        return {
            "architecture": architecture,
            "os": "linux",
            "created": "2026-01-02T03:04:05Z",
            "config": {"Env": ["PATH=/bin"], "Entrypoint": ["hello"], "Cmd": ["Cloud"], "Labels": {"a": "b"}},
            "rootfs": {"type": "layers", "diff_ids": [sha256(tar) for tar in tars]},
            "history": [
                {"created": "2026-01-02T03:04:05Z", "created_by": f"COPY {number}"} for number in range(len(tars))
            ]
            + [{"created_by": "ENV PATH=/bin", "empty_layer": True}],
            **changes,
        }

    def manifest(self, config: Json, layers: list[Json], **fields: Any) -> Json:
        obj = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers, **fields}
        return self.document(obj)

    def image(self, *tars: bytes, media_type: str = GZIP, **changes: Any) -> Json:
        """Write an image of these layers, and return its descriptor."""
        tars = tars or (make_tar({"bin/hello": noise(3000)}), make_tar({"etc/motd": b"welcome"}))
        pack = {GZIP: lambda tar: gzip.compress(tar, 1, mtime=0), TAR: lambda tar: tar}[media_type]
        layers = [self.blob(pack(tar), media_type) for tar in tars]
        config = self.blob(json.dumps(self.config(list(tars), **changes)).encode(), CONFIG)
        return self.manifest(config, layers)

    def index(self, *members: Json, **fields: Any) -> Json:
        return self.document({"schemaVersion": 2, "mediaType": INDEX, "manifests": list(members), **fields})

    def multi(self, *architectures: str) -> Json:
        """Write an index with an image for each architecture; their first layers are one."""
        shared = make_tar({"shared": noise(2000)})
        members = []
        for architecture in architectures:
            own = make_tar({"own": noise(500, architecture)})
            member = self.image(shared, own, architecture=architecture)
            members.append({**member, "platform": {"os": "linux", "architecture": architecture}})
        return self.index(*members)

    def add(self, descriptor: Json, tag: str | None = None, name: str | None = None) -> Json:
        """Enter a descriptor into the layout's index."""
        annotations = {key: value for key, value in ((REF_NAME, tag), (IMAGE_NAME, name)) if value is not None}
        self.entries.append({**descriptor, **({"annotations": annotations} if annotations else {})})
        self.write_index()
        return descriptor

    def write_index(self) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": self.entries}
        (self.path / "index.json").write_text(json.dumps(index))

    def read(self, descriptor: Json) -> Json:
        value: Json = json.loads(self.file(descriptor["digest"]).read_bytes())
        return value

    def archive(self, path: Path) -> Path:
        """Write the whole layout as an oci-archive."""
        with tarfile.open(path, "w") as archive:
            for file in sorted(self.path.rglob("*")):
                archive.add(file, str(file.relative_to(self.path)), recursive=False)
        return path


@pytest.fixture
def kit(tmp_path: Path) -> LayoutKit:
    """An empty layout."""
    return LayoutKit(tmp_path / "layout")


@pytest.fixture
def no_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home directory without credentials, certificates or settings."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


@pytest.fixture
def hub(no_credentials: Path) -> Any:
    """A registry in this process."""
    registry = FakeRegistry()
    yield registry
    registry.close()


@pytest.fixture
def fastoci(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_credentials: Path) -> Any:
    """The command line in this process: returns the exit code, stdout and stderr."""
    from fastoci.cli import app

    monkeypatch.setattr("fastoci.cli.signals.install", lambda: None)
    monkeypatch.setattr("fastoci.cli.allocator.tune_allocator", lambda: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = app.run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        check_words(err)
        return code, out, err

    return run


def push_by_hand(kit: LayoutKit, registry: FakeRegistry, repository: str, descriptor: Json, *references: str) -> None:
    """Put an image and all that belongs to it into the registry's memory."""
    document = kit.read(descriptor)
    for member in document.get("manifests", []):
        push_by_hand(kit, registry, repository, member)
    for blob in [document["config"], *document["layers"]] if "layers" in document else []:
        registry.put_blob(repository, kit.file(blob["digest"]).read_bytes())
    data = kit.file(descriptor["digest"]).read_bytes()
    for reference in (*references, descriptor["digest"]):
        registry.manifests.setdefault(repository, {})[reference] = (descriptor["mediaType"], data)
