"""How many CPUs this process may use: its affinity, and the quota of the control groups it is in."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_cpus"]

_CGROUPS = Path("/sys/fs/cgroup")


def available_cpus() -> int:
    """Return the number of CPUs, at least 1; a quota of one and a half CPUs is two."""
    allowed = len(os.sched_getaffinity(0))
    quotas = [quota for quota in (_quota_v2(), _quota_v1()) if quota is not None]
    return max(1, min([allowed, *(math.ceil(quota) for quota in quotas)]))


def _quota_v2(root: Path = _CGROUPS, membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the smallest quota from this process's control group up to the root, in CPUs (cgroup-v2.rst, cpu.max)."""
    try:
        line = next(line for line in membership.read_text().splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        return None
    group = root / line[3:].lstrip("/")
    quotas = []
    for directory in (group, *group.parents):
        try:
            quota, period = (directory / "cpu.max").read_text().split()
            if quota != "max":
                quotas.append(int(quota) / int(period))
        except (OSError, ValueError):
            pass
        if directory == root:
            break
    return min(quotas, default=None)


def _quota_v1(directory: Path = _CGROUPS / "cpu") -> float | None:
    """Return the quota that control groups of version 1 show inside a container, in CPUs."""
    try:
        quota = int((directory / "cpu.cfs_quota_us").read_text())
        period = int((directory / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
