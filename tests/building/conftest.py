"""The place that builds are tried in, and a tree to build of."""

from __future__ import annotations

import os
import threading

import pytest


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a directory of its own, with temporary files in another."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("fastoci.cli.signals.install", lambda: None)
    yield
    assert os.listdir(tmp_path / "tmp") == []
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("fastoci")] == []


@pytest.fixture
def tree(tmp_path):
    tree = tmp_path / "rootfs"
    (tree / "bin").mkdir(parents=True)
    (tree / "bin/hello").write_bytes(b"#!/bin/sh\necho hello\n")
    (tree / "bin/hello").chmod(0o755)
    (tree / "etc").mkdir()
    (tree / "etc/motd").write_bytes(b"welcome\n" * 1000)
    for path in (tree / "bin/hello", tree / "etc/motd", tree / "bin", tree / "etc", tree):
        os.utime(path, (1600000000, 1600000000))
    return tree
