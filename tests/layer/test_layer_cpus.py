"""How many CPUs there are to use."""

from __future__ import annotations

import os

import pytest

from fastoci.layer import cpus
from fastoci.layer.cpus import available_cpus


@pytest.fixture
def groups(tmp_path):
    """A hierarchy of control groups, version 2, with this process in /outer/inner."""
    (tmp_path / "cgroup/outer/inner").mkdir(parents=True)
    (tmp_path / "membership").write_text("0::/outer/inner\n")
    return tmp_path


def quota(groups, **limits):
    for name, value in limits.items():
        where = {"root": "cgroup", "outer": "cgroup/outer", "inner": "cgroup/outer/inner"}[name]
        (groups / where / "cpu.max").write_text(value)
    return cpus._quota_v2(groups / "cgroup", groups / "membership")


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, None),
        ({"inner": "max 100000\n"}, None),
        ({"inner": "150000 100000\n"}, 1.5),
        ({"inner": "max 100000\n", "outer": "50000 100000\n"}, 0.5),
        ({"inner": "400000 100000\n", "outer": "200000 100000\n", "root": "300000 100000\n"}, 2),
        ({"inner": "nonsense\n", "outer": "200000 100000\n"}, 2),
    ],
)
def test_the_smallest_quota_on_the_way_up(groups, limits, expected):
    assert quota(groups, **limits) == expected


def test_no_control_groups(tmp_path):
    assert cpus._quota_v2(tmp_path, tmp_path / "nothing") is None
    (tmp_path / "membership").write_text("4:cpu:/somewhere\n")
    assert cpus._quota_v2(tmp_path, tmp_path / "membership") is None
    assert cpus._quota_v1(tmp_path) is None


def test_a_group_that_cannot_be_seen_from_here(groups):
    (groups / "membership").write_text("0::/../../elsewhere\n")
    assert quota(groups, root="300000 100000\n") == 3


@pytest.mark.parametrize(("value", "expected"), [("-1", None), ("0", None), ("250000", 2.5), ("x", None)])
def test_version_1(tmp_path, value, expected):
    (tmp_path / "cpu.cfs_quota_us").write_text(value)
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus._quota_v1(tmp_path) == expected


@pytest.mark.parametrize(
    ("affinity", "v1", "v2", "expected"),
    [(8, None, None, 8), (8, None, 1.5, 2), (8, 0.1, None, 1), (2, 5, 7, 2), (8, 3, 4.5, 3)],
)
def test_the_least_of_all(monkeypatch, affinity, v1, v2, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(affinity)))
    monkeypatch.setattr(cpus, "_quota_v1", lambda: v1)
    monkeypatch.setattr(cpus, "_quota_v2", lambda: v2)
    assert available_cpus() == expected


def test_this_machine():
    assert 1 <= available_cpus() <= len(os.sched_getaffinity(0))
