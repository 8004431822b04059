/*
 * The tunnels of a peer with several pairings: which one is left. The set, its state and the ledgers are the daemon's;
 * tunnels themselves and the connection to pairingd are played here.
 */
#include "pskd/tunnel/tunnels.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/list.h"
#include "event/loop.h"
#include "pskd/handshake/identity_client.h"
#include "pskd/packet/drops.h"
#include "unit/lib/test.h"

/* ---- tunnels, and pairingd ---- */

struct tunnel {
	struct list node;
	struct spec *spec;
	struct tunnel_context ctx;
	enum tunnel_mark mark;
	bool up, is_being_added, queued, starting;
	unsigned int starts, restarts, policies, looks, fuel_writes, begun_stops, stops;
};

static const struct sign_public *own_key;

static const struct identity_ops *ops;
static void *ops_arg;

int tunnel_new(struct tunnel **out, const struct tunnel_context *ctx, struct spec **spec)
{
	struct tunnel *t = calloc(1, sizeof(*t));

	CHECK(t);
	list_init(&t->node);
	t->ctx = *ctx;
	t->spec = *spec;
	*spec = NULL;
	*out = t;
	return 0;
}

struct tunnel *tunnel_free(struct tunnel *t)
{
	list_remove(&t->node);
	spec_free(t->spec);
	free(t);
	return NULL;
}

void tunnel_set_identity(struct tunnel *t, struct identity_client *identity)
{
	t->ctx.identity = identity;
}

const struct spec *tunnel_spec(const struct tunnel *t)
{
	return t->spec;
}

struct spec *tunnel_spec_mutable(struct tunnel *t)
{
	return t->spec;
}

const char *tunnel_peer(const struct tunnel *t)
{
	return t->spec->peer_name;
}

void tunnel_untold_drops(struct tunnel *t, struct drops *out)
{
	(void)t;
	memset(out, 0, sizeof(*out));
}

void tunnel_told_drops(struct tunnel *t)
{
	(void)t;
}

struct list *tunnel_node(struct tunnel *t)
{
	return &t->node;
}

struct tunnel *tunnel_of_node(struct list *node)
{
	return container_of(node, struct tunnel, node);
}

void tunnel_start(struct tunnel *t)
{
	t->queued = false;
	t->starts++;
	t->starting = true;
}

void tunnel_queue(struct tunnel *t)
{
	t->queued = true;
}

bool tunnel_is_queued(const struct tunnel *t)
{
	return t->queued;
}

bool tunnel_is_starting(const struct tunnel *t)
{
	return t->starting;
}

void tunnel_fuel_look(struct tunnel *t)
{
	t->looks++;
}

void tunnel_write_fuel(struct tunnel *t)
{
	/* Also of one that is not up: what it used before may not be kept yet. */
	CHECK_EQ(t->looks, 1);
	CHECK_EQ(t->stops, 0);
	t->fuel_writes++;
}

int tunnel_copy_device(const struct tunnel *t)
{
	(void)t;
	return -1;
}

void tunnel_begin_stop(struct tunnel *t)
{
	CHECK_EQ(t->fuel_writes, 1);
	t->begun_stops++;
}

void tunnel_stop(struct tunnel *t)
{
	t->stops++;
	t->up = false;
}

void tunnel_stop_replaced(struct tunnel *t)
{
	t->up = false;
}

void tunnel_restart(struct tunnel *t)
{
	t->restarts++;
}

static tunnel_answer_fn answer;
static void *answer_arg;
static unsigned int questions;

int tunnel_ask_networks(struct tunnel *t, tunnel_answer_fn fn, void *arg)
{
	CHECK(tunnel_spec(t)->routes.n > 0 || tunnel_spec(t)->f.local_address);
	answer = fn;
	answer_arg = arg;
	questions++;
	return 0;
}

void tunnel_on_policy(struct tunnel *t)
{
	t->policies++;
}

bool tunnel_is_being_added(const struct tunnel *t)
{
	return t->is_being_added;
}

bool tunnel_is_up(const struct tunnel *t)
{
	return t->up;
}

void tunnel_on_identity(struct tunnel *t)
{
	(void)t;
}

void tunnel_on_identity_new(struct tunnel *t)
{
	t->mark = TUNNEL_UNLISTED;
}

void tunnel_retire(struct tunnel *t)
{
	(void)t;
}

void tunnel_on_renamed(struct tunnel *t, const char *before)
{
	(void)t;
	(void)before;
}

void tunnel_on_wake(struct tunnel *t)
{
	(void)t;
}

bool tunnel_has_device(const struct tunnel *t, unsigned int ifindex)
{
	(void)t;
	(void)ifindex;
	return false;
}

unsigned int tunnel_device_of_route(const struct tunnel *t, const struct prefix *to)
{
	(void)t;
	(void)to;
	return 0;
}

void tunnel_on_device(struct tunnel *t)
{
	(void)t;
}

void tunnel_on_network(struct tunnel *t)
{
	(void)t;
}

void tunnel_on_seen(struct tunnel *t)
{
	(void)t;
}

enum tunnel_mark tunnel_mark(const struct tunnel *t)
{
	return t->mark;
}

void tunnel_set_mark(struct tunnel *t, enum tunnel_mark mark)
{
	t->mark = mark;
}

void tunnel_error_set(struct tunnel_error *e, const char *code, const char *hint, const char *fmt, ...)
{
	(void)hint;
	(void)fmt;
	e->code = code;
}

int identity_client_new(struct identity_client **out, struct loop *l, const char *path, const struct identity_ops *o,
			void *arg)
{
	(void)l;
	(void)path;
	ops = o;
	ops_arg = arg;
	*out = NULL;
	return 0;
}

struct identity_client *identity_client_free(struct identity_client *c)
{
	(void)c;
	return NULL;
}

const struct sign_public *identity_own(const struct identity_client *c)
{
	(void)c;
	return own_key;
}

void identity_root_stored(struct identity_client *c, const uint8_t id[static IDENTITY_ID_LEN],
			  const uint8_t tunnel_id[static IDENTITY_TUNNEL_ID_LEN])
{
	(void)c;
	(void)id;
	(void)tunnel_id;
}

/* ---- a peer with three pairings, 1 the earliest ---- */

static struct tunnels *set;
static struct loop *loop;
static uint8_t peer_id[IDENTITY_ID_LEN];
static char heard[200];
static const char *peer_name = "bob";

static void on_event(struct tunnel *t, const char *event, const struct tunnel_error *e, void *arg)
{
	(void)e;
	(void)arg;
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%s %s; ", tunnel_spec(t)->name, event);
}

static void on_succeeded(struct tunnel *earlier, struct tunnel *t, void *arg)
{
	(void)arg;
	snprintf(heard + strlen(heard), sizeof(heard) - strlen(heard), "%u before %u; ",
		 tunnel_spec(earlier)->tunnel_id[0], tunnel_spec(t)->tunnel_id[0]);
}

static void open_set(void)
{
	struct tunnels_options o = { .max_tunnels = 64, .start_paired = true, .tund_socket = "", .identity_socket = "",
				     .state_dir = test_tmpdir() };

	CHECK_EQ(loop_new(&loop), 0);
	o.loop = loop;
	CHECK_EQ(tunnels_new(&set, &o), 0);
	tunnels_on_event(set, on_event, on_succeeded, NULL);
}

static void give_root(uint8_t n)
{
	struct identity_root root = { .role = IDENTITY_ALICE, .own_port = 4000, .peer_port = 4001 };

	memset(root.own_public.b, 1, sizeof(root.own_public.b));
	memset(root.peer_public.b, 2, sizeof(root.peer_public.b));
	identity_id(peer_id, &root.peer_public);
	memcpy(root.peer_id, peer_id, sizeof(peer_id));
	snprintf(root.peer_name, sizeof(root.peer_name), "%s", peer_name);
	memset(root.tunnel_id, n, sizeof(root.tunnel_id));
	memset(root.root, 0x40 + n, sizeof(root.root));
	ops->on_root(&root, ops_arg);
}

static struct tunnel *tunnel_of(uint8_t n)
{
	list_for_each (it, tunnels_list(set))
		if (tunnel_spec(tunnel_of_node(it))->tunnel_id[0] == n)
			return tunnel_of_node(it);
	return NULL;
}

/* The peer's first packet came there. */
static void come_up(uint8_t n)
{
	struct tunnel *t = tunnel_of(n);

	CHECK(t);
	t->up = true;
	t->ctx.on_event(t, "up", NULL, t->ctx.arg);
}

static void seen(uint8_t n)
{
	uint8_t id[IDENTITY_TUNNEL_ID_LEN];

	memset(id, n, sizeof(id));
	ops->on_seen(id, ops_arg);
}

static void list_pairing(uint8_t n)
{
	uint8_t id[IDENTITY_TUNNEL_ID_LEN];

	memset(id, n, sizeof(id));
	ops->on_pairing(peer_id, id, peer_name, ops_arg);
}

static void three_pairings(void)
{
	open_set();
	for (uint8_t n = 1; n <= 3; n++)
		give_root(n);
	CHECK_EQ(tunnels_count(set), 3);
	CHECK(!tunnel_spec(tunnel_of(1))->successor);
	CHECK(tunnel_spec(tunnel_of(2))->successor && tunnel_spec(tunnel_of(3))->successor);
}

static void close_set(void)
{
	set = tunnels_free(set);
	loop_free(loop);
}

/* Both come up before pairingd has said anything; it made 3 active, so that 2 is nobody's. */
TEST(a_newer_pairings_tunnel_stays_when_an_older_one_comes_up_after_it)
{
	three_pairings();
	come_up(3);
	come_up(2);
	seen(3);
	list_pairing(3);
	ops->on_listed(ops_arg);
	CHECK(tunnel_of(3) && !tunnel_of(2) && !tunnel_of(1));
	CHECK_STR(tunnel_spec(tunnel_of(3))->name, "bob");
	CHECK(!tunnel_spec(tunnel_of(3))->successor);
	close_set();
}

TEST(an_older_pairings_tunnel_gives_place_to_the_newer_one)
{
	three_pairings();
	come_up(2);
	come_up(3);
	seen(2);
	list_pairing(2);
	list_pairing(3);
	ops->on_listed(ops_arg);
	CHECK(!tunnel_of(1) && tunnel_of(2) && tunnel_of(3));
	seen(3);
	CHECK(!tunnel_of(2) && tunnel_of(3));
	CHECK_STR(tunnel_spec(tunnel_of(3))->name, "bob");
	close_set();
}

/* Who waits for the earlier tunnel waits for the other from then on, and it is up already. */
TEST(a_successor_is_told_of_as_up_under_its_new_name)
{
	three_pairings();
	come_up(2);
	CHECK(tunnel_of(1));
	heard[0] = '\0';
	seen(2);
	CHECK_STR(heard, "1 before 2; bob up; ");
	heard[0] = '\0';
	seen(2);
	CHECK_STR(heard, "");
	close_set();
}

static void in_folder(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static void in_folder(const char *fmt, ...)
{
	char command[600];
	va_list ap;
	int n = snprintf(command, sizeof(command), "cd %s && ", test_tmpdir());

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - (size_t)n, fmt, ap);
	va_end(ap);
	CHECK_EQ(system(command), 0);
}

/* Which of the two is read first is the file system's choice, by their names' hash: several names. */
TEST(i9_a_kill_while_a_successor_takes_its_name_lets_it_have_the_name)
{
	static const char *const names[] = { "ann", "bob", "carol", "dave", "eve", "pi" };

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		peer_name = names[i];
		three_pairings();
		in_folder("cp tunnels/%s-2.json kept", peer_name);
		come_up(2);
		seen(2);
		close_set();
		/* What a kill leaves between the new name and the end of the old one. */
		in_folder("rm tunnels/%s-3.json && mv kept tunnels/%s-2.json", peer_name, peer_name);
		open_set();
		CHECK_EQ(tunnels_count(set), 1);
		CHECK_STR(tunnel_spec(tunnel_of(2))->name, peer_name);
		CHECK(!tunnel_spec(tunnel_of(2))->successor);
		close_set();
		in_folder("test \"$(ls tunnels)\" = %s.json && rm -r tunnels ledgers", peer_name);
	}
}

/* pairingd lists the newest alone, and nobody was seen in it yet: it may be that the peer has only the earliest. */
TEST(i9_an_earlier_tunnel_stays_until_its_successor_is_proven)
{
	three_pairings();
	list_pairing(3);
	ops->on_listed(ops_arg);
	CHECK(tunnel_of(1) && !tunnel_of(2) && tunnel_of(3));
	seen(3);
	CHECK(!tunnel_of(1) && tunnel_of(3));
	close_set();
}

TEST(at_the_end_what_each_tunnel_used_is_kept_once_before_it_is_stopped)
{
	size_t n = 0;

	three_pairings();
	tunnels_stop_all(set);
	list_for_each (it, tunnels_list(set)) {
		struct tunnel *t = tunnel_of_node(it);

		CHECK_EQ(t->looks, 1);
		CHECK_EQ(t->fuel_writes, 1);
		CHECK_EQ(t->begun_stops, 1);
		CHECK_EQ(t->stops, 1);
		n++;
	}
	CHECK_EQ(n, 3);
	close_set();
}

/* ---- pins ---- */

#define HIS_KEY "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="

static struct tunnel *add_named(const char *name, const char *kind)
{
	_cleanup_json_ json_t *members = json_pack("{s:s, s:s, s:s, s:s}", "key_file", "/k", "role", "initiator", "peer",
						   kind, "endpoint", "pi:7200");
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	CHECK_EQ(tunnels_add(set, &t, name, members, &e), 0);
	return t;
}

static struct tunnel *add_made(const char *kind)
{
	return add_named(kind, kind);
}

TEST(i9_a_pin_is_durable_before_it_is_acknowledged_and_begins_anew)
{
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	t = add_made("handfast");
	CHECK_EQ(tunnels_set_pin(set, t, HIS_KEY, &e), 0);
	CHECK(tunnel_spec(t)->pinned);
	CHECK_EQ(tunnel_spec(t)->peer_public.b[31], 2);
	CHECK_EQ(t->restarts, 1);
	close_set();
	open_set();
	t = tunnels_find(set, "handfast");
	CHECK(t && tunnel_spec(t)->pinned && tunnel_spec(t)->peer_public.b[31] == 2);
	CHECK_EQ(tunnels_set_pin(set, t, NULL, &e), 0);
	CHECK(!tunnel_spec(t)->pinned);
	close_set();
	open_set();
	CHECK(!tunnel_spec(tunnels_find(set, "handfast"))->pinned);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

static void check_refused(struct tunnel *t, const char *key, const char *code)
{
	struct tunnel_error e = { 0 };
	bool was = tunnel_spec(t)->pinned;
	struct sign_public before = tunnel_spec(t)->peer_public;
	unsigned int restarts = t->restarts;

	CHECK_EQ(tunnels_set_pin(set, t, key, &e), -1);
	CHECK_STR(e.code, code);
	CHECK_EQ(tunnel_spec(t)->pinned, was);
	CHECK_MEM(tunnel_spec(t)->peer_public.b, before.b, sizeof(before.b));
	CHECK_EQ(t->restarts, restarts);
}

TEST(a_pin_that_cannot_be_changes_nothing)
{
	static const struct sign_public own = { .b = { 9 } };
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	t = add_made("handfast");
	CHECK_EQ(tunnels_set_pin(set, t, HIS_KEY, &e), 0);
	check_refused(t, "short", "io.handfast.Tunnel.BadPin");
	check_refused(t, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgJ=", "io.handfast.Tunnel.BadPin");
	check_refused(t, "gg02020202020202020202020202020202020202020202020202020202020202", "io.handfast.Tunnel.BadPin");
	own_key = &own;
	check_refused(t, "0900000000000000000000000000000000000000000000000000000000000000", "io.handfast.Tunnel.BadPin");
	own_key = NULL;
	t->is_being_added = true;
	check_refused(t, NULL, "io.handfast.Tunnel.NoAnswer");
	t->is_being_added = false;
	in_folder("rm -r tunnels && touch tunnels");
	check_refused(t, NULL, "io.handfast.Tunnel.StorageFailed");
	in_folder("rm tunnels && mkdir tunnels");
	check_refused(add_made("prototype"), HIS_KEY, "io.handfast.Tunnel.BadPin");
	give_root(1);
	check_refused(tunnel_of(1), HIS_KEY, "io.handfast.Tunnel.Paired");
	close_set();
	in_folder("rm -r tunnels ledgers");
}

/* Who the peer was in the last handshake is what another label is noticed by. */
TEST(i9_a_pin_that_is_not_written_leaves_the_pin_and_the_label_as_they_were)
{
	static const char label[] = "00112233445566778899aabbccddeeff";
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	t = add_made("handfast");
	memcpy(t->spec->last_identity, label, sizeof(label));
	in_folder("rm -r tunnels && touch tunnels");
	check_refused(t, HIS_KEY, "io.handfast.Tunnel.StorageFailed");
	CHECK(!t->spec->f.pin);
	CHECK_STR(t->spec->last_identity, label);
	in_folder("rm tunnels && mkdir tunnels");
	CHECK_EQ(tunnels_set_pin(set, t, HIS_KEY, &e), 0);
	CHECK_STR(t->spec->last_identity, "");
	in_folder("rm -r tunnels && touch tunnels");
	check_refused(t, NULL, "io.handfast.Tunnel.StorageFailed");
	CHECK_STR(t->spec->f.pin, HIS_KEY);
	in_folder("rm tunnels && mkdir tunnels");
	close_set();
	in_folder("rm -r tunnels ledgers");
}

TEST(a_list_of_revoked_identities_is_taken_and_every_tunnel_told)
{
	struct label *v = calloc(1, sizeof(*v));
	struct label_list list = { v, 1 };
	struct config_list sources = { 0 };
	struct tunnel *t;

	CHECK(v);
	open_set();
	t = add_made("handfast");
	tunnels_set_policy(set, &sources, &list);
	CHECK_EQ(list.n, 0);
	CHECK(list.v == NULL);
	CHECK_EQ(t->policies, 1);
	CHECK_EQ(t->ctx.policy->revoked.n, 1);
	tunnels_set_policy(set, &sources, &list);
	CHECK_EQ(t->ctx.policy->revoked.n, 0);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

static struct config_list a_label(void)
{
	struct config_list l = { calloc(2, sizeof(char *)), 1 };

	CHECK(l.v);
	l.v[0] = strdup("00112233445566ff");
	return l;
}

static void list_done(struct config_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->v[i]);
	free(l->v);
	*l = (struct config_list){ 0 };
}

TEST(i9_labels_are_durable_before_they_are_acknowledged_and_exclude_a_pin)
{
	struct config_list l = a_label();
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	t = add_made("handfast");
	CHECK_EQ(tunnels_set_labels(set, t, &l, &e), 0);
	CHECK_EQ(l.n, 0);
	CHECK_EQ(t->restarts, 1);
	check_refused(t, HIS_KEY, "io.handfast.Tunnel.BadPin");
	list_done(&l);
	close_set();
	open_set();
	t = tunnels_find(set, "handfast");
	CHECK_EQ(tunnel_spec(t)->labels.n, 1);
	in_folder("rm -r tunnels && touch tunnels");
	CHECK_EQ(tunnels_set_labels(set, t, &l, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.StorageFailed");
	CHECK_EQ(tunnel_spec(t)->labels.n, 1);
	CHECK_EQ(tunnel_spec(t)->f.allow_labels.n, 1);
	CHECK_EQ(t->restarts, 0);
	in_folder("rm tunnels && mkdir tunnels");
	list_done(&l);
	CHECK_EQ(tunnels_set_labels(set, t, &l, &e), 0);
	CHECK_EQ(tunnel_spec(t)->labels.n, 0);
	list_done(&l);
	CHECK_EQ(tunnels_set_pin(set, t, HIS_KEY, &e), 0);
	l = a_label();
	CHECK_EQ(tunnels_set_labels(set, t, &l, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.BadPin");
	list_done(&l);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

static int revoke_one(struct tunnel *t, const char *identity, bool undo, struct tunnel_error *e)
{
	char text[80], *v[] = { text };
	const struct config_list l = { v, 1 };

	snprintf(text, sizeof(text), "%s", identity);
	return tunnels_revoke(set, t, &l, undo, e);
}

TEST(i9_a_revocation_is_durable_before_it_is_acknowledged_and_told_at_once)
{
	const uint8_t label[PSKH_IDENTITY_LEN] = { 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0xff };
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	t = add_made("handfast");
	CHECK_EQ(revoke_one(t, "00112233445566ff", false, &e), 0);
	CHECK_EQ(revoke_one(t, HIS_KEY, false, &e), 0);
	CHECK_EQ(t->policies, 2);
	CHECK_EQ(t->restarts, 0);
	close_set();
	open_set();
	t = tunnels_find(set, "handfast");
	CHECK_EQ(tunnel_spec(t)->revoked.n, 2);
	CHECK(label_list_has(&tunnel_spec(t)->revoked_ids, label));
	in_folder("rm -r tunnels && touch tunnels");
	CHECK_EQ(revoke_one(t, "00112233445566ff", true, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.StorageFailed");
	CHECK(label_list_has(&tunnel_spec(t)->revoked_ids, label));
	CHECK_EQ(t->policies, 0);
	in_folder("rm tunnels && mkdir tunnels");
	CHECK_EQ(revoke_one(t, "00112233445566FF", true, &e), 0);
	CHECK(!label_list_has(&tunnel_spec(t)->revoked_ids, label));
	/* By any name of it. */
	CHECK_EQ(revoke_one(t, "0202020202020202020202020202020202020202020202020202020202020202", true, &e), 0);
	CHECK_EQ(tunnel_spec(t)->revoked.n, 0);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

TEST(who_cannot_be_revoked_is_not)
{
	static const struct sign_public own = { .b = { 9 } };
	struct tunnel_error e = { 0 };
	struct tunnel *t;
	char label[33];

	open_set();
	t = add_made("handfast");
	CHECK_EQ(revoke_one(t, "nonsense", false, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.BadIdentity");
	own_key = &own;
	CHECK_EQ(revoke_one(t, "0900000000000000000000000000000000000000000000000000000000000000", false, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.BadIdentity");
	own_key = NULL;
	CHECK_EQ(revoke_one(t, HIS_KEY, true, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.NotRevoked");
	CHECK_EQ(revoke_one(add_made("prototype"), HIS_KEY, false, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.BadIdentity");
	t->is_being_added = true;
	CHECK_EQ(revoke_one(t, HIS_KEY, false, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.NoAnswer");
	t->is_being_added = false;
	CHECK_EQ(tunnel_spec(t)->revoked.n, 0);
	for (unsigned int i = 0; i < SPEC_REVOKED_MAX; i++) {
		snprintf(label, sizeof(label), "%032x", i);
		CHECK_EQ(revoke_one(t, label, false, &e), 0);
		/* Again is no more. */
		CHECK_EQ(revoke_one(t, label, false, &e), 0);
	}
	CHECK_EQ(revoke_one(t, HIS_KEY, false, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.BadIdentity");
	CHECK_EQ(tunnel_spec(t)->revoked.n, SPEC_REVOKED_MAX);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

static int change(struct tunnel *t, json_t *members, const char *by_default, struct tunnel_error *e)
{
	_cleanup_json_ json_t *m = members, *defaults = json_array();

	if (by_default)
		json_array_append_new(defaults, json_string(by_default));
	return tunnels_change(set, t, m, defaults, e);
}

TEST(i9_settings_are_durable_before_they_are_acknowledged_and_begin_anew)
{
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	t = add_made("handfast");
	CHECK_EQ(change(t, json_pack("{s:[s], s:i, s:s}", "routes", "10.1.0.0/16", "mtu", 1300, "keepalive", "5s"), NULL, &e), 0);
	CHECK_EQ(t->restarts, 1);
	/* What is so already is no reason to begin anew. */
	CHECK_EQ(change(t, json_pack("{s:i}", "mtu", 1300), NULL, &e), 0);
	CHECK_EQ(t->restarts, 1);
	close_set();
	open_set();
	t = tunnels_find(set, "handfast");
	CHECK(t && tunnel_spec(t)->routes.n == 1 && tunnel_spec(t)->f.mtu == 1300 && tunnel_spec(t)->f.keepalive_ms == 5000);
	in_folder("rm -r tunnels && touch tunnels");
	CHECK_EQ(change(t, json_pack("{s:i}", "mtu", 1350), "routes", &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.StorageFailed");
	CHECK(tunnel_spec(t)->routes.n == 1 && tunnel_spec(t)->f.mtu == 1300);
	CHECK_EQ(t->restarts, 0);
	in_folder("rm tunnels && mkdir tunnels");
	CHECK_EQ(change(t, json_object(), "routes", &e), 0);
	CHECK_EQ(tunnel_spec(t)->routes.n, 0);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

TEST(i9_a_tunnel_goes_down_without_a_disk_and_up_only_with_one)
{
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	t = add_made("handfast");
	CHECK_EQ(tunnels_enable(set, t, &e), 0);
	in_folder("mv tunnels away && touch tunnels");
	CHECK_EQ(tunnels_disable(set, t, &e), 1);
	CHECK_STR(e.code, "io.handfast.Tunnel.StorageFailed");
	CHECK(!tunnel_spec(t)->enabled);
	/* Said once more it is tried once more. */
	CHECK_EQ(tunnels_disable(set, t, &e), 1);
	CHECK_EQ(tunnels_enable(set, t, &e), -1);
	CHECK(!tunnel_spec(t)->enabled);
	in_folder("rm tunnels && mv away tunnels");
	close_set();
	open_set();
	t = tunnels_find(set, "handfast");
	CHECK(t && tunnel_spec(t)->enabled);
	CHECK_EQ(tunnels_disable(set, t, &e), 0);
	close_set();
	open_set();
	t = tunnels_find(set, "handfast");
	CHECK(t && !tunnel_spec(t)->enabled);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

TEST(settings_that_cannot_be_change_nothing)
{
	struct tunnel_error e = { 0 };
	struct tunnel *t, *other;

	open_set();
	t = add_made("handfast");
	other = add_named("other", "handfast");
	CHECK_EQ(change(other, json_pack("{s:[s]}", "routes", "10.1.0.0/16"), NULL, &e), 0);
	tunnel_spec_mutable(t)->enabled = tunnel_spec_mutable(other)->enabled = true;
	CHECK_EQ(change(t, json_pack("{s:[s]}", "routes", "10.1.0.0/16"), NULL, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.RouteConflict");
	CHECK_EQ(tunnel_spec(t)->routes.n, 0);
	CHECK_EQ(change(t, json_pack("{s:i}", "mtu", 100), NULL, &e), -1);
	CHECK_STR(e.code, "io.handfast.Daemon.BadRequest");
	CHECK_EQ(change(t, json_pack("{s:i}", "mtu", 1300), "mtu", &e), -1);
	CHECK_EQ(change(t, json_object(), "key_file", &e), -1);
	CHECK_EQ(change(t, json_pack("{s:s}", "peer_address", "10.9.0.2"), NULL, &e), -1);
	t->is_being_added = true;
	CHECK_EQ(change(t, json_pack("{s:i}", "mtu", 1300), NULL, &e), -1);
	CHECK_STR(e.code, "io.handfast.Tunnel.NoAnswer");
	CHECK_EQ(tunnel_spec(t)->f.mtu, 1400);
	CHECK_EQ(t->restarts, 0);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

static void on_answer(const struct tunnel_error *e, void *arg)
{
	*(struct tunnel_error *)arg = *e;
}

static int ask(struct tunnel *t, json_t *members, struct tunnel_error *e)
{
	_cleanup_json_ json_t *m = members;

	return tunnels_ask_change(set, t, m, NULL, on_answer, e, e);
}

TEST(tund_is_asked_about_other_networks_alone_and_nothing_changes_meanwhile)
{
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	questions = 0;
	open_set();
	t = add_made("handfast");
	CHECK_EQ(ask(t, json_pack("{s:[s]}", "routes", "10.1.0.0/16"), &e), 1);
	CHECK(questions == 1 && tunnel_spec(t)->routes.n == 0 && answer == on_answer && answer_arg == &e);
	CHECK_EQ(ask(t, json_pack("{s:s, s:s}", "local_address", "10.9.0.1/30", "peer_address", "10.9.0.2"), &e), 1);
	CHECK(questions == 2 && !tunnel_spec(t)->f.local_address && t->restarts == 0);
	CHECK_EQ(ask(t, json_pack("{s:i, s:s}", "mtu", 1300, "endpoint", "10.2.0.1:7200"), &e), 0);
	CHECK_EQ(change(t, json_pack("{s:[s]}", "routes", "10.1.0.0/16"), NULL, &e), 0);
	CHECK_EQ(ask(t, json_pack("{s:[s]}", "routes", "10.1.0.0/16"), &e), 0);
	CHECK_EQ(ask(t, json_pack("{s:[s]}", "routes", "10.1.0.0/16"), &e), 0);
	CHECK_EQ(ask(t, json_pack("{s:[s]}", "routes", "nonsense"), &e), -1);
	CHECK_STR(e.code, "io.handfast.Daemon.BadRequest");
	CHECK_EQ(questions, 2);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

TEST(what_was_set_and_revoked_goes_over_to_a_newer_pairing)
{
	struct tunnel_error e = { 0 };
	struct tunnel *t;

	open_set();
	give_root(1);
	t = tunnel_of(1);
	CHECK_EQ(change(t, json_pack("{s:s}", "salt", "x"), NULL, &e), -1);
	CHECK_STR(e.code, "io.handfast.Daemon.BadRequest");
	CHECK_EQ(change(t, json_pack("{s:[s], s:s}", "routes", "10.1.0.0/16", "endpoint", "pi.example:7200"), NULL, &e), 0);
	CHECK_EQ(revoke_one(t, "00112233445566ff", false, &e), 0);
	give_root(2);
	t = tunnel_of(2);
	CHECK(t && tunnel_spec(t)->successor);
	CHECK_EQ(tunnel_spec(t)->revoked.n, 1);
	/* Two at once cannot have one route. */
	CHECK_EQ(tunnel_spec(t)->routes.n, 0);
	come_up(2);
	seen(2);
	CHECK(!tunnel_of(1));
	CHECK_EQ(tunnel_spec(t)->routes.n, 1);
	CHECK_STR(tunnel_spec(t)->f.endpoint, "pi.example:7200");
	CHECK_EQ(t->restarts, 1);
	close_set();
	open_set();
	t = tunnel_of(2);
	CHECK(t && tunnel_spec(t)->routes.n == 1 && tunnel_spec(t)->revoked.n == 1 && tunnel_spec(t)->pinned);
	close_set();
	in_folder("rm -r tunnels ledgers");
}

/* ---- many ---- */

static void stop_loop(void *arg)
{
	loop_stop(arg, 0);
}

/* Turn the loop for a while; then how many were started in all. */
static unsigned int starts_after(uint64_t ms)
{
	_cleanup_(loop_timer_freep) struct loop_timer *timer = NULL;
	unsigned int n = 0;

	CHECK_EQ(loop_timer_new(&timer, loop, stop_loop, loop), 0);
	CHECK_EQ(loop_timer_start(timer, ms), 0);
	CHECK_EQ(loop_run(loop), 0);
	list_for_each (it, tunnels_list(set))
		n += tunnel_of_node(it)->starts;
	return n;
}

static unsigned int now_starting(bool they_have_devices)
{
	unsigned int n = 0;

	list_for_each (it, tunnels_list(set)) {
		n += tunnel_of_node(it)->starting;
		if (they_have_devices)
			tunnel_of_node(it)->starting = false;
	}
	return n;
}

TEST(many_tunnels_begin_a_few_at_a_time_and_each_once)
{
	enum { N = 60 };
	unsigned int few, before = 0, started;

	open_set();
	for (int i = 0; i < N; i++) {
		char name[8];

		snprintf(name, sizeof(name), "t%d", i);
		tunnel_spec_mutable(add_named(name, "handfast"))->enabled = true;
	}
	tunnels_start_enabled(set);
	few = now_starting(false);
	CHECK(few > 0 && few < 64);
	CHECK_EQ(starts_after(100), few);
	/* One that was taken down before its turn. */
	tunnel_of_node(tunnels_list(set)->prev)->queued = false;
	while ((started = starts_after(100)) > before) {
		CHECK(now_starting(true) <= few);
		before = started;
	}
	CHECK_EQ(started, N - 1);
	list_for_each (it, tunnels_list(set))
		CHECK(tunnel_of_node(it)->starts <= 1);
	close_set();
	in_folder("rm -r tunnels ledgers");
}
