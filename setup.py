"""The native engine's extensions; all else about the build stands in pyproject.toml.

FASTOCI_SANITIZE=1 in the environment builds them for AddressSanitizer and UndefinedBehaviorSanitizer (.ci/sanitize).
"""

import importlib.util
import os
import sys
from pathlib import Path

import setuptools
from setuptools import Extension, setup

# pip brings these by itself. Run by hand, an older setuptools stumbles over pyproject.toml with another complaint, or
# none that is seen with -q, and without Cython it looks for C files that nobody has written.
NEEDED = 77
if int(setuptools.__version__.partition(".")[0]) < NEEDED:
    sys.exit(
        f"error: setuptools {setuptools.__version__} is too old to build fastoci\n"
        f"cause: pyproject.toml is read by {NEEDED} and newer\n"
        "hint:  python -m pip install -U setuptools cython"
    )
if importlib.util.find_spec("Cython") is None:
    sys.exit("error: there is no Cython to build fastoci with\nhint:  python -m pip install 'cython>=3.1,<4'")

ENGINE = Path("ext/fastoci/_engine")

COMPILE_ARGS = ["-O3", "-g0", "-fno-strict-aliasing", "-fvisibility=hidden", "-pthread"]
LINK_ARGS = ["-pthread"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

if os.environ.get("FASTOCI_SANITIZE") == "1":
    COMPILE_ARGS = ["-O1", "-g1", "-fno-omit-frame-pointer", "-fno-strict-aliasing", "-pthread", *SANITIZERS]
    LINK_ARGS += SANITIZERS

setup(
    ext_modules=[
        Extension(
            f"fastoci._engine.{source.stem}",
            [str(source)],
            include_dirs=["ext"],
            define_macros=[("_FILE_OFFSET_BITS", "64"), ("_GNU_SOURCE", "1")],
            extra_compile_args=COMPILE_ARGS,
            extra_link_args=LINK_ARGS,
        )
        for source in sorted(ENGINE.glob("*.pyx"))
    ],
    # As keywords of Extension these would be dropped: setuptools knows them as options of the command alone.
    options={"build_ext": {"cython_c_in_temp": True, "cython_include_dirs": ["ext"]}},
)
