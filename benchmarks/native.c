/* What the benchmarks measure with and make their trees with: nothing here is fastoci's.
 *
 * The walk is the least that a packer has to ask of the kernel, by the fastest calls that this kernel has: names by
 * getdents64, everything else relative to a directory's descriptor, extended attributes by name from inside the
 * directory. It changes the working directory (and goes back), so one thread at a time may walk. Only what its caller
 * asks for is done, so that the price of each kind of call is the difference of two walks. Times are the CPU seconds of
 * the calling thread.
 *
 * The generators are SplitMix64 (Steele, Lea, Flood 2014): seeded, and the same on every machine.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { STAT = 1, XATTRS = 2, OPEN = 4, READ = 8 };
enum { NAMES_SIZE = 64 * 1024, BUFFER_SIZE = 512 * 1024 };

struct found {
    uint64_t entries, files, bytes;
    double seconds;
};

struct walk {
    int what;
    char *buffer;
    struct found *found;
};

struct name {
    uint64_t inode;
    int64_t offset;
    unsigned short size;
    unsigned char kind;
    char text[];
};

static double cpu_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void take_file(struct walk *walk, int directory, const char *name)
{
    int file = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat status;
    if (file < 0)
        return;
    fstat(file, &status);
    if (walk->what & READ) {
        ssize_t got;
        while ((got = read(file, walk->buffer, BUFFER_SIZE)) > 0)
            walk->found->bytes += (uint64_t)got;
    }
    close(file);
}

static int visit(struct walk *walk, int directory)
{
    char *names = malloc(NAMES_SIZE);
    char value[256];
    struct stat status;
    long got;
    if (names == NULL)
        return -1;
    if (walk->what & XATTRS && fchdir(directory) != 0) {
        free(names);
        return -1;
    }
    while ((got = syscall(SYS_getdents64, directory, names, NAMES_SIZE)) > 0) {
        for (long at = 0; at < got;) {
            struct name *name = (struct name *)(names + at);
            at += name->size;
            if (!strcmp(name->text, ".") || !strcmp(name->text, ".."))
                continue;
            walk->found->entries++;
            if (walk->what & STAT)
                fstatat(directory, name->text, &status, AT_SYMLINK_NOFOLLOW);
            if (walk->what & XATTRS)
                (void)!llistxattr(name->text, value, sizeof value);
            if (name->kind == DT_REG) {
                walk->found->files++;
                if (walk->what & OPEN)
                    take_file(walk, directory, name->text);
            }
            if (name->kind == DT_DIR) {
                int below = openat(directory, name->text, O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC);
                if (below < 0)
                    continue;
                if (visit(walk, below) != 0 || (walk->what & XATTRS && fchdir(directory) != 0)) {
                    close(below);
                    free(names);
                    return -1;
                }
                close(below);
            }
        }
    }
    free(names);
    return got < 0 ? -1 : 0;
}

/* Walk all below `path`; `what` says what is asked of each entry. Returns 0, or an errno. */
int bench_walk(const char *path, int what, struct found *found)
{
    int back = open(".", O_PATH | O_CLOEXEC), root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), failed = 0;
    /* On a page, as the data in the page cache is: elsewhere some CPUs copy at a quarter of their speed. */
    struct walk walk = {what, aligned_alloc(4096, BUFFER_SIZE), found};
    memset(found, 0, sizeof *found);
    if (back < 0 || root < 0 || walk.buffer == NULL) {
        failed = errno ? errno : ENOMEM;
    } else {
        memset(walk.buffer, 0, BUFFER_SIZE);
        double started = cpu_seconds();
        failed = visit(&walk, root) ? (errno ? errno : EIO) : 0;
        found->seconds = cpu_seconds() - started;
    }
    free(walk.buffer);
    if (root >= 0)
        close(root);
    if (back >= 0) {
        if (fchdir(back) != 0 && !failed)
            failed = errno;
        close(back);
    }
    return failed;
}

static inline uint64_t splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Fill `count` words of 64 bits with bits of which each is as likely as any other. */
void bench_noise(uint64_t *out, size_t count, uint64_t *state)
{
    for (size_t i = 0; i < count; i++)
        out[i] = splitmix(state);
}

/* Fill `count` numbers with normal ones of the given deviation, rounded to bfloat16, to the nearest and ties to even.
 * `normal` holds the 2^20 quantiles of the standard normal distribution. */
void bench_bf16(uint16_t *out, size_t count, float deviation, const float *normal, uint64_t *state)
{
    uint64_t drawn = 0;
    for (size_t i = 0; i < count; i++) {
        drawn = i % 3 ? drawn >> 20 : splitmix(state);
        float number = normal[drawn & 0xfffff] * deviation;
        uint32_t bits;
        memcpy(&bits, &number, sizeof bits);
        out[i] = (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
    }
}
