/* store.h: what is committed stays, what is deleted is gone, and trouble has a name. */
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
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "store/store.h"

static const struct store_migration steps[] = {
	{ "CREATE TABLE peer (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, root BLOB)" },
	{ "ALTER TABLE peer ADD COLUMN note TEXT; CREATE INDEX by_note ON peer (note)" },
};

static const char *db(void)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/state.db", test_tmpdir());
	return path;
}

static int add(struct store *s, const char *name, const void *root, size_t len)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;

	CHECK_EQ(store_prepare(&st, s, "INSERT INTO peer (name, root) VALUES (?1, ?2)"), 0);
	store_bind_text(st, 1, name);
	store_bind_blob(st, 2, root, len);
	return store_step(st);
}

static int64_t count(struct store *s, const char *sql)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;

	CHECK_EQ(store_prepare(&st, s, sql), 0);
	CHECK_EQ(store_step(st), STORE_E_ROW);
	return store_int(st, 0);
}

#define N_PEERS "SELECT count(*) FROM peer"

TEST(a_new_store_is_private_migrated_and_set_up)
{
	_cleanup_(store_closep) struct store *s = NULL;
	struct stat st;

	umask(0);
	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(count(s, "PRAGMA user_version"), 2);
	CHECK_EQ(count(s, "PRAGMA synchronous"), 2);
	CHECK_EQ(count(s, "PRAGMA secure_delete"), 1);
	CHECK_EQ(count(s, "PRAGMA foreign_keys"), 1);
	CHECK_EQ(add(s, "pi", "x", 1), 0);
	CHECK_EQ(stat(db(), &st), 0);
	CHECK_EQ(st.st_mode & 07777, 0600);
	for (int i = 0; i < 2; i++) {
		char path[300];

		snprintf(path, sizeof(path), "%s%s", db(), i ? "-shm" : "-wal");
		CHECK_EQ(stat(path, &st), i ? -1 : 0);
		if (!i)
			CHECK_EQ(st.st_mode & 07777, 0600);
	}
}

TEST(rows_come_back_as_they_went_in)
{
	_cleanup_(store_closep) struct store *s = NULL;
	struct store_stmt *st;
	const char *p;
	size_t len;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(add(s, "K\u00fcche", "a\0b", 3), 0);
	CHECK_EQ(add(s, "none", NULL, 0), 0);
	CHECK_EQ(add(s, "empty", "", 0), 0);
	CHECK_EQ(store_changes(s), 1);
	s = store_close(s);

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(store_prepare(&st, s, "SELECT name, root, id, root IS NULL FROM peer ORDER BY id"), 0);
	CHECK_EQ(store_step(st), STORE_E_ROW);
	CHECK_STR(store_text(st, 0), "K\u00fcche");
	p = store_blob(st, 1, &len);
	CHECK_EQ(len, 3);
	CHECK_MEM(p, "a\0b", 3);
	CHECK_EQ(store_int(st, 2), 1);
	CHECK_EQ(store_step(st), STORE_E_ROW);
	CHECK_EQ(store_int(st, 3), 1);
	CHECK(store_blob(st, 1, &len) == NULL);
	CHECK_EQ(len, 0);
	CHECK_EQ(store_step(st), STORE_E_ROW);
	CHECK_EQ(store_int(st, 3), 0);
	store_blob(st, 1, &len);
	CHECK_EQ(len, 0);
	CHECK_EQ(store_step(st), 0);
	store_done(st);
}

TEST(a_broken_rule_is_an_outcome)
{
	_cleanup_(store_closep) struct store *s = NULL;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(add(s, "pi", NULL, 0), 0);
	CHECK_EQ(add(s, "pi", NULL, 0), STORE_E_CONSTRAINT);
	CHECK_EQ(add(s, NULL, NULL, 0), STORE_E_CONSTRAINT);
	CHECK_EQ(count(s, N_PEERS), 1);
}

TEST(statements_are_kept_and_lent_once)
{
	_cleanup_(store_closep) struct store *s = NULL;
	struct store_stmt *a, *b, *c;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(store_prepare(&a, s, N_PEERS), 0);
	CHECK_EQ(store_prepare(&b, s, N_PEERS), 0);
	CHECK(a != b);
	store_done(a);
	CHECK_EQ(store_prepare(&c, s, N_PEERS), 0);
	CHECK(a == c);
	store_done(b);
	store_done(c);
	CHECK(store_prepare(&c, s, "SELECT nonsense FROM nowhere") < 0);
}

TEST(an_old_store_is_brought_forward_with_its_rows)
{
	_cleanup_(store_closep) struct store *s = NULL;

	CHECK_EQ(store_open(&s, db(), steps, 1), 0);
	CHECK_EQ(add(s, "pi", "root", 4), 0);
	s = store_close(s);
	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(count(s, "SELECT count(*) FROM peer WHERE note IS NULL"), 1);
	CHECK_EQ(count(s, "PRAGMA user_version"), 2);
}

TEST(looking_brings_nothing_forward)
{
	_cleanup_(store_closep) struct store *s = NULL;
	int64_t found;

	CHECK_EQ(store_open(&s, db(), steps, 1), 0);
	CHECK_EQ(add(s, "pi", "root", 4), 0);
	s = store_close(s);
	CHECK_EQ(store_look(&s, db(), steps, 2, &found), 0);
	CHECK_EQ(found, 1);
	CHECK_EQ(count(s, "SELECT count(*) FROM peer WHERE note IS NULL"), 1);
	CHECK_EQ(add(s, "seen by nobody", NULL, 0), 0);
	s = store_close(s);
	CHECK_EQ(store_open(&s, db(), steps, 1), 0);
	CHECK_EQ(count(s, "PRAGMA user_version"), 1);
	CHECK_EQ(count(s, N_PEERS), 1);
	s = store_close(s);
	CHECK_EQ(unlink(db()), 0);
	CHECK(store_look(&s, db(), steps, 2, &found) < 0);
	CHECK(access(db(), F_OK) < 0);
}

TEST(a_newer_store_is_refused_and_left_alone)
{
	_cleanup_(store_closep) struct store *s = NULL;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(add(s, "pi", NULL, 0), 0);
	s = store_close(s);
	CHECK_EQ(store_open(&s, db(), steps, 1), STORE_E_NEWER);
	CHECK(s == NULL);
	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(count(s, N_PEERS), 1);
}

TEST(i9_a_migration_that_fails_changes_nothing)
{
	static const struct store_migration bad[] = {
		{ "CREATE TABLE peer (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, root BLOB)" },
		{ "DELETE FROM peer; CREATE TABLE other (x); SELECT no_such_function()" },
	};
	_cleanup_(store_closep) struct store *s = NULL;

	CHECK_EQ(store_open(&s, db(), steps, 1), 0);
	CHECK_EQ(add(s, "pi", NULL, 0), 0);
	s = store_close(s);
	CHECK(store_open(&s, db(), bad, 2) != 0);
	CHECK(s == NULL);
	CHECK_EQ(store_open(&s, db(), bad, 1), 0);
	CHECK_EQ(count(s, N_PEERS), 1);
	CHECK_EQ(count(s, "SELECT count(*) FROM sqlite_schema WHERE name = 'other'"), 0);
}

TEST(rollback_undoes_and_is_harmless_without_a_transaction)
{
	_cleanup_(store_closep) struct store *s = NULL;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	store_rollback(s);
	CHECK_EQ(store_begin(s), 0);
	CHECK_EQ(add(s, "pi", NULL, 0), 0);
	store_rollback(s);
	CHECK_EQ(count(s, N_PEERS), 0);
	CHECK_EQ(store_begin(s), 0);
	CHECK_EQ(add(s, "pi", NULL, 0), 0);
	CHECK_EQ(store_scrub(s), -EBUSY);
	CHECK_EQ(store_commit(s), 0);
	CHECK_EQ(count(s, N_PEERS), 1);
}

/* A child that opens, commits one row, begins another, says so, and waits to be killed. */
static pid_t start_holder(void)
{
	int fds[2];
	pid_t pid;
	char c;

	db(); /* the folder is the parent's */
	CHECK_EQ(pipe(fds), 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		struct store *s = NULL;

		if (store_open(&s, db(), steps, 2) || add(s, "committed", NULL, 0) || store_begin(s) ||
		    add(s, "not committed", NULL, 0) || write(fds[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	CHECK_EQ(read(fds[0], &c, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

TEST(i1_two_daemons_cannot_have_one_store)
{
	_cleanup_(store_closep) struct store *s = NULL;
	pid_t pid = start_holder();
	int r = store_open(&s, db(), steps, 2);

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_EQ(r, STORE_E_LOCKED);
	CHECK(s == NULL);
}

TEST(i9_what_was_committed_survives_kill_9_and_the_rest_does_not)
{
	_cleanup_(store_closep) struct store *s = NULL;
	pid_t pid = start_holder();

	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(count(s, N_PEERS), 1);
	CHECK_EQ(count(s, "SELECT count(*) FROM peer WHERE name = 'committed'"), 1);
}

/* In how many files of the folder the bytes stand. */
static int files_with(const void *needle, size_t len)
{
	DIR *d = opendir(test_tmpdir());
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d))) {
		_cleanup_free_ char *text = NULL, *path = path_join(test_tmpdir(), e->d_name);
		size_t got;

		if (e->d_type == DT_REG && file_read(&text, &got, path, 1 << 24) == 0 &&
		    memmem(text, got, needle, len))
			n++;
	}
	closedir(d);
	return n;
}

static void run(struct store *s, const char *sql)
{
	_cleanup_(store_donep) struct store_stmt *st = NULL;

	CHECK_EQ(store_prepare(&st, s, sql), 0);
	CHECK_EQ(store_step(st), 0);
}

TEST(i5_a_deleted_secret_is_in_no_file_after_scrubbing)
{
	_cleanup_(store_closep) struct store *s = NULL;
	char root[32], large[20000], name[16];

	for (size_t i = 0; i < sizeof(root); i++)
		root[i] = (char)(0xa0 + i);
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (char)(i * 7 + i / 251);
	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	for (int i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "peer%d", i);
		CHECK_EQ(add(s, name, root, sizeof(root)), 0);
	}
	CHECK_EQ(add(s, "large", large, sizeof(large)), 0);
	/* The search finds what is there: in the WAL now, in the database after this. */
	CHECK(files_with(root, sizeof(root)) > 0);
	CHECK_EQ(store_scrub(s), 0);
	CHECK_EQ(files_with(root, sizeof(root)), 1);
	CHECK_EQ(files_with(large + 9000, 100), 1);

	/* Moved: one replaced, one set to nothing, the rest deleted. */
	run(s, "UPDATE peer SET root = x'00' WHERE name = 'peer0'");
	run(s, "UPDATE peer SET root = NULL WHERE name = 'peer1'");
	run(s, "DELETE FROM peer WHERE root IS NOT NULL AND name <> 'peer0'");
	CHECK_EQ(store_scrub(s), 0);
	CHECK_EQ(files_with(root, sizeof(root)), 0);
	CHECK_EQ(files_with(root, 8), 0);
	CHECK_EQ(files_with(large + 9000, 100), 0);
	CHECK_EQ(files_with(large, 100), 0);
	CHECK_EQ(count(s, N_PEERS), 2);
}

static void write_file(size_t offset, const void *data, size_t len)
{
	_cleanup_close_ int fd = open(db(), O_RDWR | O_CREAT, 0600);

	CHECK_EQ(file_pwrite_all(fd, data, len, (off_t)offset), 0);
}

TEST(a_file_that_is_no_database_is_corrupt)
{
	static const char garbage[8192] = "this is not a database at all, though long enough";
	_cleanup_(store_closep) struct store *s = NULL;

	write_file(0, garbage, sizeof(garbage));
	CHECK_EQ(store_open(&s, db(), steps, 2), STORE_E_CORRUPT);
	CHECK(s == NULL);
}

TEST(damage_inside_is_found_when_opening)
{
	enum { PAGE = 4096, ROWS = 200 };
	static char junk[PAGE];
	size_t pages = 2;

	memset(junk, 0xff, sizeof(junk));
	for (size_t page = 1; page < pages; page++) {
		_cleanup_(store_closep) struct store *s = NULL;
		struct stat st;

		unlink(db());
		CHECK_EQ(store_open(&s, db(), steps, 2), 0);
		for (int i = 0; i < ROWS; i++) {
			char name[64];

			snprintf(name, sizeof(name), "a rather long name for a peer, number %d", i);
			CHECK_EQ(add(s, name, "root", 4), 0);
		}
		s = store_close(s);
		CHECK_EQ(stat(db(), &st), 0);
		pages = (size_t)st.st_size / PAGE;
		CHECK(pages >= 4);
		write_file(page * PAGE, junk, sizeof(junk));
		CHECK_EQ(store_open(&s, db(), steps, 2), STORE_E_CORRUPT);
	}
}

TEST(an_index_that_lacks_a_row_is_found_when_opening)
{
	_cleanup_(store_closep) struct store *s = NULL;
	sqlite3 *raw;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(add(s, "pi", "root", 4), 0);
	s = store_close(s);
	/* Out of the schema, so that it does not hear of the change, and in again. */
	CHECK_EQ(sqlite3_open(db(), &raw), SQLITE_OK);
	CHECK_EQ(sqlite3_exec(raw,
			      "CREATE INDEX an_index ON peer (name);"
			      "PRAGMA writable_schema=ON;"
			      "CREATE TEMP TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'an_index';"
			      "DELETE FROM sqlite_schema WHERE name = 'an_index';"
			      "PRAGMA writable_schema=RESET;"
			      "UPDATE peer SET name = 'another';"
			      "PRAGMA writable_schema=ON;"
			      "INSERT INTO sqlite_schema SELECT * FROM kept;",
			      NULL, NULL, NULL),
		 SQLITE_OK);
	sqlite3_close(raw);
	CHECK_EQ(store_open(&s, db(), steps, 2), STORE_E_CORRUPT);
}

TEST(a_cut_file_is_corrupt)
{
	_cleanup_(store_closep) struct store *s = NULL;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(add(s, "pi", "root", 4), 0);
	s = store_close(s);
	CHECK_EQ(truncate(db(), 4096), 0);
	CHECK_EQ(store_open(&s, db(), steps, 2), STORE_E_CORRUPT);
}

TEST(folders_and_links_that_are_wrong_are_told)
{
	_cleanup_(store_closep) struct store *s = NULL;
	char path[300];

	snprintf(path, sizeof(path), "%s/none/state.db", test_tmpdir());
	CHECK_EQ(store_open(&s, path, steps, 2), -ENOENT);
	CHECK_EQ(symlink("elsewhere", db()), 0);
	CHECK_EQ(store_open(&s, db(), steps, 2), -ELOOP);
	CHECK_EQ(store_open(&s, test_tmpdir(), steps, 2), -EISDIR);
}

TEST(a_folder_behind_a_link_is_as_good)
{
	_cleanup_(store_closep) struct store *s = NULL;
	char link[300], path[320];

	snprintf(link, sizeof(link), "%s/link", test_tmpdir());
	CHECK_EQ(symlink(test_tmpdir(), link), 0);
	snprintf(path, sizeof(path), "%s/state.db", link);
	CHECK_EQ(store_open(&s, path, steps, 2), 0);
	CHECK_EQ(access(db(), F_OK), 0);
	s = store_close(s);
	/* In the file's own place it stays refused. */
	CHECK_EQ(unlink(db()), 0);
	CHECK_EQ(symlink("elsewhere", db()), 0);
	CHECK_EQ(store_open(&s, path, steps, 2), -ELOOP);
}

TEST(i9_a_full_disk_is_told_and_loses_nothing)
{
	_cleanup_(store_closep) struct store *s = NULL;
	static const char big[400000];

	if (geteuid() != 0)
		test_skip("needs root for a small disk");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", test_tmpdir(), "tmpfs", 0, "size=256k") < 0)
		test_skip("cannot mount here: %s", strerror(errno));
	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(add(s, "kept", "root", 4), 0);
	CHECK_EQ(store_begin(s), 0);
	CHECK_EQ(add(s, "also", "root", 4), 0);
	if (add(s, "big", big, sizeof(big)) == 0)
		CHECK_EQ(store_commit(s), -ENOSPC);
	store_rollback(s);
	CHECK_EQ(count(s, N_PEERS), 1);
	CHECK_EQ(add(s, "later", "root", 4), 0);
	s = store_close(s);
	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(count(s, N_PEERS), 2);
	s = store_close(s);
	CHECK_EQ(umount(test_tmpdir()), 0);
}

static bool refusing;
static unsigned int refused_sync; /* the how manieth from now; 0: none */

/* SQLite's, too. */
int fdatasync(int fd)
{
	if (refusing || (refused_sync > 0 && --refused_sync == 0)) {
		errno = EIO;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

/* What a process that starts now finds. */
static int64_t found_by_the_next_life(void)
{
	_cleanup_(store_closep) struct store *s = NULL;
	char command[512], copy[256];

	snprintf(copy, sizeof(copy), "%s/copy", test_tmpdir());
	snprintf(command, sizeof(command), "cd %s && rm -f copy*; cp state.db copy && cp state.db-wal copy-wal", test_tmpdir());
	CHECK_EQ(system(command), 0);
	CHECK_EQ(store_open(&s, copy, steps, 2), 0);
	return count(s, N_PEERS);
}

TEST(i9_what_a_disk_refused_does_not_come_back)
{
	_cleanup_(store_closep) struct store *s = NULL;

	CHECK_EQ(store_open(&s, db(), steps, 2), 0);
	CHECK_EQ(add(s, "kept", "root", 4), 0);
	/* Once in a transaction, once as a statement of its own. */
	for (int i = 0; i < 2; i++) {
		refusing = true;
		if (i == 0) {
			CHECK_EQ(store_begin(s), 0);
			CHECK_EQ(add(s, "refused", "root", 4), 0);
			CHECK_EQ(store_commit(s), -EIO);
			store_rollback(s);
		} else {
			CHECK_EQ(add(s, "refused", "root", 4), -EIO);
		}
		CHECK_EQ(count(s, N_PEERS), 1);
		refusing = false;
		CHECK_EQ(count(s, N_PEERS), 1);
		CHECK_EQ(found_by_the_next_life(), 1);
	}
	CHECK_EQ(add(s, "later", "root", 4), 0);
	CHECK_EQ(found_by_the_next_life(), 2);
}

/* From no file and from each version: a start that the disk refused is made good by the next one. */
TEST(i9_a_migration_that_the_disk_refused_is_done_by_the_next_start)
{
	static const struct store_migration more[] = {
		{ "CREATE TABLE peer (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, root BLOB)" },
		{ "ALTER TABLE peer ADD COLUMN note TEXT; CREATE INDEX by_note ON peer (note)" },
		{ "CREATE TABLE other (x)" },
	};
	unsigned int failed = 0;

	for (size_t from = 0; from <= 2; from++) {
		bool refused = true;

		for (unsigned int n = 1; refused; n++) {
			_cleanup_(store_closep) struct store *s = NULL;
			char command[300];

			snprintf(command, sizeof(command), "rm -f %s*", db());
			CHECK_EQ(system(command), 0);
			if (from > 0) {
				CHECK_EQ(store_open(&s, db(), more, from), 0);
				CHECK_EQ(add(s, "pi", "root", 4), 0);
				s = store_close(s);
			}
			refused_sync = n;
			failed += store_open(&s, db(), more, 3) != 0;
			refused = refused_sync == 0;
			refused_sync = 0;
			s = store_close(s);
			CHECK_EQ(store_open(&s, db(), more, 3), 0);
			CHECK_EQ(count(s, N_PEERS), from > 0);
			CHECK_EQ(count(s, "PRAGMA user_version"), 3);
		}
	}
	CHECK(failed > 3);
}
