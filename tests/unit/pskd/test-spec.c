/* Specs: the table, what one value cannot tell, and state that comes back as it went. */
#include "pskd/tunnel/spec.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "pskd/tunnel/store.h"
#include "unit/lib/conf.h"
#include "unit/lib/test.h"

static int load(struct spec **out, const char *text, struct config_error *err)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/x.yaml", test_tmpdir());
	CHECK_EQ(file_write_atomic(path, text, strlen(text), 0600), 0);
	return spec_load(out, path, "x", err);
}

TEST(defaults_need_a_file_and_a_role_alone)
{
	_cleanup_(spec_freep) struct spec *s = NULL;
	struct config_error err = { "" };

	CHECK_EQ(load(&s, "key_file: /k\nrole: responder\n", &err), 0);
	CHECK_EQ(s->f.role, KEYS_RESPONDER);
	CHECK_EQ(s->f.window, 8192);
	CHECK_EQ(s->f.mtu, 1400);
	CHECK_EQ(s->dscp, 0);
	CHECK_EQ(s->f.keepalive_ms, 25000);
	CHECK(s->enabled && !s->pinned && !s->f.peer);
	CHECK_STR(s->f.interface, "hf%d");
}

TEST(wrong_values_are_refused_with_line_and_column)
{
	static const char *const bad[] = {
		"role: initiator\n",
		"key_file: /k\n",
		"key_file: k\nrole: initiator\n",
		"key_file: /k\nrole: boss\n",
		"key_file: /k\nrole: initiator\nwindow: 100\n",
		"key_file: /k\nrole: initiator\nmtu: 100\n",
		"key_file: /k\nrole: initiator\ndscp: 64\n",
		"key_file: /k\nrole: initiator\ndscp: some\n",
		"key_file: /k\nrole: initiator\ninterface: eth0\n",
		"key_file: /k\nrole: initiator\npin: short\n",
		"key_file: /k\nrole: initiator\nsalt: ''\n",
		"key_file: /k\nrole: initiator\nallow_labels: [short]\n",
		("key_file: /k\nrole: initiator\nallow_labels: [00112233445566ff]\n"
		 "pin: AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=\n"),
		"key_file: /k\nrole: initiator\npeer: prototype\nendpoint: a:1\nsalt: s\n",
		"key_file: /k\nrole: initiator\npeer: prototype\nendpoint: a:1\nallow_labels: [00112233445566ff]\n",
		"key_file: /k\nrole: initiator\nendpoint: host\n",
		"key_file: /k\nrole: initiator\nlisten: host:1\n",
		"key_file: /k\nrole: initiator\nerase: maybe\n",
		"key_file: /k\nrole: initiator\npeer_address: 10.0.0.2\n",
		"key_file: /k\nrole: initiator\nlocal_address: 127.0.0.1/8\n",
		"key_file: /k\nrole: initiator\nlocal_address: 64.0.0.1/1\n",
		"key_file: /k\nrole: initiator\nlocal_address: 2000::1/3\n",
		"key_file: /k\nrole: initiator\nlocal_address: 10.0.0.1/32\npeer_address: 224.0.0.1\n",
		"key_file: /k\nrole: initiator\nlocal_address: 10.0.0.1/30\npeer_address: 10.0.0.1\n",
		"key_file: /k\nrole: initiator\nlocal_address: 10.0.0.1/30, fd00::1/64\npeer_address: 10.0.0.2, fd00::1\n",
		"key_file: /k\nrole: initiator\npeer: prototype\n",
		"key_file: /k\nrole: initiator\nroutes: [10.1.0.1/16]\n",
		"key_file: /k\nrole: initiator\nroutes: [127.0.0.0/8]\n",
		"key_file: /k\nrole: initiator\nroutes: 10.1.0.0/16\n",
		"key_file: /k\nrole: initiator\nallowed: [default]\n",
		"key_file: /k\nrole: initiator\nlocal_address: 10.0.0.1/30\nroutes: [fd00::/48]\n",
		"key_file: /k\nrole: initiator\nlocal_address: fd00::1/64\nroutes: [default]\n",
		"key_file: /k\nrole: initiator\nlisten_port: 1\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(spec_freep) struct spec *s = NULL;
		struct config_error err = { "" };

		CHECK(load(&s, bad[i], &err) < 0);
		CHECK(strstr(err.text, "x.yaml") != NULL);
	}
}

TEST(networks_are_read_and_a_change_of_them_is_one)
{
	static const char *const text = "key_file: /k\nrole: initiator\nroutes: [10.1.0.0/16, \"::/0\"]\nallowed: [10.1.2.0/24]\n";
	_cleanup_(spec_freep) struct spec *s = NULL, *same = NULL, *other = NULL;
	struct config_error err = { "" };

	CHECK_EQ(load(&s, text, &err), 0);
	CHECK_EQ(s->routes.n, 3);
	CHECK_EQ(s->allowed.n, 1);
	CHECK_EQ(s->allowed.v[0].len, 24);
	CHECK_EQ(load(&same, text, &err), 0);
	CHECK(spec_same(s, same));
	CHECK_EQ(load(&other, "key_file: /k\nrole: initiator\nroutes: [10.1.0.0/16, \"::/0\"]\n", &err), 0);
	CHECK(!spec_same(s, other));
}

TEST(i9_state_of_a_made_tunnel_comes_back)
{
	_cleanup_json_ json_t *members = json_pack("{s:[s,s], s:[s], s:s, s:s, s:s, s:s, s:s}", "routes", "10.1.0.0/16",
						   "default", "allowed", "10.1.2.0/24", "key_file", "/k \"x\"", "role",
						   "initiator", "endpoint", "pi:7200", "erase", "zero", "pin",
						   "MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
	_cleanup_(spec_freep) struct spec *s = NULL, *back = NULL;
	_cleanup_json_ json_t *j = NULL;
	struct config_error err = { "" };

	CHECK_EQ(spec_make(&s, "x", members, &err), 0);
	CHECK(s->pinned);
	snprintf(s->ledger, sizeof(s->ledger), "x.ledger");
	s->enabled = true;
	j = spec_to_json(s);
	CHECK_EQ(spec_from_json(&back, "x", j), 0);
	CHECK(spec_same(s, back));
	CHECK_STR(back->ledger, "x.ledger");
	CHECK_STR(back->f.key_file, "/k \"x\"");
	CHECK_EQ(back->routes.n, 5);
	CHECK_EQ(back->allowed.n, 1);
	CHECK(back->enabled && back->pinned && back->origin == SPEC_MADE);
}

TEST(i9_labels_and_the_peers_last_one_come_back)
{
	_cleanup_json_ json_t *members = json_pack("{s:s, s:s, s:s, s:[s, s]}", "key_file", "/k", "role", "initiator", "salt",
						   "a \"salt\"", "allow_labels", "00112233445566ff",
						   "00112233445566778899aabbccddeeff");
	_cleanup_(spec_freep) struct spec *s = NULL, *back = NULL, *other = NULL;
	_cleanup_json_ json_t *j = NULL;
	struct config_error err = { "" };

	CHECK_EQ(spec_make(&s, "x", members, &err), 0);
	CHECK_EQ(s->labels.n, 2);
	memset(s->last_identity, 'a', sizeof(s->last_identity) - 1);
	j = spec_to_json(s);
	CHECK_EQ(spec_from_json(&back, "x", j), 0);
	CHECK(spec_same(s, back));
	CHECK_STR(back->f.salt, "a \"salt\"");
	CHECK_EQ(back->labels.n, 2);
	CHECK_EQ(back->labels.v[0].len, 8);
	CHECK_EQ(back->labels.v[1].len, 16);
	CHECK_STR(back->last_identity, s->last_identity);
	/* A reload sees that they are others. */
	json_object_del(members, "allow_labels");
	CHECK_EQ(spec_make(&other, "x", members, &err), 0);
	CHECK(!spec_same(s, other));
	/* Who is pinned is another matter than who said what before. */
	CHECK_EQ(spec_set_pin(s, NULL), 0);
	CHECK_STR(s->last_identity, "");
}

TEST(a_pin_is_changed_or_left_as_it_was)
{
	_cleanup_(spec_freep) struct spec *s = NULL;
	struct config_error err = { "" };

	CHECK_EQ(load(&s, "key_file: /k\nrole: responder\n", &err), 0);
	CHECK_EQ(spec_set_pin(s, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI="), 0);
	CHECK(s->pinned && s->peer_public.b[0] == 2 && s->peer_public.b[31] == 2);
	CHECK_EQ(spec_set_pin(s, "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg"), -EINVAL);
	CHECK(s->pinned && s->peer_public.b[31] == 2);
	CHECK_EQ(spec_set_pin(s, NULL), 0);
	CHECK(!s->pinned && !s->f.pin && s->peer_public.b[31] == 0);
}

static struct identity_root root(void)
{
	struct identity_root r = { .role = IDENTITY_BOB, .peer_name = "pi", .own_port = 7201, .peer_port = 7202,
				   .n_candidates = 2, .candidates = { "192.0.2.1", "[fd00::1]" } };

	memset(r.peer_public.b, 5, SIGN_PUBLIC_LEN);
	memset(r.own_public.b, 6, SIGN_PUBLIC_LEN);
	memset(r.tunnel_id, 7, 16);
	identity_id(r.peer_id, &r.peer_public);
	return r;
}

TEST(i5_state_of_a_paired_tunnel_comes_back_without_its_root)
{
	struct identity_root r = root();
	_cleanup_(spec_freep) struct spec *s = NULL, *back = NULL;
	_cleanup_json_ json_t *j = NULL;
	_cleanup_free_ char *text = NULL;

	memset(r.root, 0xab, sizeof(r.root));
	CHECK_EQ(spec_from_root(&s, &r, "pi"), 0);
	j = spec_to_json(s);
	text = json_text(j);
	CHECK(strstr(text, "abababab") == NULL);
	CHECK_EQ(spec_from_json(&back, "pi", j), 0);
	CHECK(back->origin == SPEC_PAIRED && back->pinned);
	CHECK_EQ(back->f.role, KEYS_RESPONDER);
	CHECK_EQ(back->own_port, 7201);
	CHECK_EQ(back->n_candidates, 2);
	CHECK_STR(back->candidates[1], "[fd00::1]");
	CHECK_MEM(back->peer_public.b, r.peer_public.b, SIGN_PUBLIC_LEN);
}

TEST(broken_state_is_refused)
{
	static const char *const bad[] = {
		"{}",
		"{\"version\": 2, \"origin\": \"made\", \"ledger\": \"x\"}",
		"{\"version\": 1, \"origin\": \"made\", \"ledger\": \"x\"}",
		"{\"version\": 1, \"origin\": \"paired\", \"ledger\": \"x\", \"tunnel\": {\"role\": \"initiator\"}}",
		"{\"version\": 1, \"origin\": \"declared\", \"ledger\": \"../../x\"}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_json_ json_t *j = json_loads(bad[i], 0, NULL);
		struct spec *s = NULL;

		CHECK(j != NULL);
		CHECK_EQ(spec_from_json(&s, "x", j), -EBADMSG);
	}
}

static void on_spec(struct spec **s, void *arg)
{
	(void)s;
	++*(int *)arg;
}

static void on_bad(const char *path, int r, void *arg)
{
	(void)path;
	(void)r;
	*(int *)arg += 100;
}

TEST(i4_unreadable_state_of_one_tunnel_does_not_hide_the_others)
{
	struct tunnel_store store = { 0 };
	struct identity_root r = root();
	_cleanup_(spec_freep) struct spec *s = NULL;
	char path[400];
	int n = 0;

	CHECK_EQ(tunnel_store_init(&store, test_tmpdir()), 0);
	CHECK_EQ(spec_from_root(&s, &r, "pi"), 0);
	CHECK_EQ(tunnel_store_save(&store, s), 0);
	snprintf(path, sizeof(path), "%s/bad.json", store.tunnels_dir);
	CHECK_EQ(file_write_atomic(path, "{", 1, 0600), 0);
	CHECK_EQ(tunnel_store_each(&store, on_spec, on_bad, &n), 0);
	CHECK_EQ(n, 101);
	CHECK_EQ(tunnel_store_remove(&store, "pi"), 0);
	CHECK_EQ(tunnel_store_remove(&store, "bad"), 0);
	n = 0;
	CHECK_EQ(tunnel_store_each(&store, on_spec, on_bad, &n), 0);
	CHECK_EQ(n, 0);
	tunnel_store_done(&store);
}

static void on_kept(struct spec **s, void *arg)
{
	*(struct spec **)arg = steal(s);
}

static void on_lost(const char *path, int r, void *arg)
{
	(void)arg;
	fprintf(stderr, "%s: %d\n", path, r);
}

static int save_and_load(struct spec **out, const struct spec *s)
{
	struct tunnel_store store = { 0 };
	int r;

	CHECK_EQ(tunnel_store_init(&store, test_tmpdir()), 0);
	r = tunnel_store_save(&store, s);
	*out = NULL;
	CHECK_EQ(tunnel_store_each(&store, on_kept, on_lost, out), 0);
	CHECK_EQ(tunnel_store_remove(&store, s->name), 0);
	tunnel_store_done(&store);
	return r;
}

static struct spec *made(void)
{
	_cleanup_json_ json_t *members = json_pack("{s:s, s:s}", "key_file", "/k", "role", "responder");
	struct config_error err = { "" };
	struct spec *s;

	CHECK_EQ(spec_make(&s, "t", members, &err), 0);
	return s;
}

TEST(i9_state_of_a_tunnel_that_was_used_for_a_week_is_read_again)
{
	_cleanup_(spec_freep) struct spec *s = made(), *back = NULL;
	struct fuel_rates r;

	s->fuel = (struct fuel){ .begun = true, .at_s = clock_now_ms() / 1000, .known_s = FUEL_WEEK_S };
	for (size_t i = 0; i < FUEL_MINUTES; i++)
		s->fuel.minutes[i] = UINT32_MAX;
	for (size_t i = 0; i < FUEL_HOURS; i++)
		s->fuel.hours[i] = UINT32_MAX;
	CHECK_EQ(save_and_load(&back, s), 0);
	CHECK(back != NULL);
	fuel_rates(&back->fuel, &r);
	CHECK(r.week >= (FUEL_HOURS - 1) * (uint64_t)UINT32_MAX);
}

static void allow(struct spec *s, size_t n)
{
	struct config_list l = { calloc(n + 1, sizeof(char *)), n };

	CHECK(l.v);
	for (size_t i = 0; i < n; i++) {
		l.v[i] = malloc(33);
		CHECK(l.v[i]);
		snprintf(l.v[i], 33, "%032zx", i);
	}
	CHECK_EQ(spec_set_labels(s, &l), 0);
	for (size_t i = 0; i < l.n; i++)
		free(l.v[i]);
	free(l.v);
}

TEST(i9_state_that_could_not_be_read_again_is_not_written)
{
	_cleanup_(spec_freep) struct spec *s = made(), *back = NULL;

	allow(s, 900);
	CHECK_EQ(save_and_load(&back, s), 0);
	CHECK(back && back->labels.n == 900);
	allow(s, 2000);
	back = spec_free(back);
	CHECK_EQ(save_and_load(&back, s), -EFBIG);
	CHECK(back == NULL);
}

TEST(handfast_tunnels_5_tells_every_option_and_its_default)
{
	test_manual_tells_every_option(&spec_schema, "man/handfast-tunnels.5");
}
