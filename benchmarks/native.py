"""The benchmarks' own C (`native.c`), compiled by the machine's compiler when it is first needed, and called by ctypes.

A walk in Python would measure the interpreter. The compiler is there wherever fastoci was installed from its source.
"""

from __future__ import annotations

import array
import ctypes
import functools
import hashlib
import os
import statistics
import subprocess
import sysconfig
import tempfile
from dataclasses import dataclass
from typing import Final

__all__ = ["OPEN", "READ", "STAT", "XATTRS", "Bf16", "Found", "Noise", "walk"]

STAT: Final = 1
XATTRS: Final = 2
OPEN: Final = 4
READ: Final = 8

_SOURCE = os.path.join(os.path.dirname(__file__), "native.c")
_QUANTILES = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk found, and the CPU seconds it took."""

    entries: int
    files: int
    bytes: int
    seconds: float


class _Found(ctypes.Structure):
    _fields_ = (
        ("entries", ctypes.c_uint64),
        ("files", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("seconds", ctypes.c_double),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    with open(_SOURCE, "rb") as file:
        version = hashlib.sha256(file.read()).hexdigest()[:16]
    directory = os.environ.get("FASTOCI_BENCH_DIR") or tempfile.gettempdir()
    path = os.path.join(directory, f"fastoci-bench-native-{os.getuid()}-{version}.so")
    # Whoever may write to the directory for temporary files must not be able to choose the code that is loaded.
    handle, draft = tempfile.mkstemp(dir=directory)
    os.close(handle)
    try:
        compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
        subprocess.run([compiler, "-O3", "-shared", "-fPIC", "-w", "-o", draft, _SOURCE], check=True)
        os.rename(draft, path)
        library = ctypes.CDLL(path)
    finally:
        for name in (draft, path):
            if os.path.exists(name):
                os.unlink(name)
    library.bench_walk.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(_Found))
    library.bench_noise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(ctypes.c_uint64))
    library.bench_noise.restype = None
    library.bench_bf16.argtypes = (
        ctypes.c_void_p,
        ctypes.c_size_t,
        ctypes.c_float,
        ctypes.c_void_p,
        ctypes.POINTER(ctypes.c_uint64),
    )
    library.bench_bf16.restype = None
    return library


def walk(path: str, what: int) -> Found:
    """Walk all below `path`, and do with each entry what the flags say."""
    found = _Found()
    failed = _library().bench_walk(os.fsencode(path), what, ctypes.byref(found))
    if failed:
        raise OSError(failed, os.strerror(failed), path)
    return Found(found.entries, found.files, found.bytes, found.seconds)


class Noise:
    """Bytes that nothing compresses."""

    def __init__(self, seed: int) -> None:
        self._state = ctypes.c_uint64(seed)

    def fill(self, buffer: bytearray) -> None:
        """Fill the buffer, whose size is a multiple of 8."""
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        _library().bench_noise(ctypes.byref(view), len(buffer) // 8, ctypes.byref(self._state))


class Bf16:
    """Normal numbers in bfloat16, as a trained model's weights are."""

    def __init__(self, seed: int) -> None:
        self._state = ctypes.c_uint64(seed)
        normal = statistics.NormalDist()
        # The distribution is even, and half of the quantiles cost half of the time.
        half = [normal.inv_cdf((number + 0.5) / _QUANTILES) for number in range(_QUANTILES // 2)]
        self._normal = array.array("f", [*half, *(-value for value in reversed(half))])

    def fill(self, buffer: bytearray, deviation: float) -> None:
        """Fill the buffer, whose size is even."""
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        _library().bench_bf16(
            ctypes.byref(view), len(buffer) // 2, deviation, self._normal.buffer_info()[0], ctypes.byref(self._state)
        )
