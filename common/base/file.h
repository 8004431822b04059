/* Files: read whole, written atomically and durably. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Read a whole regular file of at most max bytes into a new NUL-terminated
 * buffer (the NUL is not counted). Returns 0, -EFBIG when larger, or the errno
 * of open or read. The caller frees *out (and wipes it, if it was secret).
 */
int file_read(char **out, size_t *len, const char *path, size_t max);

/* The same from an open descriptor, which may be a pipe or terminal; read to its end. */
int file_read_fd(char **out, size_t *len, int fd, size_t max);

/*
 * Replace path by data: write a temporary beside it, fsync, rename, fsync the
 * folder. After success it survives a power cut; on failure path is as it was.
 */
int file_write_atomic(const char *path, const void *data, size_t len, mode_t mode);

/*
 * The same, with owner, group and mode of the file that is there already. mode is for a new one. What
 * an owner may not give away is -EPERM.
 */
int file_rewrite_atomic(const char *path, const void *data, size_t len, mode_t mode);

/* Make a folder and its parents; one that exists is fine. 0 or a negative errno. */
int file_mkdirs(const char *path, mode_t mode);

/* fsync the folder that holds path. */
int file_sync_parent(const char *path);

/* Read or write exactly len bytes at offset; -ENODATA at a short end of file. */
int file_pread_all(int fd, void *buf, size_t len, off_t offset);
int file_pwrite_all(int fd, const void *buf, size_t len, off_t offset);

/* A new "dir/name" string, NULL without memory. The caller frees it. */
char *path_join(const char *dir, const char *name);
