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
    _begin_in_utf8()
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


def _begin_in_utf8() -> None:
    """Begin again in UTF-8 mode where the locale has another encoding.

    What the user writes goes into images and is compared with names of files, all of which are UTF-8; and the same
    command shall make the same image in every locale. Python has no way to change its mind (PEP 540).
    """
    if sys.getfilesystemencoding() != "utf-8" and sys.executable:
        os.execv(  # noqa: S606 - the interpreter that runs this, and no shell
            sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]]
        )


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
