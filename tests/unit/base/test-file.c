/* file.h: bounded reading; replacing that leaves the old or the new, also when the disk is full. */
#include "unit/lib/test.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

static const char *in_tmp(const char *name)
{
	static char path[8][256];
	static int n;

	n = (n + 1) % 8;
	snprintf(path[n], sizeof(path[n]), "%s/%s", test_tmpdir(), name);
	return path[n];
}

static void check_content(const char *path, const char *wanted)
{
	_cleanup_free_ char *got = NULL;
	size_t len;

	CHECK_EQ(file_read(&got, &len, path, 1 << 20), 0);
	CHECK_EQ(len, strlen(wanted));
	CHECK_STR(got, wanted);
}

/* Names in the folder, "." and ".." apart. */
static int count_files(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	CHECK(d != NULL);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

/* What is synced and renamed, in order: "c" contents of a file, "r" a rename, "d" a folder. Instead of libc's. */
static char order[64];

int fsync(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == 0 && strlen(order) + 1 < sizeof(order))
		strcat(order, S_ISDIR(st.st_mode) ? "d" : st.st_size > 0 ? "c" : "e");
	return (int)syscall(SYS_fsync, fd);
}

int rename(const char *old, const char *new)
{
	if (strlen(order) + 1 < sizeof(order))
		strcat(order, "r");
	return (int)syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
}

TEST(i9_contents_and_then_the_name_are_on_the_disk_before_success_is_told)
{
	const char *path = in_tmp("synced");

	CHECK_EQ(file_write_atomic(path, "one", 3, 0600), 0);
	CHECK_STR(order, "crd");
	order[0] = '\0';
	CHECK_EQ(file_rewrite_atomic(path, "two", 3, 0600), 0);
	CHECK_STR(order, "crd");
	check_content(path, "two");
}

TEST(a_file_is_written_read_and_replaced)
{
	const char *path = in_tmp("f");
	struct stat st;

	umask(022);
	CHECK_EQ(file_write_atomic(path, "one", 3, 0600), 0);
	check_content(path, "one");
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0600);
	CHECK_EQ(file_write_atomic(path, "", 0, 0664), 0);
	check_content(path, "");
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0664);
	CHECK_EQ(count_files(test_tmpdir()), 1);
}

TEST(reading_is_bounded)
{
	const char *path = in_tmp("f");
	_cleanup_free_ char *p = NULL, *q = NULL, *big = calloc(1, 100000);
	size_t len = 7;

	CHECK_EQ(file_write_atomic(path, "12345", 5, 0600), 0);
	CHECK_EQ(file_read(&p, &len, path, 4), -EFBIG);
	CHECK(p == NULL);
	CHECK_EQ(len, 7);
	CHECK_EQ(file_read(&p, &len, path, 5), 0);
	CHECK_EQ(len, 5);
	memset(big, 'x', 100000);
	CHECK_EQ(file_write_atomic(path, big, 100000, 0600), 0);
	CHECK_EQ(file_read(&q, &len, path, SIZE_MAX), 0);
	CHECK_EQ(len, 100000);
	CHECK_MEM(q, big, 100000);
	CHECK_EQ(q[100000], 0);
}

TEST(only_regular_files_are_read)
{
	_cleanup_free_ char *p = NULL;
	size_t len;

	CHECK_EQ(mkfifo(in_tmp("fifo"), 0600), 0);
	CHECK_EQ(file_read(&p, &len, in_tmp("fifo"), 10), -EINVAL);
	CHECK_EQ(file_read(&p, &len, test_tmpdir(), 10), -EISDIR);
	CHECK_EQ(file_read(&p, &len, "/dev/zero", 10), -EINVAL);
	CHECK_EQ(file_read(&p, &len, in_tmp("none"), 10), -ENOENT);
	/* Says 0 bytes and has some. */
	CHECK_EQ(file_read(&p, &len, "/proc/self/stat", 4096), 0);
	CHECK(len > 10);
}

TEST(a_pipe_is_read_to_its_end)
{
	_cleanup_free_ char *p = NULL, *q = NULL;
	int fds[2];
	size_t len;

	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(write(fds[1], "482913\n", 7), 7);
	close(fds[1]);
	CHECK_EQ(file_read_fd(&p, &len, fds[0], 64), 0);
	CHECK_EQ(len, 7);
	CHECK_STR(p, "482913\n");
	close(fds[0]);

	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(write(fds[1], "12345", 5), 5);
	close(fds[1]);
	CHECK_EQ(file_read_fd(&q, &len, fds[0], 4), -EFBIG);
	close(fds[0]);
	CHECK_EQ(file_read_fd(&q, &len, -1, 4), -EBADF);
}

TEST(i9_a_write_that_fails_leaves_the_old_file_and_no_other)
{
	const char *path = in_tmp("f");
	_cleanup_free_ char *big = calloc(1, 100000);
	struct rlimit lim;

	CHECK_EQ(file_write_atomic(path, "old", 3, 0600), 0);
	CHECK_EQ(getrlimit(RLIMIT_FSIZE, &lim), 0);
	lim.rlim_cur = 5000;
	signal(SIGXFSZ, SIG_IGN);
	CHECK_EQ(setrlimit(RLIMIT_FSIZE, &lim), 0);
	CHECK_EQ(file_write_atomic(path, big, 100000, 0600), -EFBIG);
	check_content(path, "old");
	CHECK_EQ(count_files(test_tmpdir()), 1);
}

/* A disk of 64 KiB, in a mount namespace of the test's own. */
TEST(i9_a_full_disk_leaves_the_old_file_and_no_other)
{
	const char *dir = in_tmp("disk"), *path = in_tmp("disk/f");
	_cleanup_free_ char *big = calloc(1, 200000);

	if (geteuid() != 0)
		test_skip("needs root for a small disk");
	CHECK_EQ(mkdir(dir, 0700), 0);
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=0700") < 0)
		test_skip("cannot mount here: %s", strerror(errno));
	CHECK_EQ(file_write_atomic(path, "old", 3, 0600), 0);
	CHECK_EQ(file_write_atomic(path, big, 200000, 0600), -ENOSPC);
	check_content(path, "old");
	CHECK_EQ(count_files(dir), 1);
	CHECK_EQ(file_write_atomic(path, "new", 3, 0600), 0);
	check_content(path, "new");
	CHECK_EQ(umount(dir), 0);
}

TEST(a_link_in_the_files_place_is_replaced_not_followed)
{
	CHECK_EQ(file_write_atomic(in_tmp("target"), "kept", 4, 0600), 0);
	CHECK_EQ(symlink("target", in_tmp("link")), 0);
	CHECK_EQ(file_write_atomic(in_tmp("link"), "new", 3, 0600), 0);
	check_content(in_tmp("target"), "kept");
	check_content(in_tmp("link"), "new");
	CHECK_EQ(file_write_atomic(in_tmp("no/such/folder"), "x", 1, 0600), -ENOENT);
}

TEST(a_rewritten_file_keeps_owner_group_and_mode)
{
	const char *path = in_tmp("file");
	struct stat st;

	CHECK_EQ(file_rewrite_atomic(path, "new", 3, 0604), 0);
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0604);
	CHECK_EQ(chmod(path, 0640), 0);
	if (geteuid() == 0)
		CHECK_EQ(chown(path, 65533, 65534), 0);
	CHECK_EQ(file_rewrite_atomic(path, "newer", 5, 0604), 0);
	check_content(path, "newer");
	CHECK_EQ(stat(path, &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0640);
	CHECK_EQ(st.st_uid, geteuid() == 0 ? 65533 : geteuid());
	CHECK_EQ(st.st_gid, geteuid() == 0 ? 65534 : getegid());
	CHECK_EQ(count_files(test_tmpdir()), 1);
}

TEST(folders_are_made_with_their_parents)
{
	struct stat st;

	umask(0);
	CHECK_EQ(file_mkdirs(in_tmp("a/b//c/"), 0700), 0);
	CHECK_EQ(stat(in_tmp("a/b/c"), &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0700);
	CHECK_EQ(stat(in_tmp("a/b"), &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0755);
	CHECK_EQ(file_mkdirs(in_tmp("a/b/c"), 0755), 0);
	CHECK_EQ(file_write_atomic(in_tmp("file"), "", 0, 0600), 0);
	CHECK_EQ(file_mkdirs(in_tmp("file"), 0700), -ENOTDIR);
	CHECK_EQ(file_mkdirs(in_tmp("file/x"), 0700), -ENOTDIR);
	CHECK_EQ(file_mkdirs("", 0700), -ENOENT);
	CHECK_EQ(file_mkdirs("/", 0700), 0);
	CHECK_EQ(chdir(test_tmpdir()), 0);
	CHECK_EQ(file_mkdirs("relative/one", 0700), 0);
	CHECK_EQ(stat("relative/one", &st), 0);
	CHECK_EQ(file_sync_parent("relative"), 0);
}

TEST(reads_and_writes_at_an_offset_are_whole)
{
	_cleanup_close_ int fd = open(in_tmp("f"), O_RDWR | O_CREAT, 0600);
	char b[4];

	CHECK_EQ(file_pwrite_all(fd, "abcdef", 6, 2), 0);
	CHECK_EQ(file_pread_all(fd, b, 4, 3), 0);
	CHECK_MEM(b, "bcde", 4);
	CHECK_EQ(file_pread_all(fd, b, 4, 5), -ENODATA);
	CHECK_EQ(file_pread_all(-1, b, 4, 5), -EBADF);
	CHECK_EQ(file_pwrite_all(-1, b, 4, 5), -EBADF);
}

TEST(paths_are_joined_by_one_slash)
{
	_cleanup_free_ char *a = path_join("/x", "y"), *b = path_join("/x/", "y"), *c = path_join("", "y");

	CHECK_STR(a, "/x/y");
	CHECK_STR(b, "/x/y");
	CHECK_STR(c, "/y");
}
