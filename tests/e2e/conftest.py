"""Fixtures of the end-to-end tests, and the logs of the real parts beside each failure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from realparts.engines import docker, podman
from realparts.processes import RUNNING
from realparts.program import fastoci
from realparts.registries import (
    debian_registry,
    htpasswd_registry,
    open_registry,
    registry_program,
    tls_registry,
    token_registry,
)
from realparts.trees import hello_tree, odd_tree

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = [
    "debian_registry",
    "docker",
    "fastoci",
    "hello_tree",
    "htpasswd_registry",
    "odd_tree",
    "open_registry",
    "podman",
    "registry_program",
    "tls_registry",
    "token_registry",
]

TAIL = 6000  # characters of each log that are shown

_marks: dict[str, int] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here, so that `-m 'not e2e'` leaves it out."""
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.e2e)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Remember where each log stands before a test."""
    _marks.clear()
    _marks.update({daemon.name: daemon.log.stat().st_size for daemon in RUNNING})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the real parts said during a test that failed."""
    report = yield
    if report.failed:
        for daemon in RUNNING:
            said = daemon.text(_marks.get(daemon.name, 0))
            if said:
                report.sections.append((f"log of {daemon.name} ({daemon.log})", said[-TAIL:]))
    return report
