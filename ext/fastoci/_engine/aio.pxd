# cython: language_level=3
"""Many small reads handed to the kernel at once, so that those of neighbours become one request to the disk.

io_submit(2) holds back what it sends to the disk until it has gone through all that it was given. The reads are such as
do not wait (RWF_NOWAIT): what is in the page cache is copied, and of what is not the kernel begins to read and says
EAGAIN. Nobody waits for it here. Measured, 100,000 files of 1 to 8 KB in the order of their inodes: 93,000 requests to
the disk when asked for one by one, 3,800 in batches of 64.
"""

from libc.errno cimport EAGAIN
from libc.string cimport memset
from posix.unistd cimport close

cdef extern from *:
    """
    #include <linux/aio_abi.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    #ifndef RWF_NOWAIT
    #define RWF_NOWAIT 8
    #endif

    static inline long fastoci_io_setup(unsigned count, aio_context_t *context) {
        return syscall(SYS_io_setup, count, context);
    }
    static inline long fastoci_io_submit(aio_context_t context, long count, struct iocb **requests) {
        return syscall(SYS_io_submit, context, count, requests);
    }
    static inline long fastoci_io_getevents(aio_context_t context, long least, long most, struct io_event *events) {
        return syscall(SYS_io_getevents, context, least, most, events, (void *)0);
    }
    static inline void fastoci_io_destroy(aio_context_t context) {
        syscall(SYS_io_destroy, context);
    }
    static inline void fastoci_prepare_read(struct iocb *request, int fd, void *buffer, size_t size) {
        request->aio_lio_opcode = IOCB_CMD_PREAD;
        request->aio_rw_flags = RWF_NOWAIT;
        request->aio_fildes = fd;
        request->aio_buf = (unsigned long long)(size_t)buffer;
        request->aio_nbytes = size;
    }
    """
    ctypedef unsigned long aio_context_t
    struct iocb:
        pass
    struct io_event:
        long long res
    long io_setup "fastoci_io_setup"(unsigned count, aio_context_t *context) nogil
    long io_submit "fastoci_io_submit"(aio_context_t context, long count, iocb **requests) nogil
    long io_getevents "fastoci_io_getevents"(aio_context_t context, long least, long most, io_event *events) nogil
    void io_destroy "fastoci_io_destroy"(aio_context_t context) nogil
    void prepare_read "fastoci_prepare_read"(iocb *request, int fd, void *buffer, size_t size) nogil

cdef enum:
    BATCH_SIZE = 64         # reads at once, and so descriptors
    BATCH_READ = 16 * 1024  # bytes, the most that one read may ask for

cdef struct Batch:
    aio_context_t context
    int count
    int fds[BATCH_SIZE]
    iocb requests[BATCH_SIZE]
    char unread[BATCH_READ]     # what was in the page cache goes here, and nowhere from here

cdef inline bint batch_init(Batch *batch) noexcept nogil:
    """Get ready; False where the kernel has no such calls, denies them, or has no room for more of them."""
    batch.context = 0
    batch.count = 0
    return io_setup(BATCH_SIZE, &batch.context) == 0

cdef inline void batch_add(Batch *batch, int fd, size_t size) noexcept nogil:
    """Add the first `size` bytes of a file, which is the batch's to close; there must be room for it."""
    memset(&batch.requests[batch.count], 0, sizeof(iocb))
    prepare_read(&batch.requests[batch.count], fd, batch.unread, size)
    batch.fds[batch.count] = fd
    batch.count += 1

cdef inline int batch_read(Batch *batch) noexcept nogil:
    """Ask for all that was added, and forget it. Returns how many were not in the page cache, -1 if it cannot be done."""
    cdef iocb *requests[BATCH_SIZE]
    cdef io_event events[BATCH_SIZE]
    cdef int number, cold = 0
    cdef long submitted = 0, got
    for number in range(batch.count):
        requests[number] = &batch.requests[number]
    while submitted < batch.count:
        got = io_submit(batch.context, batch.count - submitted, requests + submitted)
        if got <= 0:
            break
        submitted += got
    got = io_getevents(batch.context, submitted, submitted, events) if submitted else 0
    for number in range(<int>max(got, 0)):
        cold += events[number].res == -EAGAIN
    for number in range(batch.count):
        close(batch.fds[number])
    number = batch.count
    batch.count = 0
    return cold if submitted == number else -1

cdef inline void batch_free(Batch *batch) noexcept nogil:
    """Close what was added and not asked for."""
    cdef int number
    for number in range(batch.count):
        close(batch.fds[number])
    io_destroy(batch.context)
