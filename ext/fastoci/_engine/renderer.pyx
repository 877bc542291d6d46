# cython: language_level=3, freethreading_compatible=True, embedsignature=True
"""The renderer: any block of a planned layer, written into a buffer, at any time and in any order.

A renderer belongs to one thread; it has descriptors and path buffers of its own and reads entries that are planned,
which no longer change. What it reads of files is what was planned (reader.pyx).
"""

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memset

from fastoci._engine.blocks cimport Block
from fastoci._engine.entry cimport Entry, data_size
from fastoci._engine.fault cimport FAULT_MEMORY
from fastoci._engine.header cimport Header, RECORD, header_fill, header_names, header_write
from fastoci._engine.path cimport PathBuffer, path_free
from fastoci._engine.plan cimport Plan
from fastoci._engine.raising cimport raise_fault
from fastoci._engine.reader cimport FileReader


cdef class Renderer(FileReader):
    """Renders blocks of one plan, for one thread.

    Args:
        plan: The plan; it and its table stay alive as long as the renderer.
    """

    cdef readonly Plan plan
    cdef PathBuffer path
    cdef PathBuffer link

    def __cinit__(self, Plan plan not None):
        self.plan = plan
        self.begin(plan.table)

    def __dealloc__(self):
        path_free(&self.path)
        path_free(&self.link)

    def render(self, uint64_t number, buffer):
        """Write block `number` to the start of `buffer` and return its size in bytes.

        Args:
            number: Which block, from 0.
            buffer: A writable, contiguous buffer with room for the plan's block size.

        Raises:
            EngineFault: A file could not be read, or is not what was scanned.
            ValueError: The buffer is too small, or the table was closed.
        """
        cdef Py_buffer view
        cdef Block block
        cdef bint done
        if not self.plan.begin_block(number, &block):
            raise IndexError(number)
        if self.plan.table.root_fd < 0:
            raise ValueError("the table is closed")
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
        try:
            if view.len < block.size:
                raise ValueError(f"a buffer of {view.len} bytes is too small for a block of {block.size}")
            with nogil:
                done = self._render(&block, <char *>view.buf)
        finally:
            PyBuffer_Release(&view)
        if not done:
            raise_fault(&self.fault)
        return block.size

    cdef void note_wait(self) noexcept nogil:
        """Say so to whoever reads ahead."""
        self.plan.note_cold()

    cdef bint _render(self, const Block *block, char *out) noexcept nogil:
        cdef const Entry *entry = block.entry
        cdef uint64_t number = block.first
        cdef int64_t offset = block.data_offset
        cdef int64_t at = 0, size, gap
        while True:
            if entry == NULL:
                # The trailer: nothing but zeros to the end of the last block.
                memset(out + at, 0, block.size - at)
                return True
            if offset < 0:
                if not self._write_headers(entry, out + at):
                    return False
                at += entry.header_size
                offset = 0
            size = min(data_size(entry) - offset, <int64_t>block.size - at)
            if size > 0:
                if not self.read(entry, offset, out + at, size):
                    return False
                at += size
                offset += size
                if offset == entry.size:
                    gap = -offset & (RECORD - 1)
                    memset(out + at, 0, gap)
                    at += gap
            if at == block.size:
                # What comes after the block may not have been scanned yet.
                return True
            entry = self.plan.following(entry, &number)
            offset = -1

    cdef bint _write_headers(self, const Entry *entry, char *out) noexcept nogil:
        cdef Header header
        header_fill(&header, entry, &self.plan.policy)
        if not header_names(&header, &self.path, &self.link):
            return self.fail(FAULT_MEMORY, 0, entry, 0)
        header_write(&header, out, entry.header_size)
        return True
