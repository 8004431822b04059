/*
 * How much of a tunnel's key file is left, how long that lasts, and who is told. The history is on the disk at
 * most once an hour, and only where packets have had the ledger written anyway.
 */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "pskd/keys/ledger.h"
#include "pskd/tunnel/store.h"
#include "pskd/tunnel/tunnel_internal.h"

#define SAVE_EVERY_MS (UINT64_C(3600) * 1000)

void tunnel_fuel_begin(struct tunnel *t)
{
	fuel_restart(&t->spec->fuel);
	t->fuel_warned = 0;
	t->fuel_writes = 0;
	t->fuel_saved_ms = clock_now_ms();
	tunnel_fuel_look(t);
}

static void observe(struct tunnel *t, const struct keys_info *info)
{
	if (info->slots_total)
		fuel_observe(&t->spec->fuel, clock_now_ms(), info->taken);
}

void tunnel_fuel_look(struct tunnel *t)
{
	struct keys_info info;

	if (!t->keys)
		return;
	keys_info(t->keys, &info);
	observe(t, &info);
}

void tunnel_write_fuel(struct tunnel *t)
{
	int r;

	if (t->spec->fuel.unsaved == 0 || !t->spec->ledger[0])
		return;
	r = tunnel_store_save(t->ctx.store, t->spec);
	if (r)
		log_debug("tunnel %s: its use of keys is not kept: %s", t->spec->name, strerror(-r));
	else
		t->spec->fuel.unsaved = 0;
}

static void save_fuel(struct tunnel *t)
{
	tunnel_fuel_look(t);
	tunnel_write_fuel(t);
}

static void warn(struct tunnel *t, const struct keys_info *info)
{
	unsigned int level = fuel_level(info->packets_left, info->slots_total * SLOT_PACKETS);
	char left[24];

	if (level <= t->fuel_warned)
		return;
	t->fuel_warned = level;
	snprintf(left, sizeof(left), "%llu", (unsigned long long)info->packets_left);
	log_event(LOG_WARNING, &MSG_TUNNEL_FUEL,
		  LOG_FIELDS({ FIELD_TUNNEL, t->spec->name }, { FIELD_PEER, tunnel_peer(t) }, { FIELD_COUNT, left }),
		  "tunnel %s: less than %u %% of the key material is left: %s packets", t->spec->name,
		  fuel_levels[level - 1], left);
}

void tunnel_fuel_tick(struct tunnel *t, uint64_t now_ms)
{
	struct keys_info info;

	keys_info(t->keys, &info);
	if (!info.slots_total)
		return;
	observe(t, &info);
	warn(t, &info);
	if (now_ms - t->fuel_saved_ms < SAVE_EVERY_MS || info.ledger_writes == t->fuel_writes)
		return;
	t->fuel_saved_ms = now_ms;
	t->fuel_writes = info.ledger_writes;
	save_fuel(t);
}

/* ---- as the command sees it ---- */

/* What the ledger of keys that are not open says. The lost record of two may have been the newer one. */
static void look_at_ledger(const struct tunnel *t, struct keys_info *k)
{
	_cleanup_free_ char *path = tunnel_store_ledger_path(t->ctx.store, t->spec->ledger);
	_cleanup_(secret_freep) struct secret *mem = NULL;
	const struct ledger_record *r;
	struct ledger_state *s;
	uint64_t end, sent;
	uint8_t *bytes;

	if (!path || secret_new(&mem, sizeof(*s), &bytes))
		return;
	s = (void *)bytes;
	if (ledger_look(path, s) != 0 || s->newest.slots_total == 0)
		return;
	r = &s->newest;
	end = r->slots_total * SLOT_PACKETS;
	sent = min_u64(end, r->tx_reserved + (s->other_ok ? 0 : r->tx_limit));
	*k = (struct keys_info){ .is_file = true, .slots_total = r->slots_total, .tx_next = sent, .rx_high = r->rx_high,
				 .rx_floor = min_u64(end, r->rx_mark + (s->other_ok ? 0 : r->rx_limit)),
				 .slots_erased = r->erased, .packets_left = end - sent };
}

static uint64_t receive_left(const struct keys_info *k)
{
	uint64_t received = k->rx_high == UINT64_MAX ? 0 : k->rx_high + 1;

	return k->slots_total * SLOT_PACKETS - max_u64(k->rx_floor, received);
}

/* NULL, in JSON: there is no end, or it is not known. */
static json_t *rates_to_json(const struct tunnel *t, const struct keys_info *k)
{
	struct fuel_rates r;
	uint64_t lasts_s;

	if (!k->slots_total)
		return json_null();
	fuel_rates(&t->spec->fuel, &r);
	lasts_s = fuel_lasts_s(&r, k->packets_left);
	return json_pack("{s:I, s:I, s:I, s:I, s:o, s:I}", "hour_packets", (json_int_t)r.hour, "hour_s",
			 (json_int_t)r.hour_s, "week_packets", (json_int_t)r.week, "week_s", (json_int_t)r.week_s,
			 "lasts_s", lasts_s == UINT64_MAX ? json_null() : json_integer((json_int_t)lasts_s),
			 "receive_packets_left", (json_int_t)receive_left(k));
}

void tunnel_fuel_to_json(struct tunnel *t, json_t *j)
{
	struct keys_info k = { .packets_left = 0, .rx_high = UINT64_MAX };
	double percent = 100;

	tunnel_fuel_look(t);
	if (t->keys)
		keys_info(t->keys, &k);
	else if (t->spec->f.key_file && t->spec->ledger[0])
		look_at_ledger(t, &k);
	if (k.slots_total)
		percent = 100.0 * (double)k.packets_left / ((double)k.slots_total * SLOT_PACKETS);
	json_object_set_new(j, "slots_total", json_integer((json_int_t)k.slots_total));
	json_object_set_new(j, "slot_sent", json_integer((json_int_t)(k.tx_next / SLOT_PACKETS)));
	json_object_set_new(j, "slot_received",
			    json_integer(k.rx_high == UINT64_MAX ? 0 : (json_int_t)(k.rx_high / SLOT_PACKETS)));
	json_object_set_new(j, "slots_erased", json_integer((json_int_t)k.slots_erased));
	json_object_set_new(j, "packets_left",
			    json_integer(k.packets_left > INT64_MAX ? INT64_MAX : (json_int_t)k.packets_left));
	json_object_set_new(j, "fuel_percent", json_real(percent));
	json_object_set_new(j, "fuel", rates_to_json(t, &k));
}
