/* log.h, on stderr and on a journal socket of the test's own; ids and catalog agree. */
#include "unit/lib/test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <regex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

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

/* Three bytes each, and a line's end falls on each of them once. */
TEST(a_long_line_is_cut_between_characters)
{
	char text[1024], pad[4] = "";
	struct log_field f[16];
	const char *all;

	capture();
	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = "\xe2\x82\xac"[i % 3];
	text[sizeof(text) - 1] = '\0';
	for (int i = 0; i < 16; i++)
		f[i] = (struct log_field){ FIELD_PEER, text };
	for (int i = 0; i < 3; i++) {
		log_event(LOG_INFO, &MSG_DAEMON_READY, (struct log_fields){ f, 16 }, "%s%s", pad, text);
		pad[i] = 'x';
	}
	CHECK_EQ(lines(), 3);
	all = seen();
	CHECK(text_is_utf8(all, strlen(all)));
	for (const char *s = all; *s; s = strchr(s, '\n') + 1)
		CHECK(strchr(s, '\n') - s < 4096);
}

static bool timer_runs(int fd)
{
	struct itimerspec when;

	CHECK_EQ(timerfd_gettime(fd, &when), 0);
	return when.it_value.tv_sec > 0 || when.it_value.tv_nsec > 0;
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
	CHECK_EQ(lines(), 15);
	CHECK(strstr(seen(), "<6>testd: info: not logged in the last 60 s: 991 daemon-ready (pi) "
			     "[HANDFAST_EVENT=events-not-logged HANDFAST_COUNT=991 "
			     "HANDFAST_UNLOGGED=daemon-ready HANDFAST_PEER=pi]\n"
			     "<6>testd: info: again [") != NULL);
	/* What was told is told once. */
	clock_fake_ms(1000000 + 120000);
	log_tell(true);
	CHECK_EQ(lines(), 15);
}

TEST(counts_come_out_without_another_event)
{
	struct pollfd p = { .fd = log_due_fd(), .events = POLLIN };

	clock_fake_ms(1000000);
	capture();
	flood("pi", 10);
	CHECK(p.fd >= 0);
	CHECK(!timer_runs(p.fd)); /* nothing was held back: nothing runs */
	flood("pi", 5);
	CHECK(timer_runs(p.fd));
	log_tell(false); /* too early, and it goes on */
	CHECK_EQ(lines(), 10);
	CHECK(timer_runs(p.fd));
	clock_fake_ms(1000000 + 60000);
	log_tell(false);
	CHECK_EQ(lines(), 11);
	CHECK(strstr(seen(), "HANDFAST_COUNT=5 ") != NULL);
	clock_fake_ms(1000000 + 180000);
	log_tell(false);
	CHECK_EQ(lines(), 11);
}

TEST(the_end_of_a_program_tells_what_is_left)
{
	clock_fake_ms(1000000);
	capture();
	flood("pi", 12);
	clock_fake_ms(1000000 + 2500);
	log_tell(true);
	CHECK(strstr(seen(), "not logged in the last 3 s: 2 daemon-ready (pi)") != NULL);
}

/* Many kinds from many strangers, an hour long; the counts are exact. */
TEST(i4_strangers_cause_fewer_than_ten_lines_a_minute)
{
	static const struct log_id *const kinds[] = { &MSG_TUNNEL_OTHER_KEY, &MSG_TUNNEL_REFLECTED, &MSG_TUNNEL_OWN_ROLE,
						      &MSG_TUNNEL_WRONG_PEER, &MSG_IDENTITY_DENIED, &MSG_RELAY_REFUSED,
						      &MSG_CONTROL_DENIED, &MSG_TUND_REFUSED };
	static size_t lines_at[3600];
	uint64_t sent = 0, told = 0, logged = 0;

	capture();
	for (uint64_t second = 0; second < 1800; second++) {
		clock_fake_ms(1000000 + second * 1000);
		for (uint64_t i = 0; i < 800; i++, sent++) {
			char name[16], tag[24];

			snprintf(name, sizeof(name), "tunnel%llu", (unsigned long long)(i % 3));
			snprintf(tag, sizeof(tag), "%llu", (unsigned long long)sent);
			log_event(LOG_NOTICE, kinds[i % 8],
				  i % 8 < 4 ? LOG_FIELDS({ FIELD_TUNNEL, name }) : LOG_FIELDS({ FIELD_ADDRESS_TAG, tag }),
				  "from 10.0.0.%llu", (unsigned long long)i);
		}
		if (second % 15 == 0)
			lines_at[second] = lines();
	}
	CHECK(lines_at[45] < 10);
	for (uint64_t second = 60; second < 1800; second += 15)
		CHECK(lines_at[second] - lines_at[second - 60] < 10);
	log_tell(true);
	for (const char *s = seen(); (s = strstr(s, "HANDFAST_COUNT=")); s++)
		told += strtoull(s + 15, NULL, 10);
	for (const char *s = seen(); (s = strstr(s, "from 10.0.0.")); s++)
		logged++;
	CHECK_EQ(told + logged, sent);
	/* Every kind is named with its tunnel. */
	CHECK(strstr(seen(), "tunnel-other-key (tunnel2)") != NULL);
	CHECK(strstr(seen(), "HANDFAST_TUNNEL=tunnel2") != NULL);
	CHECK(strstr(seen(), "control-denied") != NULL);
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
	log_tell(true);
	CHECK(strstr(seen(), "HANDFAST_COUNT=99") != NULL);
}

/* Where nobody reads, nobody waits; the count is told when somebody does. */
TEST(i4_a_reader_who_has_stopped_blocks_nobody)
{
	char got[65536];
	int fds[2];
	ssize_t n;

	clock_fake_ms(1000000);
	capture();
	CHECK_EQ(pipe(fds), 0);
	CHECK_EQ(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
	log_set_level(LOG_DEBUG);
	for (int i = 0; i < 5000; i++)
		log_debug("a line of some length for a pipe that nobody reads");
	while (read(fds[0], got, sizeof(got)) == (ssize_t)sizeof(got))
		;
	log_tell(true);
	n = read(fds[0], got, sizeof(got) - 1);
	CHECK(n > 0);
	got[n] = '\0';
	CHECK(strstr(got, " that could not be written [HANDFAST_EVENT=events-not-logged HANDFAST_COUNT=") != NULL);
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

	/* It stops reading: nobody waits for it. It is gone: its stream takes the lines. It is back. */
	log_set_level(LOG_DEBUG);
	for (int i = 0; i < 10000; i++)
		log_debug("more than the socket takes");
	CHECK_EQ(lines(), 0);
	close(steal_fd(&fd));
	CHECK_EQ(unlink(at.sun_path), 0);
	log_debug("without");
	CHECK_STR(seen(), "<7>testd: debug: without\n");
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CHECK_EQ(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	log_debug("again");
	CHECK(recv(fd, got, sizeof(got), 0) > 0);
	log_tell(true);
	n = recv(fd, got, sizeof(got) - 1, 0);
	CHECK(n > 0);
	got[n] = '\0';
	CHECK(strstr(got, "HANDFAST_EVENT=events-not-logged\n") != NULL);
	CHECK(strstr(got, " that could not be written\n") != NULL);
}

/* ---- ids and catalog ---- */

static void read_source(char **out, const char *path)
{
	size_t len;

	if (file_read(out, &len, path, 1 << 20))
		test_skip("%s is not here (run from the source folder)", path);
}

/* The entry of an id: subject, headers, a text of some length that ends before the next. */
static const char *complaint_about(const char *catalog, const char *id)
{
	static const char defined[] = "\nDefined-By: handfast\nDocumentation: man:";
	char head[64];
	const char *at, *end, *blank;

	snprintf(head, sizeof(head), "-- %.32s\nSubject: ", id);
	at = strstr(catalog, head);
	if (!at || (at != catalog && at[-1] != '\n'))
		return "has no entry";
	at += strlen(head);
	end = strstr(at, "\n-- ");
	end = end ? end : at + strlen(at);
	blank = strstr(at, "\n\n");
	if (*at == '\n' || !blank || blank > end)
		return "has no subject or text";
	at = strchr(at, '\n');
	if (strncmp(at, defined, strlen(defined)) != 0)
		return "lacks Defined-By or Documentation";
	if (end - blank < 40)
		return "says too little";
	return NULL;
}

TEST(every_id_is_unique_and_has_a_catalog_entry)
{
	_cleanup_free_ char *ids = NULL, *catalog = NULL;
	char events[512][64], seen_ids[512][33];
	size_t n = 0, entries = 0;
	regmatch_t m[5];
	regex_t re;

	read_source(&ids, "common/base/log_ids.h");
	read_source(&catalog, "conf/handfast.catalog");
	CHECK_EQ(regcomp(&re, "DEFINE_(LOG|PROVOKED)_ID\\(([A-Z0-9_]+),[ \t\n]*\"([a-z0-9-]+)\",[ \t\n]*\"([0-9a-f]{32})\"\\)",
			 REG_EXTENDED),
		 0);
	for (const char *s = ids; regexec(&re, s, 5, m, 0) == 0; s += m[0].rm_eo, n++) {
		CHECK(n < 512);
		snprintf(events[n], 64, "%.*s", (int)(m[3].rm_eo - m[3].rm_so), s + m[3].rm_so);
		snprintf(seen_ids[n], 33, "%.*s", 32, s + m[4].rm_so);
		for (size_t i = 0; i < n; i++)
			if (!strcmp(events[i], events[n]) || !strcmp(seen_ids[i], seen_ids[n]))
				test_fail(__FILE__, __LINE__, "%s and %s are the same", events[i], events[n]);
		if (complaint_about(catalog, seen_ids[n]))
			test_fail(__FILE__, __LINE__, "%s in conf/handfast.catalog %s", events[n],
				  complaint_about(catalog, seen_ids[n]));
	}
	regfree(&re);
	/* The pattern missed none, and the catalog explains nothing that is not there. */
	for (const char *s = ids; (s = strstr(s, "_ID(MSG_")); s++)
		entries++;
	CHECK_EQ(n, entries);
	entries = 0;
	for (const char *s = catalog; (s = strstr(s, "\n-- ")); s++)
		entries++;
	CHECK_EQ(entries, n);
}
