from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastoci.errors import InvalidImageError
from fastoci.spec.config import History, ImageConfig
from fastoci.spec.digest import Digest
from fastoci.spec.platform import Platform

DIGEST = "sha256:" + "a" * 64
MINIMAL = {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [DIGEST]}}

# The example of config.md, "Example", and what docker adds of its own.
WHOLE = {
    "created": "2015-10-31T22:22:56.015925234Z",
    "author": "Alyssa P. Hacker <alyspdev@example.com>",
    "architecture": "amd64",
    "os": "linux",
    "config": {
        "User": "alice",
        "ExposedPorts": {"8080/tcp": {}},
        "Env": ["PATH=/usr/bin:/bin", "FOO=oci_is_a", "BAR=well_written_spec"],
        "Entrypoint": ["/bin/my-app-binary"],
        "Cmd": ["--foreground", "--config", "/etc/my-app.d/default.cfg"],
        "Volumes": {"/var/job-result-data": {}, "/var/log/my-app-logs": {}},
        "WorkingDir": "/home/alice",
        "Labels": {"com.example.project.git.url": "https://example.com/project.git"},
        "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 30000000000},
        "OnBuild": None,
    },
    "rootfs": {"diff_ids": [DIGEST, "sha256:" + "b" * 64], "type": "layers"},
    "history": [
        {"created": "2015-10-31T22:22:54.690851953Z", "created_by": "/bin/sh -c #(nop) ADD file in /"},
        {"created_by": "/bin/sh -c #(nop) CMD", "empty_layer": True, "x": 1},
    ],
    "docker_version": "20.10.24",
    "container_config": {"Hostname": "x"},
}


def test_everything_comes_back():
    config = ImageConfig.from_json(WHOLE)
    assert config.platform == Platform("linux", "amd64")
    assert config.exposed_ports == ("8080/tcp",)
    assert config.volumes == ("/var/job-result-data", "/var/log/my-app-logs")
    assert config.diff_ids[0] == Digest.parse(DIGEST)
    assert config.history[1] == History(created_by="/bin/sh -c #(nop) CMD", empty_layer=True, extra={"x": 1})
    assert config.to_json() == WHOLE
    assert ImageConfig.from_bytes(config.to_bytes()) == config


def test_a_new_config_is_canonical():
    config = ImageConfig(
        platform=Platform("linux", "arm", "v7"),
        env=("A=b",),
        entrypoint=(),
        cmd=("x",),
        labels={"z": "1", "a": "2"},
        diff_ids=(Digest.parse(DIGEST),),
        history=(History(created_by="me"),),
    )
    assert config.to_bytes() == (
        b'{"architecture":"arm","config":{"Cmd":["x"],"Entrypoint":[],"Env":["A=b"],"Labels":{"a":"2","z":"1"}},'
        b'"history":[{"created_by":"me"}],"os":"linux","rootfs":{"diff_ids":["' + DIGEST.encode() + b'"],'
        b'"type":"layers"},"variant":"v7"}'
    )
    assert ImageConfig.from_bytes(config.to_bytes()) == config


def test_what_go_writes_for_nothing():
    config = ImageConfig.from_json(
        {
            **MINIMAL,
            "config": {"Env": None, "Cmd": None, "Entrypoint": None, "Volumes": None, "Labels": None},
            "rootfs": {"type": "layers", "diff_ids": None},
            "history": None,
            "created": None,
        }
    )
    assert config == ImageConfig(Platform("linux", "amd64"))
    assert ImageConfig.from_json({**MINIMAL, "config": None}) == ImageConfig.from_json(MINIMAL)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"os": None}, "os is missing"),
        ({"architecture": ""}, "architecture is missing"),
        ({"rootfs": None}, "rootfs is missing"),
        ({"rootfs": []}, "rootfs is not an object"),
        ({"rootfs": {"diff_ids": []}}, "rootfs: type is missing"),
        ({"rootfs": {"type": "tarballs", "diff_ids": []}}, "rootfs: type is not 'layers'"),
        ({"rootfs": {"type": "layers", "diff_ids": ["x"]}}, r"diff_ids\[0\] is not a digest"),
        ({"rootfs": {"type": "layers", "diff_ids": [1]}}, r"diff_ids\[0\] is not a string"),
        ({"config": []}, "config is not an object"),
        ({"config": {"Env": "A=b"}}, "config: Env is not an array"),
        ({"config": {"Cmd": [None]}}, r"config: Cmd\[0\] is not a string"),
        ({"config": {"ExposedPorts": ["80/tcp"]}}, "ExposedPorts is not an object"),
        ({"config": {"Labels": {"a": 1}}}, r"Labels\['a'\] is not a string"),
        ({"history": {}}, "history is not an array"),
        ({"history": [1]}, r"history\[0\] is not an object"),
        ({"history": [{"empty_layer": 1}]}, r"history\[0\]: empty_layer is not true or false"),
        ({"created": 1}, "created is not a string"),
    ],
)
def test_errors_name_the_field(change, why):
    with pytest.raises(InvalidImageError, match=why):
        ImageConfig.from_json({**MINIMAL, **change})


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
MAYBE = st.none() | TEXT


@given(
    st.builds(
        ImageConfig,
        platform=st.just(Platform("linux", "amd64")),
        author=MAYBE,
        created=MAYBE,
        env=TEXTS,
        entrypoint=st.none() | TEXTS,
        cmd=st.none() | TEXTS,
        working_dir=MAYBE,
        user=MAYBE,
        exposed_ports=st.lists(TEXT, unique=True, max_size=3).map(sorted).map(tuple),
        volumes=st.lists(TEXT, unique=True, max_size=3).map(sorted).map(tuple),
        labels=st.dictionaries(TEXT, TEXT, max_size=3),
        stop_signal=MAYBE,
        diff_ids=st.lists(st.binary(max_size=3).map(Digest.of), max_size=3).map(tuple),
        history=st.lists(
            st.builds(
                History, created=MAYBE, created_by=MAYBE, comment=MAYBE, empty_layer=st.booleans(), extra=st.just({})
            ),
            max_size=3,
        ).map(tuple),
        extra=st.just({}),
        config_extra=st.just({}),
        rootfs_extra=st.just({}),
    )
)
def test_round_trip(config):
    data = config.to_bytes()
    assert ImageConfig.from_bytes(data) == config
    assert json.loads(data) == config.to_json()
