/* The table of sessions: by code in salted buckets, by age in a list with one timer at its head. */
#include "relayd/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "crypto/secret.h"
#include "event/loop.h"

enum { BUCKETS = 4096 };

struct sessions {
	struct sessions_events ev;
	struct session *buckets[BUCKETS];
	uint64_t salt;
	struct list by_age;
	struct loop_timer *timer;
	size_t count, awaited;
	struct session none; /* what is looked at when there is no session */
};

static size_t bucket_of(const struct sessions *t, const char *code)
{
	uint64_t v;

	static_assert(RELAY_CODE_LEN == sizeof(v), "a code is hashed as one word");
	memcpy(&v, code, sizeof(v));
	v = (v ^ t->salt) * 0x9e3779b97f4a7c15u;
	return (size_t)(v >> 40) % BUCKETS;
}

static struct session *of_age(struct list *node)
{
	return container_of(node, struct session, by_age);
}

static void set_timer(struct sessions *t)
{
	uint64_t now = clock_now_ms(), first;

	if (list_is_empty(&t->by_age)) {
		loop_timer_stop(t->timer);
		return;
	}
	first = of_age(t->by_age.next)->expires_ms;
	(void)loop_timer_start(t->timer, first > now ? first - now : 0);
}

static void on_timer(void *arg)
{
	struct sessions *t = arg;
	uint64_t now = clock_now_ms();

	while (!list_is_empty(&t->by_age)) {
		struct session *s = of_age(t->by_age.next);

		if (s->expires_ms > now)
			break;
		t->ev.on_expired(s, t->ev.arg);
		/* It must be gone from the list, or this would not end. */
		assert(list_is_empty(&t->by_age) || of_age(t->by_age.next) != s);
	}
	set_timer(t);
}

int sessions_new(struct sessions **out, struct loop *l, const struct sessions_events *ev)
{
	struct sessions *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->ev = *ev;
	list_init(&t->by_age);
	random_bytes(&t->salt, sizeof(t->salt));
	r = loop_timer_new(&t->timer, l, on_timer, t);
	if (r) {
		free(t);
		return r;
	}
	*out = t;
	return 0;
}

struct sessions *sessions_free(struct sessions *t)
{
	if (!t)
		return NULL;
	list_for_each(it, &t->by_age)
		session_end(t, of_age(it));
	loop_timer_free(t->timer);
	free(t);
	return NULL;
}

static void make_code(struct sessions *t, char code[static RELAY_CODE_LEN + 1])
{
	uint8_t values[RELAY_CODE_LEN];

	do {
		for (size_t i = 0; i < RELAY_CODE_LEN; i++)
			values[i] = (uint8_t)random_below(RELAY_CODE_BASE);
		relay_code_format(code, values);
	} while (session_find(t, code));
}

/* Behind every one that ends earlier: a reload may have changed the life of new ones. */
static void insert_by_age(struct sessions *t, struct session *s)
{
	struct list *after = t->by_age.prev;

	while (after != &t->by_age && of_age(after)->expires_ms > s->expires_ms)
		after = after->prev;
	s->by_age.prev = after;
	s->by_age.next = after->next;
	after->next->prev = &s->by_age;
	after->next = &s->by_age;
}

int session_create(struct session **out, struct sessions *t, uint64_t ttl_ms)
{
	struct session *s = calloc(1, sizeof(*s));
	size_t b;

	if (!s)
		return -ENOMEM;
	make_code(t, s->code);
	random_bytes(s->id, sizeof(s->id));
	s->created_ms = clock_now_ms();
	s->expires_ms = s->created_ms + ttl_ms;
	for (unsigned int i = 0; i < 2; i++) {
		s->members[i].session = s;
		s->members[i].role = i == 0 ? RELAY_ALICE : RELAY_BOB;
	}
	b = bucket_of(t, s->code);
	s->next = t->buckets[b];
	t->buckets[b] = s;
	t->count++;
	t->awaited += ARRAY_SIZE(s->members);
	insert_by_age(t, s);
	set_timer(t);
	*out = s;
	return 0;
}

struct session *session_find(struct sessions *t, const char *code)
{
	struct session *found = NULL;

	for (struct session *s = t->buckets[bucket_of(t, code)]; s; s = s->next)
		if (bytes_equal(s->code, code, RELAY_CODE_LEN))
			found = s;
	return found;
}

struct member *session_hold(struct sessions *t, const char code[static RELAY_CODE_LEN + 1],
			    enum relay_role role, const struct http_listener *through)
{
	struct session *s = session_find(t, code);
	struct member *m;
	bool fine;

	if (!s)
		s = &t->none;
	m = &s->members[role == RELAY_BOB];
	fine = s->expires_ms > clock_now_ms();
	fine &= s->lan == through;
	fine &= m->place == PLACE_FREE;
	if (!fine)
		return NULL;
	m->place = PLACE_HELD;
	return m;
}

static bool is_awaited(const struct member *m)
{
	return m->place == PLACE_FREE || m->place == PLACE_HELD;
}

static void free_if_left(struct sessions *t, struct session *s)
{
	if (!s->ended)
		return;
	for (size_t i = 0; i < 2; i++)
		if (s->members[i].place == PLACE_HELD || s->members[i].place == PLACE_HERE)
			return;
	t->ev.on_free(s, t->ev.arg);
	mailbox_done(&s->members[0].waiting);
	mailbox_done(&s->members[1].waiting);
	free(s);
}

void session_enter(struct sessions *t, struct member *m)
{
	assert(m->place == PLACE_HELD);
	m->place = PLACE_HERE;
	if (!m->session->ended)
		t->awaited--;
}

void session_release(struct sessions *t, struct member *m)
{
	assert(m->place == PLACE_HELD || m->place == PLACE_HERE);
	/* A handshake that never became a connection took nothing. */
	m->place = m->place == PLACE_HELD ? PLACE_FREE : PLACE_GONE;
	m->ws = NULL;
	free_if_left(t, m->session);
}

void session_end(struct sessions *t, struct session *s)
{
	struct session **at = &t->buckets[bucket_of(t, s->code)];

	assert(!s->ended);
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	list_remove(&s->by_age);
	t->count--;
	for (size_t i = 0; i < ARRAY_SIZE(s->members); i++)
		if (is_awaited(&s->members[i]))
			t->awaited--;
	s->ended = true;
	set_timer(t);
	free_if_left(t, s);
}

struct session *sessions_first(struct sessions *t)
{
	return list_is_empty(&t->by_age) ? NULL : of_age(t->by_age.next);
}

struct session *session_next(struct sessions *t, struct session *s)
{
	return s->by_age.next == &t->by_age ? NULL : of_age(s->by_age.next);
}

size_t sessions_count(const struct sessions *t)
{
	return t->count;
}

size_t sessions_awaited(const struct sessions *t)
{
	return t->awaited;
}
