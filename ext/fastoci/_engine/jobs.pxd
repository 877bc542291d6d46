# cython: language_level=3
"""What is to be made, in a queue between the thread that takes it from a tar stream and those that make it.

A job owns its bytes, and counts as one of those that hold its directory, whose descriptor is closed by whoever lets go
of it last. The lock guards the queue, what is counted, and what went wrong first.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from posix.unistd cimport close

from fastoci._engine.fault cimport FAULT_MEMORY, FAULT_WRITE, Fault, fault_clear
from fastoci._engine.plain cimport Plain, PlainKind
from fastoci._engine.pthread cimport (
    pthread_cond_broadcast,
    pthread_cond_destroy,
    pthread_cond_init,
    pthread_cond_signal,
    pthread_cond_t,
    pthread_cond_wait,
    pthread_mutex_destroy,
    pthread_mutex_init,
    pthread_mutex_lock,
    pthread_mutex_t,
    pthread_mutex_unlock,
)

cdef enum:
    JOBS_BATCH = 16             # that one thread takes, or is given, at once
    JOBS_MOST = 512             # that wait or are being written
    JOBS_BYTES = 1 << 23        # the same in bytes of data
    JOBS_DIRECTORIES = 128      # whose descriptors are held, for them and on the way to what is read

cdef struct Directory:
    int fd
    size_t holders
    size_t size
    char *path                  # from the root, with a slash at its end; stands behind this

cdef struct Job:
    Job *next
    Directory *directory
    PlainKind kind
    uint32_t mode
    uint32_t uid
    uint32_t gid
    int64_t mtime               # seconds
    size_t size                 # of the data
    size_t name_size
    char *name                  # ended by a NUL; stands behind this
    uint8_t *data               # of a file; or a link's target, ended by a NUL; stands behind the name

cdef struct Batch:
    Job *first                  # of one directory, given to the threads together
    Job *last
    size_t count
    size_t bytes

cdef struct Jobs:
    pthread_mutex_t lock
    pthread_cond_t work         # there is a job, or will be none any more
    pthread_cond_t done         # there is room, or a directory was let go
    Job *first
    Job *last
    size_t waiting              # jobs in the queue
    size_t count                # and those that are being written
    size_t bytes
    size_t directories
    size_t threads              # that write
    bint stopped                # no job is written any more
    Fault fault

cdef inline bint jobs_init(Jobs *jobs) noexcept nogil:
    """Begin with nothing to do. Returns False, with nothing to free, when memory is short."""
    if pthread_mutex_init(&jobs.lock, NULL) == 0:
        if pthread_cond_init(&jobs.work, NULL) == 0:
            if pthread_cond_init(&jobs.done, NULL) == 0:
                return True
            pthread_cond_destroy(&jobs.work)
        pthread_mutex_destroy(&jobs.lock)
    return False

cdef inline void directory_release(Jobs *jobs, Directory *directory) noexcept nogil:
    """Hold a directory no longer. The caller has the lock."""
    directory.holders -= 1
    if directory.holders == 0:
        close(directory.fd)
        free(directory)
        jobs.directories -= 1

cdef inline void jobs_drop(Jobs *jobs) noexcept nogil:
    """Let go of what is still to be made; nobody makes anything any more."""
    cdef Job *job
    while jobs.first != NULL:
        job = jobs.first
        jobs.first = job.next
        directory_release(jobs, job.directory)
        free(job)

cdef inline void jobs_free(Jobs *jobs) noexcept nogil:
    """Give back what is left."""
    jobs_drop(jobs)
    fault_clear(&jobs.fault)
    pthread_cond_destroy(&jobs.done)
    pthread_cond_destroy(&jobs.work)
    pthread_mutex_destroy(&jobs.lock)

cdef inline Directory *directory_new(Jobs *jobs, const char *path, size_t size) noexcept nogil:
    """Return a directory without a descriptor, held once, as soon as there may be one more; NULL: no memory."""
    cdef Directory *directory = <Directory *>malloc(sizeof(Directory) + size)
    if directory == NULL:
        return NULL
    directory.path = <char *>(directory + 1)
    directory.size = size
    directory.holders = 1
    memcpy(directory.path, path, size)
    pthread_mutex_lock(&jobs.lock)
    while jobs.directories >= JOBS_DIRECTORIES and jobs.count and not jobs.stopped:
        pthread_cond_wait(&jobs.done, &jobs.lock)
    jobs.directories += 1
    pthread_mutex_unlock(&jobs.lock)
    return directory

cdef inline Job *job_new(Directory *directory, const Plain *plain) noexcept nogil:
    """Return a job, which does not count as a holder of its directory yet; NULL: no memory."""
    cdef size_t name_size = plain.path_size - plain.above
    cdef Job *job = <Job *>malloc(sizeof(Job) + name_size + plain.size + 2)
    if job == NULL:
        return NULL
    job.next = NULL
    job.directory = directory
    job.kind = plain.kind
    job.mode = plain.mode
    job.uid = plain.uid
    job.gid = plain.gid
    job.mtime = plain.mtime
    job.size = plain.size
    job.name_size = name_size
    job.name = <char *>(job + 1)
    memcpy(job.name, plain.path + plain.above, name_size + 1)
    job.data = <uint8_t *>job.name + name_size + 1
    memcpy(job.data, plain.data, plain.size)
    job.data[plain.size] = 0
    return job

cdef inline bint jobs_give(Jobs *jobs, Job *first, Job *last, size_t count, size_t bytes) noexcept nogil:
    """Add jobs of one directory, once there is room. False, and they are the caller's still: nothing is written more."""
    pthread_mutex_lock(&jobs.lock)
    while not jobs.stopped and jobs.count and (jobs.count + count > JOBS_MOST or jobs.bytes + bytes > JOBS_BYTES):
        pthread_cond_wait(&jobs.done, &jobs.lock)
    if jobs.stopped:
        pthread_mutex_unlock(&jobs.lock)
        return False
    first.directory.holders += count
    if jobs.first == NULL:
        jobs.first = first
    else:
        jobs.last.next = first
    jobs.last = last
    jobs.waiting += count
    jobs.count += count
    jobs.bytes += bytes
    pthread_cond_signal(&jobs.work)
    pthread_mutex_unlock(&jobs.lock)
    return True

cdef inline Job *jobs_take(Jobs *jobs) noexcept nogil:
    """Wait for jobs, and return some of them, linked; NULL: there will be none any more."""
    cdef Job *first
    cdef Job *last
    cdef size_t share, taken = 1
    pthread_mutex_lock(&jobs.lock)
    while jobs.first == NULL and not jobs.stopped:
        pthread_cond_wait(&jobs.work, &jobs.lock)
    first = last = jobs.first
    if first != NULL:
        # Something is left for the others, as far as there is enough.
        share = min(<size_t>JOBS_BATCH, jobs.waiting // jobs.threads + 1)
        while taken < share and last.next != NULL:
            last = last.next
            taken += 1
        jobs.first = last.next
        last.next = NULL
        jobs.waiting -= taken
        if jobs.first != NULL:
            pthread_cond_signal(&jobs.work)
    pthread_mutex_unlock(&jobs.lock)
    return first

cdef inline void jobs_finish(Jobs *jobs, Job *first) noexcept nogil:
    """Give back jobs that were taken, and all that they hold."""
    cdef Job *job = first
    cdef Job *next
    pthread_mutex_lock(&jobs.lock)
    while job != NULL:
        directory_release(jobs, job.directory)
        jobs.count -= 1
        jobs.bytes -= job.size
        job = job.next
    pthread_cond_signal(&jobs.done)
    pthread_mutex_unlock(&jobs.lock)
    while first != NULL:
        next = first.next
        free(first)
        first = next

cdef inline void jobs_halt(Jobs *jobs) noexcept nogil:
    """Have nothing written any more, and let everybody go who waits. The caller has the lock."""
    jobs.stopped = True
    pthread_cond_broadcast(&jobs.work)
    pthread_cond_broadcast(&jobs.done)

cdef inline void jobs_fail(Jobs *jobs, const Job *job, int error) noexcept nogil:
    """Keep what went wrong, if it is the first, and have nothing written any more. No job: memory is short."""
    cdef size_t size
    pthread_mutex_lock(&jobs.lock)
    if not jobs.stopped:
        jobs.fault.kind = FAULT_MEMORY
        if job != NULL:
            size = job.directory.size + job.name_size
            jobs.fault.path = <char *>malloc(size)
            if jobs.fault.path != NULL:
                memcpy(jobs.fault.path, job.directory.path, job.directory.size)
                memcpy(jobs.fault.path + job.directory.size, job.name, job.name_size)
                jobs.fault.path_size = size
                jobs.fault.kind = FAULT_WRITE
                jobs.fault.error = error
    jobs_halt(jobs)
    pthread_mutex_unlock(&jobs.lock)

cdef inline void jobs_settle(Jobs *jobs) noexcept nogil:
    """Wait until all is written that was given, or nothing is written any more."""
    pthread_mutex_lock(&jobs.lock)
    while jobs.count and not jobs.stopped:
        pthread_cond_wait(&jobs.done, &jobs.lock)
    pthread_mutex_unlock(&jobs.lock)

cdef inline void batch_init(Batch *batch) noexcept nogil:
    """Begin with none."""
    batch.first = batch.last = NULL
    batch.count = batch.bytes = 0

cdef inline bint batch_give(Jobs *jobs, Batch *batch) noexcept nogil:
    """Give jobs to the threads; False: nothing is made any more."""
    cdef Job *first = batch.first
    cdef Job *next
    cdef bint given = first == NULL or jobs_give(jobs, first, batch.last, batch.count, batch.bytes)
    while first != NULL and not given:
        next = first.next
        free(first)
        first = next
    batch_init(batch)
    return given

cdef inline bint batch_add(Jobs *jobs, Batch *batch, Directory *directory, const Plain *plain) noexcept nogil:
    """Have a file or a link made in the directory that the batch is of; False: nothing is made any more."""
    cdef Job *job = job_new(directory, plain)
    if job == NULL:
        jobs_fail(jobs, NULL, 0)
        return False
    if batch.first == NULL:
        batch.first = job
    else:
        batch.last.next = job
    batch.last = job
    batch.count += 1
    batch.bytes += job.size
    return batch.count < JOBS_BATCH or batch_give(jobs, batch)
