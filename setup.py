"""The native engine's extensions; all else about the build stands in pyproject.toml."""

from pathlib import Path

from setuptools import Extension, setup

ENGINE = Path("ext/fastoci/_engine")

COMPILE_ARGS = ["-O3", "-g0", "-fno-strict-aliasing", "-fvisibility=hidden", "-pthread"]

setup(
    ext_modules=[
        Extension(
            f"fastoci._engine.{source.stem}",
            [str(source)],
            include_dirs=["ext"],
            define_macros=[("_FILE_OFFSET_BITS", "64"), ("_GNU_SOURCE", "1")],
            extra_compile_args=COMPILE_ARGS,
            extra_link_args=["-pthread"],
        )
        for source in sorted(ENGINE.glob("*.pyx"))
    ],
    # As keywords of Extension these would be dropped: setuptools knows them as options of the command alone.
    options={"build_ext": {"cython_c_in_temp": True, "cython_include_dirs": ["ext"]}},
)
