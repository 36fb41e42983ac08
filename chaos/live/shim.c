/* A preload shim beneath the normal file layer of a node (ruling 28): what a power cut may take back.
 *
 * Every change of a file below SHIM_ROOT is made at once, so that SIGKILL leaves what the kernel
 * has; how to take it back is remembered until it is synced. shim_cut() takes back what is left,
 * makes some of it again if it is told to, and lets nobody change anything after it. The same as
 * journal.py, which sits above the system calls instead of beneath them.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define DESCRIPTORS 65536
#define SECTOR 512
#define REAL(name) ((__typeof__(&name))real(#name))

struct change {
    off_t at, old_size;
    char *old, *new; /* new == NULL: the size was changed to `at` */
    size_t old_length, new_length;
};

struct file {
    dev_t device;
    ino_t inode;
    int descriptor; /* outlives the file's own */
    size_t count, room;
    struct change *changes;
    struct file *next;
};

struct name {
    char *directory, *path, *other, *kept; /* other: what it was called before a rename */
    struct name *older;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static char *paths[DESCRIPTORS]; /* of open files below the root */
static struct file *files;
static struct name *names; /* newest first */
static long kept_count, delay_ms, delayed_count;
static char delay_path[64];
static uint64_t state;

static void *real(const char *symbol) {
    void *found = dlsym(RTLD_NEXT, symbol);
    if (!found) abort();
    return found;
}

static int is_ours(const char *path) {
    const char *root = getenv("SHIM_ROOT");
    return root && path && !strncmp(path, root, strlen(root));
}

static const char *path_of(int fd) { return fd >= 0 && fd < DESCRIPTORS ? paths[fd] : NULL; }

static struct file *file_of(int fd, int make) {
    struct stat found;
    if (fstat(fd, &found)) return NULL;
    for (struct file *each = files; each; each = each->next)
        if (each->device == found.st_dev && each->inode == found.st_ino) return each;
    if (!make) return NULL;
    struct file *file = calloc(1, sizeof *file);
    file->device = found.st_dev;
    file->inode = found.st_ino;
    file->descriptor = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    file->next = files;
    return files = file;
}

static void remember(int fd, struct change change) {
    struct file *file = file_of(fd, 1);
    if (file->count == file->room) {
        file->room = file->room ? 2 * file->room : 16;
        file->changes = realloc(file->changes, file->room * sizeof change);
    }
    file->changes[file->count++] = change;
}

static off_t size_of(int fd) {
    struct stat found;
    return fstat(fd, &found) ? 0 : found.st_size;
}

static char *contents(int fd, off_t at, size_t length, size_t *got) {
    char *bytes = malloc(length ? length : 1);
    ssize_t count = REAL(pread)(fd, bytes, length, at);
    *got = count > 0 ? (size_t)count : 0;
    return bytes;
}

static char *directory_of(const char *path) {
    char *directory = strdup(path), *end = strrchr(directory, '/');
    if (end) *end = 0;
    return directory;
}

/* -- contents */

static ssize_t write_at(int fd, const struct iovec *parts, int count, off_t at) {
    size_t length = 0, done = 0;
    for (int i = 0; i < count; i++) length += parts[i].iov_len;
    char *all = malloc(length ? length : 1);
    for (int i = 0, to = 0; i < count; to += parts[i++].iov_len)
        memcpy(all + to, parts[i].iov_base, parts[i].iov_len);
    pthread_mutex_lock(&mutex);
    struct change change = {.at = at, .old_size = size_of(fd), .new = all};
    change.old = contents(fd, at, length, &change.old_length);
    while (done < length) {
        ssize_t some = REAL(pwrite)(fd, all + done, length - done, at + done);
        if (some <= 0) break;
        done += some;
    }
    change.new_length = done;
    int error = errno;
    if (done) remember(fd, change);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return done || !length ? (ssize_t)done : -1;
}

static int resize(int fd, off_t size, int is_cut) {
    pthread_mutex_lock(&mutex);
    off_t before = size_of(fd);
    struct change change = {.old_size = before};
    change.at = size < before ? size : 0;
    if (is_cut && size < before)
        change.old = contents(fd, size, before - size, &change.old_length);
    int code = is_cut ? REAL(ftruncate)(fd, size) : REAL(posix_fallocate)(fd, 0, size);
    int error = errno;
    off_t after = size_of(fd);
    if (after > before) change.at = after;
    if (after != before) remember(fd, change);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return code;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
    struct iovec part = {(void *)data, length};
    return path_of(fd) ? write_at(fd, &part, 1, at) : REAL(pwrite)(fd, data, length, at);
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
    return pwrite(fd, data, length, at);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    return path_of(fd) ? write_at(fd, parts, count, at) : REAL(pwritev)(fd, parts, count, at);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    return pwritev(fd, parts, count, at);
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    if (path_of(fd)) return write_at(fd, parts, count, at);
    return REAL(pwritev2)(fd, parts, count, at, flags);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t at, int flags) {
    return pwritev2(fd, parts, count, at, flags);
}

static int has_name(int fd) { /* else no power cut brings it back, and nobody sees its size */
    struct stat found;
    return fstat(fd, &found) || found.st_nlink;
}

int ftruncate(int fd, off_t size) {
    return path_of(fd) && has_name(fd) ? resize(fd, size, 1) : REAL(ftruncate)(fd, size);
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int posix_fallocate(int fd, off_t at, off_t length) {
    return path_of(fd) ? resize(fd, at + length, 0) : REAL(posix_fallocate)(fd, at, length);
}

int posix_fallocate64(int fd, off64_t at, off64_t length) {
    return posix_fallocate(fd, at, length);
}

static void forget_name(struct name *each) {
    if (each->kept) REAL(unlink)(each->kept);
    free(each->directory), free(each->path), free(each->other), free(each->kept), free(each);
}

static int sync_with(int fd, int (*sync)(int)) {
    const char *path = path_of(fd);
    struct stat found;
    if (!path || fstat(fd, &found)) return sync(fd);
    if (S_ISDIR(found.st_mode)) {
        pthread_mutex_lock(&mutex);
        int code = sync(fd);
        size_t length = strlen(path);
        while (length > 1 && path[length - 1] == '/') length--;
        for (struct name **at = &names; !code && *at;) {
            struct name *each = *at;
            if (strlen(each->directory) == length && !strncmp(each->directory, path, length)) {
                *at = each->older;
                forget_name(each);
            } else {
                at = &each->older;
            }
        }
        pthread_mutex_unlock(&mutex);
        return code;
    }
    pthread_mutex_lock(&mutex);
    struct file *file = file_of(fd, 0);
    size_t count = file ? file->count : 0;
    long wait_ms = strstr(path, delay_path) ? delay_ms : 0;
    delayed_count += wait_ms > 0;
    pthread_mutex_unlock(&mutex);
    if (wait_ms) {
        struct timespec wait = {wait_ms / 1000, wait_ms % 1000 * 1000000};
        nanosleep(&wait, NULL);
    }
    int code = sync(fd), error = errno;
    pthread_mutex_lock(&mutex);
    if (file && !code) {
        for (size_t i = 0; i < count; i++) free(file->changes[i].old), free(file->changes[i].new);
        memmove(file->changes, file->changes + count, (file->count - count) * sizeof *file->changes);
        file->count -= count;
    }
    pthread_mutex_unlock(&mutex);
    errno = error;
    return code;
}

int fdatasync(int fd) { return sync_with(fd, REAL(fdatasync)); }

int fsync(int fd) { return sync_with(fd, REAL(fsync)); }

/* -- names */

static void remember_name(const char *path, const char *other, char *kept) {
    struct name *name = calloc(1, sizeof *name);
    name->directory = directory_of(path);
    name->path = strdup(path);
    name->other = other ? strdup(other) : NULL;
    name->kept = kept;
    name->older = names;
    names = name;
}

static char *keep(const char *path) {
    const char *aside = getenv("SHIM_ASIDE");
    char *kept = NULL;
    if (access(path, F_OK) || asprintf(&kept, "%s/%ld", aside, ++kept_count) < 0) return NULL;
    if (link(path, kept)) free(kept), kept = NULL;
    return kept;
}

int rename(const char *old, const char *new) {
    if (!is_ours(new)) return REAL(rename)(old, new);
    pthread_mutex_lock(&mutex);
    char *kept = keep(new);
    int code = REAL(rename)(old, new), error = errno;
    if (!code) remember_name(new, old, kept);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return code;
}

int unlink(const char *path) {
    if (!is_ours(path)) return REAL(unlink)(path);
    pthread_mutex_lock(&mutex);
    char *kept = keep(path);
    int code = REAL(unlink)(path), error = errno;
    if (!code) remember_name(path, NULL, kept);
    pthread_mutex_unlock(&mutex);
    errno = error;
    return code;
}

static int opened(int fd, const char *path, int is_new) {
    if (fd < 0 || fd >= DESCRIPTORS) return fd;
    free(paths[fd]);
    paths[fd] = is_ours(path) ? strdup(path) : NULL;
    if (paths[fd] && is_new) remember_name(path, NULL, NULL);
    return fd;
}

int openat(int at, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    if (!is_ours(path)) return opened(REAL(openat)(at, path, flags, mode), path, 0);
    pthread_mutex_lock(&mutex);
    int is_new = flags & O_CREAT && access(path, F_OK);
    int fd = opened(REAL(openat)(at, path, flags, mode), path, is_new);
    pthread_mutex_unlock(&mutex);
    return fd;
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return openat(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return openat(AT_FDCWD, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return openat(at, path, flags, mode);
}

int close(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS && paths[fd]) free(paths[fd]), paths[fd] = NULL;
    return REAL(close)(fd);
}

/* -- what the suite calls */

static int coin(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return state >> 40 & 1;
}

static long redo(struct file *file, int is_torn) {
    long made = 0;
    for (size_t i = 0; i < file->count; i++) {
        struct change *change = &file->changes[i];
        if (coin()) continue;
        made++;
        if (!change->new) {
            if (REAL(ftruncate)(file->descriptor, change->at)) return made;
            continue;
        }
        size_t step = is_torn ? SECTOR : change->new_length;
        for (size_t at = 0; at < change->new_length; at += step) {
            size_t left = change->new_length - at;
            if (is_torn && coin()) continue;
            if (REAL(pwrite)(file->descriptor, change->new + at, left < step ? left : step,
                             change->at + at) < 0)
                return made;
        }
    }
    return made;
}

/* kind: 0 lose, 1 subset, 2 torn. found: how much was unsynced, and how much of it is there. */
void shim_cut(int kind, uint64_t seed, long found[2]) {
    pthread_mutex_lock(&mutex); /* never given back: nobody changes anything any more */
    state = seed * 2654435761u + 88172645463325252u;
    for (struct file *file = files; file; file = file->next) {
        found[0] += file->count;
        for (size_t i = file->count; i-- > 0;) {
            struct change *change = &file->changes[i];
            if (change->old_length &&
                REAL(pwrite)(file->descriptor, change->old, change->old_length, change->at) < 0)
                abort();
            if (REAL(ftruncate)(file->descriptor, change->old_size)) abort();
        }
        if (kind) found[1] += redo(file, kind == 2);
    }
    for (struct name *each = names; each; each = each->older) {
        found[0]++;
        if (kind && coin()) {
            found[1]++;
            continue;
        }
        if (each->other) REAL(rename)(each->path, each->other);
        else if (!each->kept) REAL(unlink)(each->path);
        if (each->kept) REAL(rename)(each->kept, each->path);
    }
}

/* Syncs of files whose path contains this take so much longer; returns how many did so far. */
long shim_delay(long ms, const char *path) {
    pthread_mutex_lock(&mutex);
    long before = delayed_count;
    delay_ms = ms;
    snprintf(delay_path, sizeof delay_path, "%s", path);
    pthread_mutex_unlock(&mutex);
    return before;
}
