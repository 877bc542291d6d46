# cython: language_level=3
"""The directories that a scan has still to read: a stack that its threads share, and whoever waits for one of them.

The lock guards the queue, the SCANNED flag of every directory, and what the scanner counts. A thread takes it twice a
directory. The first directory in the layer's order is on top, so that the plan, which follows that order, finds what
it needs early.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.stdlib cimport free, malloc, realloc

from fastoci._engine.entry cimport Entry, FLAG_MOUNTED, FLAG_SCANNED, KIND_DIRECTORY
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

cdef struct Job:
    Entry *directory
    const uint8_t *matched      # which patterns matched the directory, a byte each; NULL at the top

cdef struct Queue:
    pthread_mutex_t lock
    pthread_cond_t changed      # there is a job, or there will be none any more
    pthread_cond_t scanned      # what is awaited has been scanned, or never will be
    const Entry *awaited        # a directory; NULL: nobody waits for one
    Job *jobs
    size_t count
    size_t capacity
    size_t busy                 # jobs that were taken and are not released, and may still add some
    size_t idle                 # threads that wait for a job
    bint stopped

cdef inline bint queue_init(Queue *queue, Entry *root) noexcept nogil:
    """Begin with one job, the root. Returns False, with nothing to free, when memory is short."""
    queue.jobs = <Job *>malloc(sizeof(Job))
    if queue.jobs == NULL:
        return False
    if pthread_mutex_init(&queue.lock, NULL) == 0:
        if pthread_cond_init(&queue.changed, NULL) == 0:
            if pthread_cond_init(&queue.scanned, NULL) == 0:
                queue.jobs[0].directory = root
                queue.jobs[0].matched = NULL
                queue.count = queue.capacity = 1
                queue.busy = queue.idle = 0
                queue.awaited = NULL
                queue.stopped = False
                return True
            pthread_cond_destroy(&queue.changed)
        pthread_mutex_destroy(&queue.lock)
    free(queue.jobs)
    return False

cdef inline void queue_free(Queue *queue) noexcept nogil:
    """Give back what the queue holds; nobody may wait for it any more."""
    pthread_cond_destroy(&queue.scanned)
    pthread_cond_destroy(&queue.changed)
    pthread_mutex_destroy(&queue.lock)
    free(queue.jobs)

cdef inline bint queue_take(Queue *queue, Job *job) noexcept nogil:
    """Wait for a directory to scan; False when there will be none any more."""
    cdef bint taken = False
    pthread_mutex_lock(&queue.lock)
    while not queue.stopped and queue.count == 0 and queue.busy:
        queue.idle += 1
        pthread_cond_wait(&queue.changed, &queue.lock)
        queue.idle -= 1
    if not queue.stopped and queue.count:
        queue.count -= 1
        job[0] = queue.jobs[queue.count]
        queue.busy += 1
        taken = True
    pthread_mutex_unlock(&queue.lock)
    return taken

cdef inline void queue_release(Queue *queue) noexcept nogil:
    """Say that the directory taken is done with; the last one lets everybody who waits go."""
    pthread_mutex_lock(&queue.lock)
    queue.busy -= 1
    if queue.busy == 0 and queue.count == 0:
        pthread_cond_broadcast(&queue.changed)
        pthread_cond_broadcast(&queue.scanned)
    pthread_mutex_unlock(&queue.lock)

cdef inline bint queue_give(Queue *queue, Entry *directory) noexcept nogil:
    """Say that a directory's children are known, and add those that are directories as jobs, the first of them on top.

    A source that is one file has none. Directories that are not to be read are said to hold nothing.

    The caller holds the lock. Returns False when memory is short.
    """
    cdef Entry *child
    cdef Job *grown
    cdef int64_t number
    cdef size_t added = 0
    directory.flags |= FLAG_SCANNED
    if queue.awaited == directory:
        pthread_cond_signal(&queue.scanned)
    if directory.kind != KIND_DIRECTORY:
        return True
    for number in range(directory.size - 1, -1, -1):
        child = &directory.link.children[number]
        if child.kind != KIND_DIRECTORY:
            continue
        if child.flags & FLAG_MOUNTED:
            child.flags |= FLAG_SCANNED
            child.link.children = NULL
            child.size = 0
            continue
        if queue.count == queue.capacity:
            grown = <Job *>realloc(queue.jobs, 2 * queue.capacity * sizeof(Job))
            if grown == NULL:
                return False
            queue.jobs = grown
            queue.capacity *= 2
        queue.jobs[queue.count].directory = child
        # Until its own children are known, the place for them holds which patterns matched the directory.
        queue.jobs[queue.count].matched = <const uint8_t *>child.link.children
        child.link.children = NULL
        child.size = 0
        queue.count += 1
        added += 1
    # No more are woken than there are jobs for.
    for added in range(min(added, queue.idle)):
        pthread_cond_signal(&queue.changed)
    return True

cdef inline void queue_stop(Queue *queue) noexcept nogil:
    """Make everybody who waits, now or later, go without what they wait for. The caller holds the lock."""
    queue.stopped = True
    pthread_cond_broadcast(&queue.changed)
    pthread_cond_broadcast(&queue.scanned)

cdef inline bint _is_known(const Queue *queue, const Entry *directory) noexcept nogil:
    if directory == NULL:
        return queue.count == 0 and queue.busy == 0
    return (directory.flags & FLAG_SCANNED) != 0

cdef inline bint queue_await(Queue *queue, const Entry *directory) noexcept nogil:
    """Wait until the children of a directory are known (NULL: of every directory). False where the scan was stopped.

    Only one thread at a time may wait.
    """
    cdef bint going
    pthread_mutex_lock(&queue.lock)
    queue.awaited = directory
    while not queue.stopped and not _is_known(queue, directory):
        pthread_cond_wait(&queue.scanned, &queue.lock)
    queue.awaited = NULL
    going = not queue.stopped
    pthread_mutex_unlock(&queue.lock)
    return going
