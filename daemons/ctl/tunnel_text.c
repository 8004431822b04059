/* How tunnels look on the screen. Everything a daemon did not fill in is left out. */
#include "ctl/tunnel_text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/text.h"

#include "ctl/ctl.h"

enum { BAR_CELLS = 30 };

/* Members may be null or absent: "" and the fallback then. */
static const char *str(const json_t *t, const char *key)
{
	return clean_member(t, key);
}

static enum paint state_paint(const json_t *t)
{
	if (*str(t, "problem"))
		return PAINT_RED;
	if (strcmp(str(t, "state"), "up") == 0)
		return PAINT_GREEN;
	return json_is_true(json_object_get(t, "enabled")) ? PAINT_YELLOW : PAINT_DIM;
}

/* Keys from a pairing have no end; those of a file that is not open are not known. */
static bool has_fuel(const json_t *t)
{
	return json_get_int(t, "slots_total", 0) > 0;
}

static const char *no_fuel(const json_t *t)
{
	return strcmp(str(t, "source"), "pairing") == 0 ? "no end" : "not known";
}

static double fuel(const json_t *t)
{
	return json_number_value(json_object_get(t, "fuel_percent"));
}

static enum paint fuel_paint(double percent)
{
	return percent > 20 ? PAINT_GREEN : percent > 5 ? PAINT_YELLOW : PAINT_RED;
}

static void age_format(char *out, size_t cap, int64_t ms)
{
	char span[32];

	if (ms < 0) {
		snprintf(out, cap, "never");
		return;
	}
	text_format_duration(span, sizeof(span), (uint64_t)ms);
	snprintf(out, cap, "%s ago", span);
}

static void traffic_format(char *out, size_t cap, const json_t *traffic)
{
	char packets[40], bytes[32];
	int64_t n = json_get_int(traffic, "packets", 0), b = json_get_int(traffic, "bytes", 0);

	count_format(packets, sizeof(packets), n < 0 ? 0 : (uint64_t)n);
	text_format_size(bytes, sizeof(bytes), b < 0 ? 0 : (uint64_t)b);
	snprintf(out, cap, "%s packets, %s", packets, bytes);
}

static void bytes_cell(struct table *table, const json_t *traffic)
{
	int64_t b = json_get_int(traffic, "bytes", 0);
	char bytes[32];

	text_format_size(bytes, sizeof(bytes), b < 0 ? 0 : (uint64_t)b);
	table_cell(table, PAINT_PLAIN, "%s", bytes);
}

void tunnels_table(const struct ctl *c, const json_t *tunnels)
{
	static const char *const headings[] = { "TUNNEL", "STATE", "DEVICE",   "ENDPOINT", "SENT",
						"RECEIVED", "FUEL", "ADDRESS", NULL };
	struct table *table = table_new(headings);
	const json_t *t;
	size_t i;

	json_array_foreach(tunnels, i, t) {
		const json_t *addresses = json_object_get(t, "local_addresses");

		table_cell(table, PAINT_BOLD, "%s", str(t, "name"));
		table_cell(table, state_paint(t), "%s", str(t, "state"));
		table_cell(table, PAINT_PLAIN, "%s", str(t, "interface_name"));
		table_cell(table, PAINT_PLAIN, "%s", str(t, "endpoint"));
		bytes_cell(table, json_object_get(t, "sent"));
		bytes_cell(table, json_object_get(t, "received"));
		if (has_fuel(t))
			table_cell(table, fuel_paint(fuel(t)), "%.1f %%", fuel(t));
		else
			table_cell(table, PAINT_PLAIN, "%s", no_fuel(t));
		table_cell(table, PAINT_PLAIN, "%s",
			   clean_text(json_string_value(json_array_get(addresses, 0))));
	}
	table_print(table, stdout, &c->style);
}

static void fuel_cell(struct table *table, const struct ctl *c, const json_t *t)
{
	enum { CELLS = 10 };
	char bar[4 * CELLS + 8];

	if (!has_fuel(t)) {
		table_cell(table, PAINT_PLAIN, "%s", no_fuel(t));
		return;
	}
	bar_format(bar, sizeof(bar), &c->style, fuel(t) / 100, CELLS);
	table_cell(table, fuel_paint(fuel(t)), "%s %.1f %%", bar, fuel(t));
}

void tunnels_summary(const struct ctl *c, const json_t *tunnels)
{
	static const char *const headings[] = { "TUNNEL", "STATE", "SENT", "RECEIVED", "FUEL", "ADDRESS", NULL };
	struct table *table = table_new(headings);
	const json_t *t;
	size_t i;

	json_array_foreach(tunnels, i, t) {
		const json_t *addresses = json_object_get(t, "local_addresses");

		table_cell(table, PAINT_BOLD, "%s", str(t, "name"));
		table_cell(table, state_paint(t), "%s", str(t, "state"));
		bytes_cell(table, json_object_get(t, "sent"));
		bytes_cell(table, json_object_get(t, "received"));
		fuel_cell(table, c, t);
		table_cell(table, PAINT_PLAIN, "%s", clean_text(json_string_value(json_array_get(addresses, 0))));
	}
	table_print(table, stdout, &c->style);
}

static void list_fact(const struct style *s, const json_t *t, const char *label, const char *key)
{
	const json_t *one;
	size_t i, len = 0;
	char line[600];

	json_array_foreach(json_object_get(t, key), i, one)
		if (len < sizeof(line))
			len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%s", i ? ", " : "",
						clean_text(json_string_value(one)));
	if (len)
		fact(stdout, s, label, "%s", line);
}

static void print_drops(const struct ctl *c, const json_t *t)
{
	json_t *drops = json_object_get(t, "drops"), *n;
	char line[512] = "";
	const char *cause;
	size_t len = 0;

	json_object_foreach(drops, cause, n)
		if (json_integer_value(n) > 0 && len < sizeof(line))
			len += (size_t)snprintf(line + len, sizeof(line) - len, "%s%lld %s",
						len ? ", " : "", (long long)json_integer_value(n),
						clean_text(cause));
	fact(stdout, &c->style, "dropped", "%s", len ? line : "nothing");
}

static void print_fuel(const struct ctl *c, const json_t *t)
{
	int64_t left = json_get_int(t, "packets_left", 0);
	char bar[4 * BAR_CELLS + 8], packets[40];

	if (!has_fuel(t)) {
		fact(stdout, &c->style, "fuel", "%s", no_fuel(t));
		return;
	}
	bar_format(bar, sizeof(bar), &c->style, fuel(t) / 100, BAR_CELLS);
	count_format(packets, sizeof(packets), left < 0 ? 0 : (uint64_t)left);
	/* Painted outside fact(), which cleans escape codes away. */
	fact(stdout, &c->style, "fuel", "%s %.1f %%", bar, fuel(t));
	fact(stdout, &c->style, "", "%s packets left to send; slot %lld of %lld, %lld erased", packets,
	     (long long)json_get_int(t, "slot_sent", 0), (long long)json_get_int(t, "slots_total", 0),
	     (long long)json_get_int(t, "slots_erased", 0));
}

static void fact_if_told(const struct style *s, const json_t *t, const char *label, const char *key)
{
	const char *value = str(t, key);

	if (*value)
		fact(stdout, s, label, "%s", value);
}

static void identity_facts(const struct style *s, const json_t *t)
{
	bool pinned = *str(t, "pin");

	if (*str(t, "own_identity"))
		fact(stdout, s, "identity", "%s (%s)", str(t, "own_identity"),
		     pinned ? "this device's key signs for it" : "a label: nothing signs for it");
	if (*str(t, "peer_identity"))
		fact(stdout, s, "its identity", "%s (%s)", str(t, "peer_identity"),
		     pinned ? "pinned, and signed for" : "a label: it proves nothing");
}

void tunnel_text(const struct ctl *c, const json_t *t)
{
	const struct style *s = &c->style;
	char line[600], age[48];

	printf("%s%s%s  %s%s%s\n", paint_begin(s, PAINT_BOLD), str(t, "name"),
	       paint_end(s, PAINT_BOLD), paint_begin(s, state_paint(t)), str(t, "state"),
	       paint_end(s, state_paint(t)));
	fact_if_told(s, t, "problem", "problem");
	fact_if_told(s, t, "rollback", "rollback");
	fact(stdout, s, "peer", "%s (we are the %s)", str(t, "peer"), str(t, "role"));
	fact_if_told(s, t, "its version", "peer_version");
	identity_facts(s, t);
	fact(stdout, s, "keys", "%s", str(t, "source"));
	fact_if_told(s, t, "key file", "key_file");
	fact(stdout, s, "endpoint", "%s", *str(t, "endpoint") ? str(t, "endpoint") : "not known yet");
	fact_if_told(s, t, "listens on", "listen");
	list_fact(s, t, "tries", "candidates");
	if (*str(t, "interface_name"))
		fact(stdout, s, "device", "%s, MTU %lld", str(t, "interface_name"),
		     (long long)json_get_int(t, "mtu", 0));
	list_fact(s, t, "own address", "local_addresses");
	list_fact(s, t, "peer address", "peer_addresses");
	list_fact(s, t, "routes", "routes");
	list_fact(s, t, "heard for", "allowed");
	traffic_format(line, sizeof(line), json_object_get(t, "sent"));
	fact(stdout, s, "sent", "%s", line);
	traffic_format(line, sizeof(line), json_object_get(t, "received"));
	fact(stdout, s, "received", "%s", line);
	print_drops(c, t);
	fact(stdout, s, "replays", "%lld", (long long)json_get_int(t, "replays", 0));
	print_fuel(c, t);
	age_format(age, sizeof(age), json_get_int(t, "last_handshake_ms", -1));
	fact(stdout, s, "handshake", "%s (%lld so far, session %lld)", age,
	     (long long)json_get_int(t, "handshakes", 0), (long long)json_get_int(t, "session", 0));
	age_format(age, sizeof(age), json_get_int(t, "last_received_ms", -1));
	fact(stdout, s, "last packet", "%s", age);
	if (*str(t, "aead_note"))
		fact(stdout, s, "sealed by", "%s (%s)", str(t, "aead"), str(t, "aead_note"));
	else
		fact(stdout, s, "sealed by", "%s", str(t, "aead"));
}
