from __future__ import annotations

import os

import pytest

from fastoci.errors import InvalidImageError, UsageError
from fastoci.spec.platform import Platform

# containerd's platforms_test.go, "TestParseSelector", with the variant that its normal form leaves out or adds.
NORMAL = {
    "linux/amd64": "linux/amd64",
    "linux/x86_64": "linux/amd64",
    "linux/x86-64": "linux/amd64",
    "Linux/AMD64": "linux/amd64",
    "linux/amd64/v1": "linux/amd64",
    "linux/amd64/v3": "linux/amd64/v3",
    "linux/i386": "linux/386",
    "linux/386": "linux/386",
    "linux/aarch64": "linux/arm64",
    "linux/arm64/v8": "linux/arm64",
    "linux/arm64/v9": "linux/arm64/v9",
    "linux/arm": "linux/arm/v7",
    "linux/arm/7": "linux/arm/v7",
    "linux/arm/v6": "linux/arm/v6",
    "linux/armhf": "linux/arm/v7",
    "linux/armel": "linux/arm/v6",
    "linux/s390x": "linux/s390x",
    "linux/riscv64": "linux/riscv64",
    "macos/arm64": "darwin/arm64",
    "freebsd/amd64": "freebsd/amd64",
}


@pytest.mark.parametrize(("text", "normal"), NORMAL.items())
def test_parse_gives_the_normal_form(text, normal):
    platform = Platform.parse(text)
    assert str(platform) == normal
    assert Platform.parse(str(platform)) == platform


@pytest.mark.parametrize("text", ["", "linux", "/", "linux/", "/amd64", "a/b/c/d", "linux/am d64", "linux/é", "*/*"])
def test_no_platform(text):
    with pytest.raises(UsageError, match="not a platform") as caught:
        Platform.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("armv7l", "linux/arm/v7"),
        ("armv6l", "linux/arm/v6"),
        ("armv8l", "linux/arm/v7"),
        ("i686", "linux/386"),
        ("i586", "linux/386"),
        ("ppc64le", "linux/ppc64le"),
        ("s390x", "linux/s390x"),
        ("riscv64", "linux/riscv64"),
        ("loongarch64", "linux/loong64"),
    ],
)
def test_host(machine, expected, monkeypatch):
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("Linux", "n", "r", "v", machine)))
    assert str(Platform.host()) == expected


def test_matches_compares_what_is_meant():
    assert Platform("linux", "arm64", "v8").matches(Platform("linux", "arm64"))
    assert Platform("linux", "arm").matches(Platform("linux", "arm", "v7"))
    assert not Platform("linux", "arm", "v6").matches(Platform("linux", "arm", "v7"))
    assert not Platform("linux", "amd64").matches(Platform("windows", "amd64"))


def test_json_round_trip_keeps_what_is_not_known():
    obj = {
        "os": "windows",
        "architecture": "amd64",
        "os.version": "10.0.14393.1066",
        "os.features": ["win32k"],
        "features": ["sse4"],
    }
    platform = Platform.from_json(obj)
    assert platform.os_version == "10.0.14393.1066"
    assert platform.to_json() == obj


@pytest.mark.parametrize(
    ("obj", "field"),
    [
        ({"architecture": "amd64"}, "os is missing"),
        ({"os": "linux"}, "architecture is missing"),
        ({"os": "", "architecture": "amd64"}, "os is missing"),
        ({"os": 1, "architecture": "amd64"}, "os is not a string"),
        ({"os": "linux", "architecture": "amd64", "os.features": "x"}, "os.features is not an array"),
        ({"os": "linux", "architecture": "amd64", "os.features": [1]}, r"os.features\[0\] is not a string"),
        ([], "not an object"),
    ],
)
def test_errors_name_the_field(obj, field):
    with pytest.raises(InvalidImageError, match=field):
        Platform.from_json(obj)
