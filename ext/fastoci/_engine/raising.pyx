# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""From a fault in C to the exception that Python sees."""

from fastoci._engine import EngineFault
from fastoci._engine.fault cimport FAULT_MEMORY, FAULT_NONE, Fault, fault_clear

_KINDS = (
    "",
    "",
    "open directory",
    "read directory",
    "stat",
    "read link",
    "xattr",
    "xattr name",
    "whiteout name",
    "open",
    "read",
    "changed",
    "headers",
    "write",
    "size",
)


cdef int raise_fault(Fault *fault) except -1:
    """Raise what the fault says and forget it; return 0 where there is none."""
    if fault.kind == FAULT_NONE:
        return 0
    if fault.kind == FAULT_MEMORY:
        fault_clear(fault)
        raise MemoryError("the engine got no memory for its tables")
    cdef bytes path = fault.path[:fault.path_size] if fault.path != NULL else b""
    error = EngineFault(_KINDS[<int>fault.kind], path, fault.error, fault.expected, fault.found)
    fault_clear(fault)
    raise error
