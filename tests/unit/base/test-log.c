/* log.h, on stderr and on a journal socket of the test's own; ids and catalog agree. */
#include "unit/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"

static char *captured;

/* stderr becomes a file; what it got is read by seen(). */
static void capture(void)
{
	_cleanup_close_ int fd = -1;

	if (asprintf(&captured, "%s/stderr", test_tmpdir()) < 0)
		abort();
	fd = open(captured, O_RDWR | O_CREAT | O_APPEND, 0600);
	CHECK(fd >= 0);
	CHECK_EQ(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	unsetenv("JOURNAL_STREAM");
	log_init("testd", LOG_INFO);
}

static const char *seen(void)
{
	static char *text;
	size_t len;

	free(text);
	text = NULL;
	CHECK_EQ(file_read(&text, &len, captured, 1 << 24), 0);
	return text;
}

static size_t lines(void)
{
	size_t n = 0;

	for (const char *s = seen(); *s; s++)
		n += *s == '\n';
	return n;
}

TEST(an_event_is_one_line_with_its_fields)
{
	capture();
	log_event(LOG_NOTICE, &MSG_DAEMON_READY,
		  LOG_FIELDS({ FIELD_PEER, "pi" }, { FIELD_ERROR, NULL }, { FIELD_FILE, "/a b" }),
		  "ready in %d ms", 7);
	CHECK_STR(seen(), "<5>testd: notice: ready in 7 ms [HANDFAST_EVENT=daemon-ready "
			  "HANDFAST_PEER=pi HANDFAST_FILE=\"/a b\"]\n");
}

TEST(levels_below_the_chosen_one_are_not_written)
{
	capture();
	log_event(LOG_DEBUG, &MSG_DAEMON_READY, LOG_NO_FIELDS, "no");
	log_debug("no");
	CHECK_EQ(lines(), 0);
	log_set_level(LOG_DEBUG);
	log_debug("yes %s", "this\n");
	CHECK_STR(seen(), "<7>testd: debug: yes this\n");
	CHECK_EQ(log_level_parse("err"), LOG_ERR);
	CHECK_EQ(log_level_parse("debug"), LOG_DEBUG);
	CHECK_EQ(log_level_parse("loud"), -1);
	CHECK_EQ(log_level_parse(""), -1);
}

TEST(i5_peer_text_can_end_no_line_and_forge_no_field)
{
	capture();
	log_event(LOG_INFO, &MSG_DAEMON_READY,
		  LOG_FIELDS({ FIELD_PEER, "x] y\n<1>testd: alert: \x1b[2J\" HANDFAST_ERROR=none" }),
		  "from %s", "a\nb\u202e");
	CHECK_EQ(lines(), 1);
	CHECK_STR(seen(), "<6>testd: info: from ab [HANDFAST_EVENT=daemon-ready HANDFAST_PEER="
			  "\"x] y<1>testd: alert: [2J\\\" HANDFAST_ERROR=none\"]\n");
}

TEST(long_values_and_many_fields_are_cut)
{
	_cleanup_free_ char *big = calloc(1, 100001);
	struct log_field f[40];

	capture();
	memset(big, 'x', 100000);
	for (int i = 0; i < 40; i++)
		f[i] = (struct log_field){ FIELD_PEER, big };
	log_event(LOG_INFO, &MSG_DAEMON_READY, (struct log_fields){ f, 40 }, "%s", big);
	CHECK_EQ(lines(), 1);
	CHECK(strlen(seen()) < 8193);
}

static void flood(const char *peer, int n)
{
	for (int i = 0; i < n; i++)
		log_event(LOG_INFO, &MSG_DAEMON_READY, LOG_FIELDS({ FIELD_PEER, peer }), "again");
}

TEST(repeats_are_counted_and_the_count_is_told)
{
	clock_fake_ms(1000000);
	capture();
	flood("pi", 1000);
	CHECK_EQ(lines(), 10);
	flood("other", 3); /* another value has a limit of its own */
	CHECK_EQ(lines(), 13);
	clock_fake_ms(1000000 + 59999);
	flood("pi", 1);
	CHECK_EQ(lines(), 13);
	clock_fake_ms(1000000 + 60000);
	flood("pi", 1);
	CHECK_EQ(lines(), 14);
	CHECK(strstr(seen(), "again (991 more like this were not logged) [HANDFAST_EVENT=daemon-ready "
			     "HANDFAST_COUNT=991 HANDFAST_PEER=pi]\n") != NULL);
	flood("pi", 1);
	CHECK_EQ(lines(), 15);
	CHECK(!strstr(strrchr(seen(), '<'), "more like this"));
}

TEST(i4_ever_new_values_share_a_limit)
{
	clock_fake_ms(1000000);
	capture();
	for (int i = 0; i < 100000; i++) {
		char peer[16];

		snprintf(peer, sizeof(peer), "peer%d", i);
		flood(peer, 1);
	}
	CHECK(lines() >= 100);
	CHECK(lines() <= 200);
}

static void *log_much(void *arg)
{
	for (int i = 0; i < 2000; i++)
		log_debug("a line of thread %s that must stay whole", (const char *)arg);
	flood("pi", 100);
	return NULL;
}

TEST(threads_do_not_mix_their_lines)
{
	pthread_t t[4];
	regex_t re;
	char *copy, *save = NULL;

	capture();
	log_set_level(LOG_DEBUG);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&t[i], NULL, log_much, (void *)(uintptr_t)"x"), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	CHECK_EQ(lines(), 8010);
	CHECK_EQ(regcomp(&re,
			 "^<[67]>testd: (debug: a line of thread x that must stay whole|"
			 "info: again \\[HANDFAST_EVENT=daemon-ready HANDFAST_PEER=pi\\])$",
			 REG_EXTENDED | REG_NOSUB),
		 0);
	copy = strdup(seen());
	for (char *l = strtok_r(copy, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		CHECK_EQ(regexec(&re, l, 0, NULL, 0), 0);
	free(copy);
	regfree(&re);
}

TEST(a_journal_that_is_gone_is_replaced_by_its_stream)
{
	struct stat st;
	char env[64];

	if (access("/run/systemd/journal/socket", F_OK) == 0)
		test_skip("there is a journal here");
	capture();
	CHECK_EQ(fstat(STDERR_FILENO, &st), 0);
	snprintf(env, sizeof(env), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", env, 1);
	log_init("testd", LOG_INFO);
	flood("pi", 1);
	CHECK_STR(seen(), "<6>testd: info: again [HANDFAST_EVENT=daemon-ready HANDFAST_PEER=pi]\n");
}

/* A journal of our own, in a mount namespace where nobody else sees it. */
TEST(with_a_journal_the_fields_go_there)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket" };
	_cleanup_close_ int fd = -1;
	struct stat st;
	char env[64], got[4096];
	ssize_t n;

	if (geteuid() != 0)
		test_skip("needs root for a journal of its own");
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/run", "tmpfs", 0, "size=64k") < 0)
		test_skip("cannot mount here: %s", strerror(errno));
	CHECK_EQ(file_mkdirs("/run/systemd/journal", 0755), 0);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);

	capture();
	CHECK_EQ(fstat(STDERR_FILENO, &st), 0);
	snprintf(env, sizeof(env), "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", env, 1);
	log_init("testd", LOG_INFO);
	log_event(LOG_WARNING, &MSG_DAEMON_FAILED, LOG_FIELDS({ FIELD_PEER, "p\ni" }), "it\nfailed");
	n = recv(fd, got, sizeof(got) - 1, 0);
	CHECK(n > 0);
	got[n] = '\0';
	CHECK(strstr(got, "PRIORITY=4\n") != NULL);
	CHECK(strstr(got, "SYSLOG_IDENTIFIER=testd\n") != NULL);
	CHECK(strstr(got, "MESSAGE=itfailed\n") != NULL);
	CHECK(strstr(got, "HANDFAST_EVENT=daemon-failed\n") != NULL);
	CHECK(strstr(got, "HANDFAST_PEER=pi\n") != NULL);
	CHECK(strstr(got, MSG_DAEMON_FAILED.id) != NULL);
	CHECK_EQ(lines(), 0);
}

/* ---- ids and catalog ---- */

static void read_source(char **out, const char *path)
{
	size_t len;

	if (file_read(out, &len, path, 1 << 20))
		test_skip("%s is not here (run from the source folder)", path);
}

static bool has_entry(const char *catalog, const char *id)
{
	char head[64];
	const char *at;

	snprintf(head, sizeof(head), "-- %.32s\nSubject: ", id);
	at = strstr(catalog, head);
	return at && (at == catalog || at[-1] == '\n') && at[strlen(head)] != '\n';
}

TEST(every_id_is_unique_and_has_a_catalog_entry)
{
	_cleanup_free_ char *ids = NULL, *catalog = NULL;
	char events[512][64], seen_ids[512][33];
	size_t n = 0, entries = 0;
	regmatch_t m[4];
	regex_t re;

	read_source(&ids, "common/base/log_ids.h");
	read_source(&catalog, "conf/handfast.catalog");
	CHECK_EQ(regcomp(&re, "DEFINE_LOG_ID\\(([A-Z0-9_]+),[ \t\n]*\"([a-z0-9-]+)\",[ \t\n]*\"([0-9a-f]{32})\"\\)",
			 REG_EXTENDED),
		 0);
	for (const char *s = ids; regexec(&re, s, 4, m, 0) == 0; s += m[0].rm_eo, n++) {
		CHECK(n < 512);
		snprintf(events[n], 64, "%.*s", (int)(m[2].rm_eo - m[2].rm_so), s + m[2].rm_so);
		snprintf(seen_ids[n], 33, "%.*s", 32, s + m[3].rm_so);
		for (size_t i = 0; i < n; i++)
			if (!strcmp(events[i], events[n]) || !strcmp(seen_ids[i], seen_ids[n]))
				test_fail(__FILE__, __LINE__, "%s and %s are the same", events[i], events[n]);
		if (!has_entry(catalog, seen_ids[n]))
			test_fail(__FILE__, __LINE__, "%s has no entry in conf/handfast.catalog", events[n]);
	}
	regfree(&re);
	/* The pattern missed none, and the catalog explains nothing that is not there. */
	for (const char *s = ids; (s = strstr(s, "DEFINE_LOG_ID(MSG_")); s++)
		entries++;
	CHECK_EQ(n, entries);
	entries = 0;
	for (const char *s = catalog; (s = strstr(s, "\n-- ")); s++)
		entries++;
	CHECK_EQ(entries, n);
}
