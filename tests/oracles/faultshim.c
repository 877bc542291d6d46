/* What the native engine asks of the C library, refused at a chosen call: preloaded, and steered through ctypes.

   Only calls from fastoci's own extension modules are counted and refused; the interpreter, and every other library,
   get what they ask for. A call is known by its name here, and for what the engine asks through syscall(2) by the name
   of the system call. Nothing is counted before `faultshim_arm` was called for the first time.

   The sanitizers bring an allocator of their own: with -DWITHOUT_MALLOC the shim leaves it alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { MALLOC, CALLOC, REALLOC, OPENAT, FSTAT, FSTATAT, READLINKAT, PREAD, LSEEK, FCNTL, PREADV2, GETDENTS, LISTXATTR,
       GETXATTR, FADVISE, UNSHARE, IO_SETUP, IO_SUBMIT, IO_GETEVENTS, WRITE, FCHOWN, FCHMOD, FUTIMENS, UNLINKAT, CLOSE,
       MKDIRAT, SYMLINKAT, FCHOWNAT, UTIMENSAT, KINDS };

static const char *const names[KINDS] = {
    "malloc", "calloc", "realloc", "openat", "fstat", "fstatat", "readlinkat", "pread", "lseek", "fcntl", "preadv2",
    "getdents", "listxattr", "getxattr", "fadvise", "unshare", "io_setup", "io_submit", "io_getevents", "write",
    "fchown", "fchmod", "futimens", "unlinkat", "close", "mkdirat", "symlinkat", "fchownat", "utimensat",
};

static atomic_int ready;
static atomic_long calls[KINDS], first[KINDS], last[KINDS], refusals[KINDS];
static atomic_int error[KINDS];

static int kind_of(const char *name) {
    for (int kind = 0; kind < KINDS; kind++)
        if (strcmp(names[kind], name) == 0)
            return kind;
    return -1;
}

/* Refuse the calls from the `from`th to the `to`th, counted from 1, with an errno; 0 reads as the end of a file. */
int faultshim_arm(const char *name, long from, long to, int number) {
    int kind = kind_of(name);
    if (kind < 0)
        return -1;
    calls[kind] = refusals[kind] = 0;
    error[kind] = number;
    first[kind] = from;
    last[kind] = to;
    ready = 1;
    return 0;
}

long faultshim_calls(const char *name) { return calls[kind_of(name)]; }
long faultshim_refusals(const char *name) { return refusals[kind_of(name)]; }

/* Whether this call is to be refused; errno is set then. */
static int refused(int kind, const void *caller) {
    Dl_info found;
    if (!ready || !dladdr(caller, &found) || !found.dli_fname || !strstr(found.dli_fname, "/fastoci/_engine/"))
        return 0;
    long number = ++calls[kind];
    if (number < first[kind] || number > last[kind])
        return 0;
    refusals[kind]++;
    errno = error[kind];
    return 1;
}

#define REFUSED(kind) refused(kind, __builtin_return_address(0))
#define ANSWER(kind) (error[kind] ? -1 : 0)
#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#ifndef WITHOUT_MALLOC
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);

void *malloc(size_t size) { return REFUSED(MALLOC) ? NULL : __libc_malloc(size); }
void *calloc(size_t count, size_t size) { return REFUSED(CALLOC) ? NULL : __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { return REFUSED(REALLOC) ? NULL : __libc_realloc(old, size); }
#endif

int openat64(int directory, const char *name, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;
    va_end(rest);
    return REFUSED(OPENAT) ? -1 : NEXT(openat64)(directory, name, flags, mode);
}
int fstat64(int fd, struct stat64 *status) { return REFUSED(FSTAT) ? -1 : NEXT(fstat64)(fd, status); }
int fstatat64(int directory, const char *name, struct stat64 *status, int flags) {
    return REFUSED(FSTATAT) ? -1 : NEXT(fstatat64)(directory, name, status, flags);
}
ssize_t readlinkat(int directory, const char *name, char *target, size_t size) {
    return REFUSED(READLINKAT) ? ANSWER(READLINKAT) : NEXT(readlinkat)(directory, name, target, size);
}
ssize_t pread64(int fd, void *buffer, size_t size, off64_t offset) {
    return REFUSED(PREAD) ? ANSWER(PREAD) : NEXT(pread64)(fd, buffer, size, offset);
}
off64_t lseek64(int fd, off64_t offset, int whence) {
    return REFUSED(LSEEK) ? -1 : NEXT(lseek64)(fd, offset, whence);
}
int posix_fadvise64(int fd, off64_t offset, off64_t size, int advice) {
    return REFUSED(FADVISE) ? error[FADVISE] : NEXT(posix_fadvise64)(fd, offset, size, advice);
}
ssize_t write(int fd, const void *buffer, size_t size) {
    int refuse = REFUSED(WRITE);
    if (refuse && error[WRITE])
        return -1;
    /* Instead of the end of a file: less is taken than was given. */
    return NEXT(write)(fd, buffer, refuse && size > 1 ? size / 2 : size);
}
int fchown(int fd, uid_t uid, gid_t gid) { return REFUSED(FCHOWN) ? -1 : NEXT(fchown)(fd, uid, gid); }
int fchmod(int fd, mode_t mode) { return REFUSED(FCHMOD) ? -1 : NEXT(fchmod)(fd, mode); }
int futimens(int fd, const struct timespec times[2]) { return REFUSED(FUTIMENS) ? -1 : NEXT(futimens)(fd, times); }
int unlinkat(int directory, const char *name, int flags) {
    return REFUSED(UNLINKAT) ? -1 : NEXT(unlinkat)(directory, name, flags);
}
int mkdirat(int directory, const char *name, mode_t mode) {
    return REFUSED(MKDIRAT) ? -1 : NEXT(mkdirat)(directory, name, mode);
}
int symlinkat(const char *target, int directory, const char *name) {
    return REFUSED(SYMLINKAT) ? -1 : NEXT(symlinkat)(target, directory, name);
}
int fchownat(int directory, const char *name, uid_t uid, gid_t gid, int flags) {
    return REFUSED(FCHOWNAT) ? -1 : NEXT(fchownat)(directory, name, uid, gid, flags);
}
int utimensat(int directory, const char *name, const struct timespec times[2], int flags) {
    return REFUSED(UTIMENSAT) ? -1 : NEXT(utimensat)(directory, name, times, flags);
}
int close(int fd) {
    /* Closed it is in any case, as by the kernel. */
    int refuse = REFUSED(CLOSE), number = errno, result = NEXT(close)(fd);
    if (refuse)
        errno = number;
    return refuse ? -1 : result;
}
int unshare(int flags) { return REFUSED(UNSHARE) ? -1 : NEXT(unshare)(flags); }
int fcntl64(int fd, int command, ...) {
    va_list rest;
    va_start(rest, command);
    long argument = va_arg(rest, long);
    va_end(rest);
    return REFUSED(FCNTL) ? -1 : NEXT(fcntl64)(fd, command, argument);
}

long syscall(long number, ...) {
    long given[6];
    va_list rest;
    va_start(rest, number);
    for (int at = 0; at < 6; at++)
        given[at] = va_arg(rest, long);
    va_end(rest);
    int kind = number == SYS_preadv2        ? PREADV2
               : number == SYS_getdents64   ? GETDENTS
               : number == 465              ? LISTXATTR /* the older headers have no name for these two */
               : number == 464              ? GETXATTR
               : number == SYS_io_setup     ? IO_SETUP
               : number == SYS_io_submit    ? IO_SUBMIT
               : number == SYS_io_getevents ? IO_GETEVENTS
                                            : -1;
    if (kind >= 0 && REFUSED(kind))
        return ANSWER(kind);
    return NEXT(syscall)(number, given[0], given[1], given[2], given[3], given[4], given[5]);
}
