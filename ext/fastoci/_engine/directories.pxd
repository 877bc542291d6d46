# cython: language_level=3
"""What directories are to be in the end: the part of it that other modules of the engine use."""

from fastoci._engine.fault cimport Fault
from fastoci._engine.later cimport Later, Laters
from fastoci._engine.way cimport Way

cdef class Directories:
    cdef Laters laters
    cdef list entries
    cdef Later *_find(self, bytes path, bint add) except? NULL
    cdef Later *_next(self, Way *way, Later *at, bint keep, Fault *fault) noexcept nogil
