"""What the tests of the stores share: a small image, and programs that are not ours to judge by."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

import pytest
from smallimage import SmallImage, make_image

from fastoci.ending import OpenFile

REQUIRED = os.environ.get("FASTOCI_REQUIRE_REAL_PARTS") == "1"


@pytest.fixture
def image() -> SmallImage:
    return make_image()


@pytest.fixture
def other_image() -> SmallImage:
    return make_image(b"another")


@pytest.fixture
def new_image() -> Callable[[bytes], SmallImage]:
    return make_image


PACKAGES = {"skopeo": "skopeo", "umoci": "umoci", "tar": "tar", "bsdtar": "libarchive-tools"}


@pytest.fixture
def run() -> Callable[..., bytes]:
    """Run a program and return its stdout; skip where it is missing, and name the package."""

    def run_program(program: str, *arguments: object) -> bytes:
        found = shutil.which(program)
        if found is None:
            reason = f"{program} is not on PATH: apt-get install {PACKAGES[program]}"
            if REQUIRED:
                pytest.fail(reason)
            pytest.skip(reason)
        done = subprocess.run([found, *map(str, arguments)], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        return done.stdout

    return run_program


@pytest.fixture(params=["unnamed", "named", "unlinkable"])
def temp_files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the three ways in which a file can come to its name."""
    if request.param == "named":

        def without_tmpfile(path, flags, *rest, **options):
            if flags & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(95, "Operation not supported")
            return OpenFile(path, flags, *rest, **options)

        monkeypatch.setattr("fastoci.store.atomic.OpenFile", without_tmpfile)
    elif request.param == "unlinkable":

        def refuse(*_, **__):
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    return request.param
