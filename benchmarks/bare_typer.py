"""A Typer application that does nothing, with as many options as another: what `--help` costs at least.

python bare_typer.py KINDS --help      a letter an option: t text, m many texts, f flag, n number, c choice
"""

from __future__ import annotations

import inspect
import sys
from typing import Annotated, Any, Literal

import typer

_KINDS: dict[str, Any] = {
    "t": str | None,
    "m": list[str] | None,
    "f": bool,
    "n": int,
    "c": Literal["one", "two", "three"],
}
_DEFAULTS = {"f": False, "n": 1, "c": "one"}


def main() -> None:
    """Run it."""
    kinds = sys.argv.pop(1)
    parameters = [
        inspect.Parameter(
            f"option_{number}",
            inspect.Parameter.KEYWORD_ONLY,
            default=_DEFAULTS.get(kind),
            annotation=Annotated[_KINDS[kind], typer.Option(f"--option-{number}", help="What it is good for, a line.")],
        )
        for number, kind in enumerate(kinds)
    ]

    def command(**values: object) -> None:
        """Do nothing with all of them."""

    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # read by inspect.signature
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command()(command)
    app()


if __name__ == "__main__":
    main()
