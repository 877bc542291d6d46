"""The command line. `main` answers `--version` itself; everything else is imported only when it is needed."""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_COLLECTOR_THRESHOLD = 50_000


def main() -> None:
    """Run fastoci with the arguments of this process, and end the process with the exit code of what happened."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        from fastoci.version import __version__

        try:
            sys.stdout.write(f"fastoci {__version__}\n")
            sys.stdout.flush()
            sys.exit(0)
        except (AttributeError, OSError):
            pass  # there is none, or nobody takes it: what comes below has the words for that
    import gc

    # Imports make thousands of objects that stay: with the default of 700 the collector looks through them again and
    # again, for a tenth of a short command's time.
    gc.set_threshold(_COLLECTOR_THRESHOLD, 20, 20)
    try:
        from fastoci.cli.app import run

        code = run(arguments)
    except KeyboardInterrupt:
        # Before a command has handlers of its own.
        sys.stderr.write("error: interrupted\n")
        code = 130
    _end(code)


def _end(code: int) -> None:
    """End the process without taking all of its objects apart, which costs a short command a tenth of its time.

    Whatever holds a file or a thread has ended by now.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        # There is none, or nobody takes what is left: Python knows what to say then.
        sys.exit(code)
    os._exit(code)
