"""How a layer came to be, as the image's history says it (config.md, "history"), and as it is read out of there again.

It says what a build was told and nothing of where its trees stood, so that the same trees give the same image anywhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from fastoci.errors import UsageError
from fastoci.layer.options import Split

__all__ = ["Step"]

_FORM = re.compile(
    r"COPY \. (/.*) # fastoci(?:( --diff)| --split ([0-9]{1,15})(B?) ([0-9]{1,4})/([0-9]{1,4}))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Step:
    """What became one layer.

    Attributes:
        dest: Where in the image its source stands.
        diff: Whether the layer is what the source changes of a base.
        split: How the source was spread over several layers; None: the layer is all of it.
        number: Which of these the layer is, from 1, lowest first.
        count: How many these are.
    """

    dest: str
    diff: bool = False
    split: Split | None = None
    number: int = 1
    count: int = 1

    def __str__(self) -> str:
        diff = " --diff" if self.diff else ""
        split = "" if self.split is None else f" --split {self.split} {self.number}/{self.count}"
        return f"COPY . {self.dest} # fastoci{diff}{split}"

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return what a step of a history says; None where no build of fastoci's says so."""
        match = _FORM.fullmatch(text)
        if match is None:
            return None
        dest, diff, value, unit, number, count = match.groups()
        if value is None:
            return cls(dest, diff is not None)
        try:
            split = Split(size=int(value)) if unit else Split(count=int(value))
        except UsageError:
            return None
        if not 1 <= int(number) <= int(count):
            return None
        return cls(dest, diff is not None, split, int(number), int(count))
