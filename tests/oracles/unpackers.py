"""Programs that unpack a layer, none of them ours, and what each is known not to restore."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from oracles.snapshot import Difference, Tree


def program(name: str, package: str) -> str:
    """Return the path of a program, or skip and name the Debian package that has it."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not on PATH: apt-get install {package}"
        if os.environ.get("FASTOCI_REQUIRE_REAL_PARTS") == "1":
            pytest.fail(f"FASTOCI_REQUIRE_REAL_PARTS=1, but {reason}", pytrace=False)
        pytest.skip(reason)
    return found


def run(command: Iterable[str], *, data: bytes | None = None, cwd: str | None = None) -> str:
    """Run a program, which must succeed, and return what it said on both of its streams."""
    done = subprocess.run(
        list(command),
        input=data,
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{command}: {said[-3000:]}"
    return said


def extract_by_gnu_tar(archive: bytes, target: Path, *options: str) -> str:
    """Extract by GNU tar with all that it can restore, and return what it says."""
    return run(
        [
            program("tar", "tar"),
            "--extract",
            "--file=-",
            "--preserve-permissions",
            "--numeric-owner",
            "--same-owner",
            "--xattrs",
            "--xattrs-include=*",
            "--delay-directory-restore",
            # Its surprise at times that lie long ago or far ahead.
            "--warning=no-timestamp",
            *options,
        ],
        data=archive,
        cwd=str(target),
    )


def gnu_tar(blob: bytes, target: Path) -> None:
    """Unpack by GNU tar; over what the layers below have left there."""
    target.mkdir(exist_ok=True)
    said = extract_by_gnu_tar(blob, target, "--gunzip")
    # A name that is not UTF-8 it takes as it stands, and knows nothing of the record that says so.
    unknown = "Ignoring unknown extended header keyword 'hdrcharset'"
    other = [line for line in said.splitlines() if not line.endswith(unknown)]
    assert not other, other


def bsdtar(blob: bytes, target: Path) -> None:
    """Unpack by libarchive."""
    target.mkdir()
    said = run(
        [
            program("bsdtar", "libarchive-tools"),
            "--extract",
            "--file=-",
            "--preserve-permissions",
            "--numeric-owner",
            "--same-owner",
            "--xattrs",
            "--acls",
        ],
        data=blob,
        cwd=str(target),
    )
    assert not said


def python_tarfile(blob: bytes, target: Path) -> None:
    """Unpack by Python's own module."""
    target.mkdir()
    before = Path.cwd()
    # From within: a path that is nearly as long as the kernel takes must not become longer.
    os.chdir(target)
    try:
        with tarfile.open(fileobj=io.BytesIO(blob), mode="r:gz", errors="surrogateescape") as archive:
            # Trees of ours may say anything; Python 3.14 would take devices and setuid bits away.
            chosen: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
            archive.extractall(numeric_owner=True, **chosen)
    finally:
        os.chdir(before)


def umoci(blob: bytes, target: Path) -> None:
    """Unpack by umoci, from a layout that is written here by hand."""
    found = program("umoci", "umoci")
    layout = target.with_name(target.name + ".layout")
    bundle = target.with_name(target.name + ".bundle")
    write_layout(layout, blob)
    run([found, "unpack", "--image", f"{layout}:latest", str(bundle)])
    (bundle / "rootfs").rename(target)


def write_layout(layout: Path, blob: bytes) -> None:
    """Write an OCI layout of one image with one layer (image-spec 1.1)."""
    blobs = layout / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes, media_type: str) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": f"sha256:{digest}", "size": len(data)}

    diff_id = hashlib.sha256(gzip.decompress(blob)).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created": "1970-01-01T00:00:00Z"}],
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(blob, "layer.v1.tar+gzip")],
    }
    described = put(json.dumps(manifest).encode(), "manifest.v1+json")
    described["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (layout / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (layout / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [described]}))


def excused_bsdtar(difference: Difference) -> str | None:
    """Return why libarchive leaves something out, None where it should not."""
    if difference.fact.startswith("xattr system.posix_acl_") and difference.found is None:
        return "libarchive takes ACLs from SCHILY.acl.* alone and skips system.* attributes (set_xattrs)"
    return None


def excused_tarfile(expected: Tree) -> Callable[[Difference], str | None]:
    """Return what says why Python's tarfile leaves something out."""

    def excuse(difference: Difference) -> str | None:
        is_link = expected[difference.path].kind == "symlink"
        if difference.fact.startswith("xattr ") and difference.found is None:
            return "tarfile restores no extended attributes; they are compared in its member's pax_headers"
        if difference.fact == "mtime" and is_link:
            return "tarfile does not set a symbolic link's time (TarFile._extract_member)"
        if difference.fact == "names" and is_link:
            return "tarfile copies a symbolic link that leads nowhere instead of linking it (TarFile.makelink)"
        return None

    return excuse


_GO_LATEST = (2**63 - 1) // 10**9


def excused_umoci(difference: Difference) -> str | None:
    """Return why umoci leaves something out."""
    if difference.fact.startswith("xattr user.") and difference.expected == b"" and difference.found is None:
        return "to Go's archive/tar, as to POSIX pax, an empty value says that there is no such record"
    if difference.fact == "mtime" and isinstance(difference.expected, int) and difference.expected > _GO_LATEST:
        return "umoci counts nanoseconds in 64 bits, and stops in 2262"
    return None
