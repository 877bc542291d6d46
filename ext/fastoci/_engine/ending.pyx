# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""Ends that no signal makes a caller miss.

Python looks for signals where one of its functions begins and where a call has returned, and what a handler raises
there, as KeyboardInterrupt, is raised there: before the first line of an `__exit__`, or between a descriptor and the
name that it was to get. Native code is not looked into. That is all that these two classes are native for; they know
no policy, and the threads that touch them are their owners'.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EINTR, errno
from posix.unistd cimport close

import io
import os
import sys
from time import monotonic

cdef extern from "<fcntl.h>" nogil:
    int AT_FDCWD
    int O_CLOEXEC
    int openat(int directory, const char *name, int flags, unsigned int mode)

cdef double INSISTING = 2.0  # seconds after a first interruption, from which on another one ends the ending as well


cdef class Ending:
    """A context manager whose end is not missed. A subclass says what begins and what ends.

    `end` may be interrupted anywhere (by KeyboardInterrupt, SystemExit or whatever else is no Exception), and is then
    called again until it has come to its end; the interruption is raised afterwards. One that comes two seconds after
    the first is insisted upon, and raised at once.

    Attributes:
        failed: Within `end`: whether an exception is on its way, which may be an interruption of `end` itself.
    """

    cdef readonly bint failed

    def begin(self):
        """Begin; what it returns is what `with ... as` gets, None for the object itself. What fails is ended."""

    def end(self):
        """End, which may have been begun already, or never."""
        raise NotImplementedError

    def __enter__(self):
        try:
            begun = self.begin()
        except BaseException:
            self._end(True)
            raise
        return self if begun is None else begun

    def __exit__(self, kind, value, traceback):
        self._end(kind is not None)

    def close(self):
        """End it without a `with`. Closing twice does nothing."""
        self._end(False)

    cdef int _end(self, bint failed) except -1:
        self.failed = failed
        try:
            self.end()
        except Exception:
            raise
        except BaseException:
            self._end_again(monotonic())
            raise

    cdef int _end_again(self, double interrupted) except -1:
        """Call `end` until it has not been interrupted. What it fails with then is less than the interruption."""
        self.failed = True
        while True:
            try:
                self.end()
            except Exception:
                return 0
            except BaseException:
                if monotonic() - interrupted > INSISTING:
                    raise
            else:
                return 0


cdef class OpenFile:
    """A descriptor that is closed when nobody has it any more, if it was not before. A context manager.

    Args:
        path: What to open, relative to `directory`.
        flags: As open(2) has them; O_CLOEXEC is added.
        mode: Of a file that is made, less the umask.
        directory: A descriptor of a directory; None: the working directory.

    Attributes:
        fd: The descriptor, -1 when it is closed.

    Raises:
        OSError: It cannot be opened.
        ValueError: The path holds a NUL.
    """

    cdef readonly int fd

    def __cinit__(self):
        self.fd = -1

    def __init__(self, path, int flags, int mode=0o666, *, directory=None):
        cdef bytes name = os.fsencode(path)
        cdef const char *text = name
        cdef int above = AT_FDCWD if directory is None else directory
        cdef int error = EINTR
        if b"\0" in name:
            raise ValueError("embedded null byte")
        self.close()
        sys.audit("open", path, None, flags)
        while error == EINTR:
            PyErr_CheckSignals()
            with nogil:
                self.fd = openat(above, text, flags | O_CLOEXEC, mode)
                error = errno if self.fd < 0 else 0
        if error:
            raise OSError(error, os.strerror(error), path)

    def stream(self, mode="rb", buffering=-1):
        """Return a stream of it, as `open` does; it owns the descriptor from now on."""
        stream = io.open(self.fd, mode, buffering)
        self.fd = -1
        return stream

    def close(self):
        """Close it. Closing twice does nothing."""
        cdef int fd = self.fd
        self.fd = -1
        if fd >= 0:
            with nogil:
                close(fd)

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        self.close()
