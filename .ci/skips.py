# noqa: INP001 - a script, and no part of a package
"""Reads pytest's junit reports: `skips.py REPORT...` fails where a real part was missing, `--summary` sums them up."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

# Reasons with this at their front are no fault of the machine: no package has the part.
LEFT_OUT = "left out: "


def cases(reports: list[str]) -> list[ET.Element]:
    """Return every test case of some reports; one that was not written has none."""
    found: list[ET.Element] = []
    for report in reports:
        if Path(report).exists():
            found.extend(ET.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it a moment ago
    return found


def is_missing_part(case: ET.Element, reason: str) -> bool:
    """Return whether a skipped test is one that this machine should have run."""
    if reason.startswith(LEFT_OUT):
        return False
    return ".e2e." in case.get("classname", "") or "apt-get install" in reason or "not on PATH" in reason


def list_skips(reports: list[str]) -> int:
    """Print what was skipped, and return the exit code."""
    found = cases(reports)
    if not found:
        sys.stdout.write("no test has run\n")
        return 1
    bad = 0
    for case in found:
        skipped = case.find("skipped")
        if skipped is None or skipped.get("type") == "pytest.xfail":
            continue
        reason = skipped.get("message", "")
        missing = is_missing_part(case, reason)
        bad += missing
        word = "MISSING" if missing else "skipped"
        sys.stdout.write(f"{word}  {case.get('classname')}::{case.get('name')}: {reason}\n")
    return 1 if bad else 0


def summarize(reports: list[str]) -> None:
    """Print how many tests passed, failed and were skipped, as pytest does at its end."""
    counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
    seconds = 0.0
    for case in cases(reports):
        seconds += float(case.get("time", "0"))
        if case.find("failure") is not None:
            counts["failed"] += 1
        elif case.find("error") is not None:
            counts["errors"] += 1
        elif case.find("skipped") is not None:
            counts["skipped"] += 1
        else:
            counts["passed"] += 1
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count or word == "passed")
    sys.stdout.write(f"===== {said} in {seconds:.2f}s =====\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--summary"]:
        summarize(sys.argv[2:])
    else:
        sys.exit(list_skips(sys.argv[1:]))
