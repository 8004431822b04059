/*
 * The mark in the database is a time up to which time stamps may have been accepted, written ahead by minutes,
 * so that a crash costs those minutes and no more: until they are over, only nonces of ours are taken.
 */
#include "authd/fresh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timex.h>
#include <unistd.h>

#include "authd/config.h"
#include "authd/replay.h"
#include "authd/state.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "proto/pop.h"

/* How far ahead the mark is written. */
enum { AHEAD_S = 300, SNONCE_MAC_LEN = SNONCE_LEN - 8 };

struct fresh {
	struct state *state;
	const struct authd_config *cfg;
	const struct fresh_clocks *clocks;
	struct replay *seen;
	int64_t floor; /* of the start: times up to it are not taken */
	int64_t latest; /* that was accepted since */
	uint8_t key[32];
};

const char fresh_just_started[] = "authd has just been started";

/*
 * The kernel knows, and ProtectClock= of our unit forbids to ask it, since who may ask may, for all that the
 * filter sees, set. systemd-timesyncd leaves a file. Where neither tells, nobody keeps the clock.
 */
static bool is_kept_right(void)
{
	struct timex t = { .modes = 0 };

	if (adjtimex(&t) >= 0)
		return !(t.status & STA_UNSYNC);
	return access("/run/systemd/timesync/synchronized", F_OK) == 0;
}

const struct fresh_clocks fresh_real_clocks = { clock_wall_s, is_kept_right };

static int64_t window_s(const struct fresh *f)
{
	return (int64_t)((f->cfg->pop_window_ms + 999) / 1000);
}

/* A time stamp may lie a window ahead, and must be remembered until it lies a window back. */
static uint64_t interval_ms(const struct authd_config *cfg)
{
	return 2 * cfg->pop_window_ms + 5000;
}

/* Whatever is configured: four users at least have room. */
static size_t share(const struct authd_config *cfg)
{
	return cfg->nonces_per_user < cfg->nonces / 4 ? cfg->nonces_per_user : cfg->nonces / 4;
}

int fresh_new(struct fresh **out, struct state *s, const struct authd_config *cfg, const struct fresh_clocks *clocks)
{
	_cleanup_(fresh_freep) struct fresh *f = calloc(1, sizeof(*f));
	int64_t now = clocks->wall_s(), marked = state_marked(s);
	int r;

	if (!f)
		return -ENOMEM;
	f->state = s;
	f->cfg = cfg;
	f->clocks = clocks;
	/* A restored database has an old mark; so what may have been accepted just now counts, too. */
	f->floor = (marked > now ? marked : now) + window_s(f);
	random_bytes(f->key, sizeof(f->key));
	r = replay_new(&f->seen, cfg->nonces, share(cfg), interval_ms(cfg));
	if (r)
		return r;
	*out = steal(&f);
	return 0;
}

struct fresh *fresh_free(struct fresh *f)
{
	if (!f)
		return NULL;
	replay_free(f->seen);
	wipe(f->key, sizeof(f->key));
	free(f);
	return NULL;
}

void fresh_set_config(struct fresh *f, const struct authd_config *cfg)
{
	/* What came with a nonce of ours may be forgotten already, by the shorter window: none of these lives on in a longer one. */
	if (cfg->pop_window_ms > f->cfg->pop_window_ms)
		random_bytes(f->key, sizeof(f->key));
	f->cfg = cfg;
	replay_set_limits(f->seen, cfg->nonces, share(cfg), interval_ms(cfg));
}

void fresh_stop(struct fresh *f)
{
	int64_t marked = state_marked(f->state), enough = f->clocks->wall_s() + window_s(f);

	/* A clock that was ahead for a while had times accepted that this one has yet to reach. */
	if (enough < f->latest)
		enough = f->latest;
	if (marked > enough && f->clocks->wall_s() > f->floor && state_mark(f->state, enough))
		log_debug("the clock's mark stays ahead");
}

static int64_t lowest(struct fresh *f)
{
	int64_t forgotten = replay_forgotten(f->seen);

	return forgotten > f->floor ? forgotten : f->floor;
}

const char *fresh_why_not(struct fresh *f)
{
	switch ((enum timestamps)f->cfg->pop_timestamps) {
	case TIMESTAMPS_NEVER:
		return "pop.timestamps says so";
	case TIMESTAMPS_KERNEL:
		if (!f->clocks->is_synchronised())
			return "nobody keeps this machine's clock right";
		break;
	case TIMESTAMPS_ALWAYS:
		break;
	}
	if (f->clocks->wall_s() + window_s(f) <= lowest(f))
		return "this machine's clock is behind what it was (authd(8) says what to do)";
	return f->clocks->wall_s() - window_s(f) <= lowest(f) ? fresh_just_started : NULL;
}

/* Have the mark cover ts durably. */
static bool is_marked(struct fresh *f, int64_t ts)
{
	return ts <= state_marked(f->state) || state_mark(f->state, ts + AHEAD_S) == 0;
}

static int check_time(struct fresh *f, int64_t ts)
{
	int64_t now = f->clocks->wall_s(), window = window_s(f);

	if (f->cfg->pop_timestamps == TIMESTAMPS_NEVER ||
	    (f->cfg->pop_timestamps == TIMESTAMPS_KERNEL && !f->clocks->is_synchronised()))
		return FRESH_E_NEEDS_SNONCE;
	if (ts < now - window || ts > now + window)
		return FRESH_E_TIME;
	if (ts <= lowest(f) || !is_marked(f, ts))
		return FRESH_E_NEEDS_SNONCE;
	if (ts > f->latest)
		f->latest = ts;
	return 0;
}

static void snonce_mac(const struct fresh *f, uint8_t nonce[static SNONCE_LEN])
{
	uint8_t mac[HMAC_SHA256_LEN];

	hmac_sha256(mac, f->key, sizeof(f->key), nonce, 8);
	memcpy(nonce + 8, mac, SNONCE_MAC_LEN);
}

void fresh_snonce(const struct fresh *f, char out[static SNONCE_SPACE])
{
	uint8_t nonce[SNONCE_LEN];

	be64_store(nonce, clock_now_ms());
	snonce_mac(f, nonce);
	base64_encode(out, nonce, sizeof(nonce), BASE64_URL);
}

static int check_snonce(const struct fresh *f, const struct pop_proof *p)
{
	uint8_t got[SNONCE_LEN], right[SNONCE_LEN];
	uint64_t now = clock_now_ms(), at;
	size_t len;

	if (base64_decode(got, sizeof(got), &len, p->snonce, p->snonce_len, BASE64_URL) || len != sizeof(got))
		return FRESH_E_SNONCE;
	memcpy(right, got, 8);
	snonce_mac(f, right);
	at = be64_load(got);
	/* Used within a window, it is remembered for more than one after that. */
	return bytes_equal(got, right, sizeof(got)) && at <= now && now - at <= f->cfg->pop_window_ms ? 0 : FRESH_E_SNONCE;
}

int fresh_check(struct fresh *f, const struct pop_proof *p, int64_t user, int64_t session)
{
	uint8_t what[8 + POP_NONCE_BYTES_MAX];
	int r = p->snonce ? check_snonce(f, p) : check_time(f, p->ts);

	if (r)
		return r;
	be64_store(what, (uint64_t)session);
	memcpy(what + 8, p->nonce, p->nonce_len);
	r = replay_add(f->seen, user, what, 8 + p->nonce_len, p->snonce ? INT64_MIN : p->ts);
	switch (r) {
	case REPLAY_E_SEEN:
		return FRESH_E_REPLAY;
	case REPLAY_E_FULL:
		return FRESH_E_FULL;
	}
	return r;
}

size_t fresh_remembered(const struct fresh *f)
{
	return replay_count(f->seen);
}
