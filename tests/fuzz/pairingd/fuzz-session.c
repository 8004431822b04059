/*
 * Pairings as pairingd runs them, as a sequence: calls with any parameters, secrets, a relay that opens, loses or lies, the
 * other device with the real state machine, a person who picks, callers that hang up, a disk that fails, time. The
 * calls, the relay's client, the store and the threads are doubles.
 *
 * What must hold: each call is answered once, or nobody is left to hear it; a secret is taken once, with its ticket
 * alone, and spent before it is used; what is active was stored by the other with the same root; with another PIN
 * nothing is stored; in the end nothing is left.
 */
#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "fuzz/lib/quick_group.h"
#include "fuzz/lib/sequence.h"
#include "fuzz/lib/timers.h"
#include "unit/pairingd/halves.h"

/* In place of Argon2id, as in halves.h. */
static void quick_stretch(struct pairing_stretch *job)
{
	uint8_t hash[SHA256_LEN];

	sha256(hash, secret_bytes(job->input), secret_len(job->input));
	if (secret_take(&job->output, hash, sizeof(hash)))
		job->output = NULL;
}

#define pairing_stretch_run quick_stretch
#include "../../../daemons/pairingd/session.c"
#undef pairing_stretch_run

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CALLS = 16, JOBS = 8, SENT = 96 };

static struct sessions *all;
static struct halves world; /* side[other] is the device over there; the other half of it does nothing */
static enum pairing_role other;
static bool is_guess, is_met;

/* ---- the control socket ---- */

struct varlink_call {
	bool more, answered;
	void (*on_gone)(void *arg);
	void *arg;
};

static struct varlink_call calls[CALLS];
static size_t n_calls;
static struct varlink_call *running;
static char id[40], choices[SAS_CHOICES][SAS_DIGITS + 1];
static uint8_t ticket[SECRET_TICKET_LEN];
static bool has_ticket, hang_up_next;

bool varlink_call_wants_more(const struct varlink_call *c)
{
	return c->more;
}

void varlink_call_on_gone(struct varlink_call *c, void (*fn)(void *arg), void *arg)
{
	assert(!c->on_gone && !c->answered && !running);
	c->on_gone = fn;
	c->arg = arg;
	running = c;
}

static void hang_up(void)
{
	struct varlink_call *c = running;

	if (!c)
		return;
	running = NULL;
	c->answered = true;
	c->on_gone(c->arg);
}

static void end_call(struct varlink_call *c)
{
	assert(!c->answered);
	c->answered = true;
	if (running == c)
		running = NULL;
}

void varlink_notify(struct varlink_call *c, json_t *params)
{
	const char *event = json_string_value(json_object_get(params, "event"));
	const char *hex = json_string_value(json_object_get(params, "ticket"));

	assert(c == running && c->more && !c->answered && event);
	snprintf(id, sizeof(id), "%s", json_string_value(json_object_get(params, "pairing")));
	if (strcmp(event, "secret-needed") == 0) {
		assert(!has_ticket && hex && hex_parse(ticket, sizeof(ticket), hex) == 0);
		has_ticket = true;
	} else if (strcmp(event, "sas") == 0) {
		for (size_t i = 0; i < SAS_CHOICES; i++)
			snprintf(choices[i], sizeof(choices[i]), "%s", json_string_value(json_array_get(json_object_get(params, "choices"), i)));
	}
	json_decref(params);
	if (hang_up_next)
		hang_up();
	hang_up_next = false;
}

void varlink_reply(struct varlink_call *c, json_t *params)
{
	const char *event = json_string_value(json_object_get(params, "event"));

	assert(event && strcmp(event, "done") == 0 && json_is_object(json_object_get(params, "peer")));
	json_decref(params);
	end_call(c);
}

void varlink_error(struct varlink_call *c, const char *error, const char *message, const char *hint)
{
	(void)hint;
	assert(strchr(error, '.') && (!message || *message));
	end_call(c);
}

void pairing_count_failure(struct pairing_counters *c, const char *code)
{
	(void)c;
	assert(code && *code);
}

/* ---- the relay ---- */

struct relay_client {
	struct relay_client_handlers h;
	bool open, failed;
};

static struct relay_client *client;
static struct pairing_packet sent[SENT];
static size_t n_sent, n_taken;
static bool no_relay;

int relay_client_new(struct relay_client **out, struct loop *l, const struct relay_client_options *o,
		     const struct relay_client_handlers *h)
{
	(void)l;
	assert(!client && (o->url || o->relay_socket) && o->timeout_ms > 0);
	if (no_relay)
		return -ENOENT;
	client = calloc(1, sizeof(*client));
	assert(client);
	client->h = *h;
	*out = client;
	return 0;
}

int relay_client_send(struct relay_client *c, const struct pairing_packet *packet)
{
	assert(c == client && c->open && n_sent < SENT);
	if (c->failed)
		return -ENOTCONN;
	sent[n_sent++] = *packet;
	return 0;
}

struct relay_client *relay_client_close(struct relay_client *c)
{
	assert(c == client);
	free(c);
	client = NULL;
	return NULL;
}

void relay_clients_done(struct list *lingering)
{
	(void)lingering;
}

/* ---- the store ---- */

static unsigned int spends, stores;
static bool is_stored, is_active;
static uint8_t root[32];
static int spend_error, store_error, activate_error;

unsigned int peers_pin_digits(const struct peers *p)
{
	(void)p;
	return PEERS_PIN_SHORT;
}

bool peers_is_spent(struct peers *p, const char *code)
{
	(void)p;
	return code[0] == 'Z';
}

bool peers_name_is_id(const char *name)
{
	return strlen(name) >= 8 && strspn(name, "0123456789abcdef") == strlen(name);
}

/* So that no port is tried here. */
bool peers_port_is_used(struct peers *p, uint16_t port)
{
	(void)p;
	(void)port;
	return true;
}

int peers_spend(struct peers *p, const char *code, const uint8_t session_id[static 16], enum pairing_role role,
		enum secret_class class)
{
	(void)p;
	(void)session_id;
	(void)class;
	assert(spends++ == 0 && *code && role != other);
	return spend_error;
}

int peers_proven(struct peers *p, const uint8_t session_id[static 16])
{
	(void)p;
	(void)session_id;
	assert(spends == 1 && !is_guess);
	return 0;
}

int peers_ended(struct peers *p, const uint8_t session_id[static 16], const char *outcome)
{
	(void)p;
	(void)session_id;
	assert(spends == 1 && *outcome);
	return spend_error;
}

int peers_store(struct peers *p, const struct pairing_result *result, uint16_t own_port, const char *wanted, struct peer *out)
{
	(void)p;
	assert(stores++ == 0 && spends == 1 && !is_guess && own_port > 0 && (!*wanted || text_is_name(wanted)));
	memset(out, 0, sizeof(*out));
	if (store_error)
		return store_error;
	memcpy(root, secret_bytes(result->tunnel_root), sizeof(root));
	memcpy(out->tunnel_id, result->tunnel_id, sizeof(out->tunnel_id));
	strcpy(out->name, *wanted ? wanted : "a-peer");
	is_stored = true;
	return 0;
}

int peers_activate(struct peers *p, const uint8_t peer_id[static IDENTITY_ID_LEN],
		   const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	(void)p;
	(void)peer_id;
	(void)tunnel_id;
	assert(is_stored);
	if (activate_error)
		return activate_error;
	assert(world.side[other].stored && memcmp(root, world.side[other].root, sizeof(root)) == 0);
	is_active = true;
	return 0;
}

int peers_remove_prepared(struct peers *p, const uint8_t peer_id[static IDENTITY_ID_LEN],
			  const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	(void)p;
	(void)peer_id;
	(void)tunnel_id;
	assert(is_stored && !is_active);
	is_stored = false;
	return 0;
}

int peers_get_tunnel(struct peers *p, const uint8_t peer_id[static IDENTITY_ID_LEN],
		     const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN], struct peer *out)
{
	(void)p;
	(void)peer_id;
	(void)tunnel_id;
	(void)out;
	return PEERS_E_NO_SUCH;
}

const char *peers_outcome_text(int outcome)
{
	assert(outcome > 0);
	return "it did not work";
}

static void on_root(const struct peer *peer, void *arg)
{
	(void)arg;
	assert(*peer->name && is_stored);
}

static void on_forgotten(const struct peer *peer, void *arg)
{
	(void)peer;
	(void)arg;
	assert(!is_stored);
}

void identity_name(char out[static IDENTITY_NAME_MAX + 1], const char *host_name)
{
	(void)host_name;
	strcpy(out, "a-device");
}

size_t identity_candidates(char (*out)[IDENTITY_CANDIDATE_LEN])
{
	strcpy(out[0], "192.0.2.1");
	return 1;
}

/* ---- the threads ---- */

static struct {
	void (*work)(void *arg), (*done)(void *arg, bool cancelled);
	void *arg;
} jobs[JOBS];
static size_t n_jobs;

int worker_start(struct worker **out, struct loop *l, void (*work)(void *arg), void (*done)(void *arg, bool cancelled), void *arg)
{
	(void)l;
	assert(!out);
	if (n_jobs == JOBS)
		return -EAGAIN;
	jobs[n_jobs].work = work;
	jobs[n_jobs].done = done;
	jobs[n_jobs++].arg = arg;
	return 0;
}

static void run_jobs(bool cancelled)
{
	size_t n = n_jobs;

	n_jobs = 0;
	for (size_t i = 0; i < n; i++) {
		jobs[i].work(jobs[i].arg);
		jobs[i].done(jobs[i].arg, cancelled);
	}
}

/* ---- the world ---- */

/* A row of words, each ended by a NUL, for those parameters that the first byte names. */
static void pair(const struct happening *h)
{
	static const char *const names[] = { "name", "note", "relay", "relay_ca", "invitation" };
	static const char *const usual[] = { "desk", "from the shed", "192.0.2.1:7117", "/etc/ca.pem", "ABCD2345@192.0.2.1:7117" };
	uint8_t which = happening_byte(h, 0), how = happening_byte(h, 1);
	struct varlink_call *c = &calls[n_calls];
	json_t *params = json_object();
	size_t at = 2;

	if (n_calls == CALLS) {
		json_decref(params);
		return;
	}
	n_calls++;
	c->more = !(how & 128);
	json_object_set_new(params, "secret_class", json_string(how & 64 ? how & 32 ? "SEC" : "XYZ" : "PIN"));
	json_object_set_new(params, "compare_sas", json_boolean(how & 16));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t len = 0;

		if (!(which & 1 << i))
			continue;
		while (at + len < h->len && h->data[at + len])
			len++;
		/* json_stringn() gives none for what is no UTF-8: it is left out. */
		json_object_set_new(params, names[i], len ? json_stringn((const char *)h->data + at, len) : json_string(usual[i]));
		at += len + 1;
	}
	/* A new pairing of ours, from its beginning. */
	if (c->more && !running && !all->one) {
		has_ticket = is_met = is_stored = is_active = false;
		spends = stores = 0;
		n_sent = n_taken = 0;
	}
	sessions_pair(all, c, params);
	json_decref(params);
	assert(c->answered || running == c || hang_up_next || !running);
}

static void give_secret(const struct happening *h)
{
	struct secret_msg m = { .class = h->what & 64 ? SECRET_SEC : SECRET_PIN, .value = (const uint8_t *)"123456", .value_len = 6 };
	bool used = all->one && all->one->ticket_used, right = true;

	memcpy(m.ticket, ticket, sizeof(m.ticket));
	if (h->len > 0 && happening_byte(h, 0)) {
		m.ticket[happening_byte(h, 0) % SECRET_TICKET_LEN] ^= happening_byte(h, 1);
		right = !happening_byte(h, 1);
	}
	if (h->what & 64) {
		m.value = (const uint8_t *)"a secret of more than sixteen bytes";
		m.value_len = 35;
	}
	if (sessions_take_secret(all, &m) == SECRET_OK)
		assert(right && has_ticket && !used);
}

/* The relay's first word, after which the other device is there, too. */
static void open_session(const struct happening *h)
{
	struct halves_setup setup = halves_pin(is_guess ? "123457" : "123456", is_guess ? "123457" : "123456");
	struct session *s = all->one;

	if (!client || client->open || client->failed || !s)
		return;
	other = s->joins ? PAIRING_ALICE : PAIRING_BOB;
	if (s->class == SECRET_SEC) {
		setup.class[other] = SECRET_SEC;
		setup.secret[other] = is_guess ? "another secret of that many bytes .." : "a secret of more than sixteen bytes";
	}
	setup.compare[other] = happening_byte(h, 0) & 1;
	if (is_met)
		return;
	is_met = true;
	halves_new(&world, &setup);
	world.now_ms = timers_now_ms;
	halves_serve(&world, other);
	client->open = true;
	if (!s->joins)
		client->h.on_invitation("ABCD2345@192.0.2.1:7117", client->h.arg);
	client->h.on_open("ABCD2345", (const uint8_t *)"session id 16 by", happening_byte(h, 1) * 16u, client->h.arg);
}

static void forget_other(void)
{
	struct half *halves[2] = { &world.side[0], &world.side[1] };

	if (is_met)
		halves_done(&world);
	for (int i = 0; i < 2; i++) {
		const size_t rest = offsetof(struct half, n_mail);

		memset(halves[i]->mail, 0, halves[i]->n_mail * sizeof(halves[i]->mail[0]));
		memset((uint8_t *)halves[i] + rest, 0, sizeof(*halves[i]) - rest);
		halves[i]->p = NULL;
		halves[i]->key = NULL;
	}
	is_met = false;
}

static bool is_talking(void)
{
	return client && client->open && !client->failed && is_met;
}

/* One packet each way. */
static void pass(bool ours, bool theirs)
{
	struct half *o = &world.side[other];

	if (ours && is_met && n_taken < n_sent)
		halves_deliver_to(&world, other, &sent[n_taken++]);
	if (theirs && is_talking() && o->n_delivered < o->n_mail) {
		const struct pairing_packet p = o->mail[o->n_delivered++];

		client->h.on_packet(&p, client->h.arg);
	}
}

static void inject(const struct happening *h)
{
	struct pairing_packet p = { .kind = happening_byte(h, 0), .seq = happening_byte(h, 1) };

	if (!is_talking() || h->len < 2)
		return;
	p.len = h->len - 2;
	memcpy(p.body, h->data + 2, p.len);
	client->h.on_packet(&p, client->h.arg);
}

static void alter(const struct happening *h)
{
	struct half *o = &world.side[other];
	struct pairing_packet *p = h->what & 64 ? &o->mail[o->n_delivered] : &sent[n_taken];

	if (!is_met || (h->what & 64 ? o->n_delivered == o->n_mail : n_taken == n_sent) || p->len == 0)
		return;
	p->body[happening_byte(h, 0) % p->len] ^= happening_byte(h, 1);
}

static const char *common_number(void)
{
	for (size_t i = 0; i < SAS_CHOICES; i++)
		for (size_t j = 0; j < SAS_CHOICES; j++)
			if (strcmp(choices[i], world.side[other].choices[j]) == 0)
				return choices[i];
	return NULL;
}

static void compare(const struct happening *h)
{
	const char *number = is_met ? common_number() : NULL;
	bool waits = all->one && all->one->comparing && !all->one->over;
	int r;

	if (happening_byte(h, 0) & 1)
		number = happening_byte(h, 0) & 2 ? "000000" : NULL;
	r = sessions_compare(all, happening_byte(h, 0) & 4 ? "another" : id, number);
	assert(waits || r == SESSIONS_E_NO_SUCH);
	if (is_met && world.side[other].comparing && happening_byte(h, 0) < 8) {
		world.side[other].comparing = false;
		pairing_on_sas(world.side[other].p, common_number(), timers_now_ms);
		halves_serve(&world, other);
	}
}

static void let_pass(uint64_t ms)
{
	timers_pass(ms);
	world.now_ms = timers_now_ms;
	if (is_met && pairing_deadline_ms(world.side[other].p) <= timers_now_ms) {
		pairing_on_time(world.side[other].p, timers_now_ms);
		halves_serve(&world, other);
	}
}

static void lose(enum relay_client_outcome outcome)
{
	if (!client || client->failed)
		return;
	client->failed = true;
	client->h.on_failed(outcome, "a detail", client->h.arg);
}

static void meet(void)
{
	if (!is_talking())
		return;
	client->h.on_peer_joined(client->h.arg);
	pairing_on_peer_joined(world.side[other].p, timers_now_ms);
	halves_serve(&world, other);
}

static void happen(const struct happening *h)
{
	uint8_t b = happening_byte(h, 0);

	switch (h->what & 15) {
	case 0:
		if (!all->one)
			forget_other();
		pair(h);
		break;
	case 1:
		give_secret(h);
		break;
	case 2:
		open_session(h);
		break;
	case 3:
		meet();
		break;
	case 4:
		pass(!(h->what & 32), !(h->what & 64));
		break;
	case 5:
		inject(h);
		break;
	case 6:
		alter(h);
		break;
	case 7:
		let_pass(happening_number(h, 0, 2) * 4);
		break;
	case 8:
		run_jobs(false);
		let_pass(0);
		break;
	case 9:
		compare(h);
		let_pass(0);
		break;
	case 10:
		if (h->what & 64)
			hang_up_next = true;
		else
			hang_up();
		break;
	case 11:
		lose((enum relay_client_outcome)(RELAY_CLIENT_E_UNREACHABLE + b % RELAY_CLIENT_E_LOST));
		break;
	case 12:
		spend_error = b & 1 ? -EIO : b & 2 ? PEERS_E_SPENT : 0;
		store_error = b & 4 ? -ENOSPC : b & 8 ? PEERS_E_FULL : 0;
		activate_error = b & 16 ? -EIO : 0;
		no_relay = b & 32;
		break;
	case 13:
		if (h->what & 64)
			sessions_stop(all);
		else if (is_talking() && b & 1)
			client->h.on_garbage(client->h.arg);
		else if (is_talking())
			client->h.on_peer_left(client->h.arg);
		break;
	default:
		/* What most runs should have. */
		for (int i = 0; i < 24; i++) {
			pass(true, true);
			run_jobs(false);
			let_pass(0);
		}
	}
}

static void begin(void)
{
	static struct pairingd_config config = { .secret_ms = 60000, .relay_ms = 10000, .join_ms = 60000, .step_ms = 10000,
						 .sas_ms = 30000, .tunnel_port_base = UINT16_MAX };
	static struct pairingd_config *const configured = &config;
	static struct sign_key *key;
	static struct signer signer;
	struct sessions_options o = { .config = &configured, .relay_socket = "/dev/null/relayd.sock", .on_root = on_root,
				      .on_forgotten = on_forgotten };

	if (!key) {
		uint8_t seed[SIGN_SEED_LEN] = "this device's";

		sequence_own_randomness();
		log_set_level(LOG_CRIT);
		assert(crypto_init() == 0 && sign_key_from_seed(&key, seed) == 0);
		signer_init(&signer, key);
	}
	o.signer = &signer;
	sequence_random_state = 1;
	timers_begin(1000000);
	memset(calls, 0, n_calls * sizeof(calls[0]));
	n_calls = n_jobs = n_sent = n_taken = 0;
	has_ticket = hang_up_next = is_stored = is_active = no_relay = false;
	spends = stores = 0;
	spend_error = store_error = activate_error = 0;
	memset(choices, 0, sizeof(choices));
	strcpy(id, "none");
	other = PAIRING_BOB;
	assert(sessions_new(&all, &o) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sequence seq = { data, size };
	struct happening h;

	if (size == 0)
		return 0;
	is_guess = data[0] & 1;
	begin();
	seq.p++;
	seq.left--;
	while (sequence_next(&seq, &h))
		happen(&h);
	all = sessions_free(all);
	run_jobs(true);
	assert(!running && !client && n_timers == 0);
	for (size_t i = 0; i < n_calls; i++)
		assert(calls[i].answered);
	forget_other();
	return 0;
}
