# cython: language_level=3
from fastoci._engine.fault cimport Fault

cdef int raise_fault(Fault *fault) except -1
