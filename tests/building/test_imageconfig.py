"""From options, and what a base says, to the image's config."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from fastoci.building.config import ConfigOptions, format_time, inherited, make_config
from fastoci.building.steps import Step
from fastoci.errors import UsageError
from fastoci.spec.config import History, ImageConfig
from fastoci.spec.digest import Digest
from fastoci.spec.platform import Platform

ONE, TWO = Digest.of(b"1"), Digest.of(b"2")


def layer(diff_id, newest_mtime):
    return SimpleNamespace(diff_id=diff_id, newest_mtime=newest_mtime)


LAYERS = layer(ONE, 10), layer(TWO, 1700000000)


def config(options, *, epoch=None, layers=LAYERS):
    return json.loads(make_config(options, [str(Step(dest)) for dest in ("/", "/opt/y")], layers, epoch).to_bytes())


def test_everything():
    options = ConfigOptions(
        env={"A": "1", "B": "two words"},
        entrypoint=["sh", "-c"],
        cmd=["x"],
        workdir="srv/../app//",
        user="7:8",
        expose=["80/tcp"],
        volumes=["/data"],
        labels={"k": "v"},
        annotations={"not": "here"},
        stop_signal="SIGTERM",
        author="Me",
        created=0,
        platform=Platform("linux", "arm", "v7"),
    )
    assert config(options) == {
        "architecture": "arm",
        "os": "linux",
        "variant": "v7",
        "author": "Me",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Env": ["A=1", "B=two words"],
            "Entrypoint": ["sh", "-c"],
            "Cmd": ["x"],
            "WorkingDir": "/app",
            "User": "7:8",
            "ExposedPorts": {"80/tcp": {}},
            "Volumes": {"/data": {}},
            "Labels": {"k": "v"},
            "StopSignal": "SIGTERM",
        },
        "rootfs": {"type": "layers", "diff_ids": [str(ONE), str(TWO)]},
        "history": [
            {"created": "1970-01-01T00:00:00Z", "created_by": "COPY . / # fastoci", "comment": "fastoci"},
            {"created": "1970-01-01T00:00:00Z", "created_by": "COPY . /opt/y # fastoci", "comment": "fastoci"},
        ],
    }


def test_nothing_of_this_machine_but_the_platform():
    assert "secret" not in json.dumps(config(ConfigOptions()))
    made = config(ConfigOptions())
    assert made["config"] == {}
    assert f"{made['os']}/{made['architecture']}" in str(Platform.host())


@pytest.mark.parametrize(
    ("created", "epoch", "layers", "expected"),
    [
        (5, 6, (layer(ONE, 7),), 5),
        (None, 6, (layer(ONE, 7),), 6),
        (None, 0, (layer(ONE, 7),), 0),
        (None, None, (layer(ONE, 7), layer(TWO, 3)), 7),
        (None, None, (layer(ONE, None), layer(TWO, -3)), -3),
        (None, None, (layer(ONE, None),), 0),
        (0, 6, (layer(ONE, 7),), 0),
    ],
)
def test_created(created, epoch, layers, expected):
    assert config(ConfigOptions(created=created), epoch=epoch, layers=layers)["created"] == format_time(expected)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1700000000, "2023-11-14T22:13:20Z"),
        (-1, "1969-12-31T23:59:59Z"),
        (-62135596800, "0001-01-01T00:00:00Z"),
        (-(2**62), "0001-01-01T00:00:00Z"),
        (2**62, "9999-12-31T23:59:59Z"),
    ],
)
def test_times(seconds, text):
    assert format_time(seconds) == text


@pytest.mark.parametrize("name", ["SIGTERM", "term", "9", "64", "SIGRTMIN+3", "RTMAX-1"])
def test_signals(name):
    assert config(ConfigOptions(stop_signal=name))["config"]["StopSignal"] == name


@pytest.mark.parametrize("name", ["", "0", "65", "SIGFOO", "SIG", "RTMIN+16", "-9", "٣"])
def test_no_signals(name):
    with pytest.raises(UsageError, match="signal"):
        ConfigOptions(stop_signal=name)


@pytest.mark.parametrize(
    "options",
    [
        {"env": {"A": "\udcff"}},
        {"cmd": ["a\0b"]},
        {"labels": {"\udcff": ""}},
        {"user": "\ud800"},
        {"volumes": ["/\udcff"]},
    ],
)
def test_a_config_is_text(options):
    with pytest.raises(UsageError, match="UTF-8"):
        ConfigOptions(**options)


# --- On a base

BASE = ImageConfig(
    Platform("linux", "amd64", os_version="1"),
    author="Them",
    created="2026-01-01T00:00:00Z",
    env=("PATH=/bin", "A=1"),
    entrypoint=("/base",),
    cmd=("x",),
    working_dir="/srv",
    user="7",
    exposed_ports=("80/tcp",),
    volumes=("/data",),
    labels={"a": "1", "b": "2"},
    stop_signal="SIGINT",
    diff_ids=(Digest.of(b"base"),),
    history=(History(created_by="base"), History(created_by="ENV", empty_layer=True)),
)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"env": {"A": "2", "B": "3"}}, {"Env": ["PATH=/bin", "A=2", "B=3"]}),
        ({"entrypoint": ["/own"]}, {"Entrypoint": ["/own"], "Cmd": None}),
        ({"entrypoint": []}, {"Entrypoint": [], "Cmd": None}),
        ({"entrypoint": ["/own"], "cmd": ["y"]}, {"Entrypoint": ["/own"], "Cmd": ["y"]}),
        ({"cmd": ["y"]}, {"Cmd": ["y"]}),
        ({"workdir": "app"}, {"WorkingDir": "/srv/app"}),
        ({"workdir": "/app"}, {"WorkingDir": "/app"}),
        ({"user": "8"}, {"User": "8"}),
        ({"expose": ["443/tcp", "80/tcp"]}, {"ExposedPorts": {"80/tcp": {}, "443/tcp": {}}}),
        ({"volumes": ["/more"]}, {"Volumes": {"/data": {}, "/more": {}}}),
        ({"labels": {"b": "3", "c": "4"}}, {"Labels": {"a": "1", "b": "3", "c": "4"}}),
        ({"stop_signal": "SIGTERM"}, {"StopSignal": "SIGTERM"}),
    ],
)
def test_what_is_inherited_and_what_overridden(options, expected):
    made = make_config(ConfigOptions(**options), [], [], 0, inherited(BASE)).to_json()
    before = BASE.to_json()["config"]
    assert made["config"] == {key: value for key, value in {**before, **expected}.items() if value is not None}
    assert made["author"] == "Them"
    assert made["created"] == "1970-01-01T00:00:00Z"
    assert made["history"] == BASE.to_json()["history"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, BASE.platform),
        (Platform("linux", "amd64"), BASE.platform),
        (Platform("linux", "arm64"), Platform("linux", "arm64")),
    ],
)
def test_the_platform(wanted, expected):
    assert make_config(ConfigOptions(platform=wanted), [], [], 0, BASE).platform == expected
