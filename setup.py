"""The native engine's extensions; all else about the build stands in pyproject.toml.

FASTOCI_SANITIZE=1 in the environment builds them for AddressSanitizer and UndefinedBehaviorSanitizer (.ci/sanitize).
"""

import os
from pathlib import Path

from setuptools import Extension, setup

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
