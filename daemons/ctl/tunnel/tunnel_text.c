/* How tunnels look on the screen. Everything a daemon did not fill in is left out. */
#include "ctl/tunnel/tunnel_text.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/text.h"

#include "ctl/ctl.h"

enum {
	BAR_CELLS = 30,
	HOUR_S = 59 * 60,   /* the last cell is still being filled */
	WEEK_S = 167 * 3600,
	DAYS_S = 2 * 86400, /* nearer than this, the time of day matters */
};

#define LONG_S (INT64_C(100) * 365 * 86400)

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

void age_format(char *out, size_t cap, int64_t ms, const char *never)
{
	char span[32];

	if (ms < 0) {
		snprintf(out, cap, "%s", never);
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

static void fuel_cell(struct table *table, const struct ctl *c, const json_t *t, unsigned int cells)
{
	char bar[4 * BAR_CELLS + 8];

	if (!has_fuel(t)) {
		table_cell(table, PAINT_PLAIN, "%s", no_fuel(t));
		return;
	}
	bar_format(bar, sizeof(bar), &c->style, fuel(t) / 100, cells);
	table_cell(table, fuel_paint(fuel(t)), "%s %.1f %%", bar, fuel(t));
}

/* bar: how wide that of its fuel is */
static void show_tunnels(const struct ctl *c, const json_t *tunnels, const char *const *headings, bool has_place, unsigned int bar)
{
	struct table *table = table_new(headings);
	const json_t *t;
	size_t i;

	json_array_foreach(tunnels, i, t) {
		const json_t *addresses = json_object_get(t, "local_addresses");

		table_cell(table, PAINT_BOLD, "%s", str(t, "name"));
		table_cell(table, state_paint(t), "%s", str(t, "state"));
		if (has_place) {
			table_cell(table, PAINT_PLAIN, "%s", str(t, "interface_name"));
			table_cell(table, PAINT_PLAIN, "%s", str(t, "endpoint"));
		}
		bytes_cell(table, json_object_get(t, "sent"));
		bytes_cell(table, json_object_get(t, "received"));
		fuel_cell(table, c, t, bar);
		table_cell(table, PAINT_PLAIN, "%s", clean_text(json_string_value(json_array_get(addresses, 0))));
	}
	table_print(table, stdout, &c->style);
}

void tunnels_table(const struct ctl *c, const json_t *tunnels)
{
	static const char *const headings[] = { "TUNNEL", "STATE", "DEVICE", "ENDPOINT", "SENT", "RECEIVED", "FUEL", "ADDRESS", NULL };

	show_tunnels(c, tunnels, headings, true, 5);
}

void tunnels_summary(const struct ctl *c, const json_t *tunnels)
{
	static const char *const headings[] = { "TUNNEL", "STATE", "SENT", "RECEIVED", "FUEL", "ADDRESS", NULL };

	show_tunnels(c, tunnels, headings, false, 10);
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

/* None is worth saying, too, once there is a device. */
static void print_offload(const struct style *s, const json_t *t)
{
	if (json_array_size(json_object_get(t, "offload")) > 0)
		list_fact(s, t, "offload", "offload");
	else if (*str(t, "interface_name"))
		fact(stdout, s, "offload", "none");
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

static void fact_if_told(const struct style *s, const json_t *t, const char *label, const char *key)
{
	const char *value = str(t, key);

	if (*value)
		fact(stdout, s, label, "%s", value);
}

/* How long ago the history begins, "week" where it is one. */
static void window_format(char *out, size_t cap, int64_t s, int64_t whole_s, const char *name)
{
	if (s < whole_s)
		text_format_duration(out, cap, s < 0 ? 0 : (uint64_t)s * 1000);
	else
		snprintf(out, cap, "%s", name);
}

static void used_format(char *out, size_t cap, const json_t *fuel)
{
	char hour[40], week[40], hour_s[32], week_s[32];
	int64_t in_hour = json_get_int(fuel, "hour_packets", 0), in_week = json_get_int(fuel, "week_packets", 0);
	int n;

	count_format(hour, sizeof(hour), in_hour < 0 ? 0 : (uint64_t)in_hour);
	count_format(week, sizeof(week), in_week < 0 ? 0 : (uint64_t)in_week);
	window_format(hour_s, sizeof(hour_s), json_get_int(fuel, "hour_s", 0), HOUR_S, "hour");
	window_format(week_s, sizeof(week_s), json_get_int(fuel, "week_s", 0), WEEK_S, "week");
	n = snprintf(out, cap, "%s packets in the last %s", hour, hour_s);
	if (strcmp(hour_s, week_s) != 0 && n > 0 && (size_t)n < cap)
		snprintf(out + n, cap - (size_t)n, ", %s in the last %s", week, week_s);
}

/* "" when that is not known. */
static void empty_format(char *out, size_t cap, const json_t *t)
{
	int64_t lasts_s = json_get_int(json_object_get(t, "fuel"), "lasts_s", -1);
	time_t at = (time_t)clock_wall_s();
	struct tm tm;

	out[0] = '\0';
	if (lasts_s < 0 || json_get_int(t, "packets_left", 0) <= 0)
		return;
	if (lasts_s >= LONG_S) {
		snprintf(out, cap, "not in 100 years");
		return;
	}
	at += (time_t)lasts_s;
	if (localtime_r(&at, &tm))
		strftime(out, cap, lasts_s < DAYS_S ? "%Y-%m-%d %H:%M" : "%Y-%m-%d", &tm);
}

static void print_rates(const struct ctl *c, const json_t *t)
{
	const json_t *fuel = json_object_get(t, "fuel");
	char line[200], window[32];
	int64_t n;

	if (!json_is_object(fuel))
		return;
	n = json_get_int(fuel, "receive_packets_left", 0);
	count_format(line, sizeof(line), n < 0 ? 0 : (uint64_t)n);
	fact(stdout, &c->style, "", "%s packets left to receive", line);
	used_format(line, sizeof(line), fuel);
	if (json_get_int(fuel, "week_s", 0) > 0)
		fact(stdout, &c->style, "used", "%s", line);
	empty_format(line, sizeof(line), t);
	window_format(window, sizeof(window), json_get_int(fuel, "week_s", 0), WEEK_S, "week");
	if (*line)
		fact(stdout, &c->style, "empty on", "%s, at the rate of the last %s", line, window);
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
	print_rates(c, t);
}

void tunnel_fuel_text(const struct ctl *c, const json_t *t)
{
	printf("%s%s%s\n", paint_begin(&c->style, PAINT_BOLD), str(t, "name"), paint_end(&c->style, PAINT_BOLD));
	fact_if_told(&c->style, t, "key file", "key_file");
	print_fuel(c, t);
}

static void count_cell(struct table *table, const json_t *from, const char *key)
{
	int64_t n = json_get_int(from, key, -1);
	char text[40] = "";

	if (n >= 0)
		count_format(text, sizeof(text), (uint64_t)n);
	table_cell(table, PAINT_PLAIN, "%s", text);
}

void tunnels_fuel_table(const struct ctl *c, const json_t *tunnels)
{
	static const char *const headings[] = { "TUNNEL", "FUEL", "LEFT", "LAST HOUR", "LAST WEEK", "EMPTY ON", NULL };
	struct table *table = table_new(headings);
	const json_t *t;
	size_t i;

	json_array_foreach(tunnels, i, t) {
		const json_t *fuel = json_object_get(t, "fuel");
		char date[48];

		table_cell(table, PAINT_BOLD, "%s", str(t, "name"));
		fuel_cell(table, c, t, 10);
		count_cell(table, has_fuel(t) ? t : NULL, "packets_left");
		count_cell(table, fuel, "hour_packets");
		count_cell(table, fuel, "week_packets");
		empty_format(date, sizeof(date), t);
		table_cell(table, PAINT_PLAIN, "%s", date);
	}
	table_print(table, stdout, &c->style);
}

static void identity_facts(const struct style *s, const json_t *t)
{
	bool pinned = *str(t, "pin");
	char label[100];

	snprintf(label, sizeof(label), "a label made from %s: nothing signs for it", str(t, "label_source"));
	if (*str(t, "own_identity"))
		fact(stdout, s, "identity", "%s (%s)", str(t, "own_identity"),
		     pinned ? "this device's key signs for it" : label);
	if (*str(t, "peer_identity"))
		fact(stdout, s, "its identity", "%s (%s)", str(t, "peer_identity"),
		     pinned ? "pinned, and signed for" : "a label: it proves nothing");
	list_fact(s, t, "may say", "allow_labels");
	list_fact(s, t, "revoked", "revoked");
}

/* Fingerprints are compared by people: in full. */
static void print_generations(const struct style *s, const json_t *t)
{
	const json_t *staged = json_object_get(t, "staged"), *one;
	size_t i;

	fact_if_told(s, t, "key file", "key_file");
	fact_if_told(s, t, "fingerprint", "fingerprint");
	if (json_is_object(staged)) {
		fact(stdout, s, "staged", "%s: %s", str(staged, "key_file"), str(staged, "state"));
		fact_if_told(s, staged, "fingerprint", "fingerprint");
		fact_if_told(s, staged, "problem", "problem");
	}
	json_array_foreach(json_object_get(t, "retired"), i, one) {
		fact(stdout, s, "before", "%s, not finished yet", str(one, "key_file"));
		fact_if_told(s, one, "problem", "problem");
	}
}

static void path_mtu_fact(const struct style *s, const json_t *t)
{
	static const struct {
		const char *state, *text;
	} others[] = {
		{ "unknown", "not known yet" },
		{ "searching", "being looked for" },
		{ "smaller", "less than 1280: what is larger is cut up on its way" },
		{ "unanswered", "not known: the peer answers no probes" },
	};
	const char *state = str(t, "path_mtu_state");
	int64_t mtu = json_get_int(t, "path_mtu", 0);

	if (strcmp(state, "found") == 0)
		fact(stdout, s, "path MTU", "%lld%s", (long long)mtu,
		     mtu < json_get_int(t, "mtu", 0) ? ": senders of larger packets are told so" : "");
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		if (strcmp(state, others[i].state) == 0)
			fact(stdout, s, "path MTU", "%s", others[i].text);
}

static void outer_facts(const struct style *s, const json_t *t)
{
	if (*str(t, "ecn"))
		fact(stdout, s, "outer ECN", "%s",
		     strcmp(str(t, "ecn"), "copied") == 0 ? "copied" : "off: the peer is not known to obey it");
	if (*str(t, "dscp") && strcmp(str(t, "dscp"), "none") != 0)
		fact(stdout, s, "outer DSCP", "%s", str(t, "dscp"));
}

void tunnel_text(const struct ctl *c, const json_t *t)
{
	const struct style *s = &c->style;
	char line[600], age[48];

	printf("%s%s%s  %s%s%s\n", paint_begin(s, PAINT_BOLD), str(t, "name"),
	       paint_end(s, PAINT_BOLD), paint_begin(s, state_paint(t)), str(t, "state"),
	       paint_end(s, state_paint(t)));
	fact_if_told(s, t, "problem", "problem");
	fact_if_told(s, t, "what to do", "hint");
	fact_if_told(s, t, "rollback", "rollback");
	fact_if_told(s, t, "clone?", "clone");
	fact(stdout, s, "peer", "%s (we are the %s)", str(t, "peer"), str(t, "role"));
	fact_if_told(s, t, "its version", "peer_version");
	identity_facts(s, t);
	fact(stdout, s, "keys", "%s", str(t, "source"));
	print_generations(s, t);
	fact(stdout, s, "endpoint", "%s", *str(t, "endpoint") ? str(t, "endpoint") : "not known yet");
	fact_if_told(s, t, "listens on", "listen");
	list_fact(s, t, "tries", "candidates");
	if (*str(t, "interface_name"))
		fact(stdout, s, "device", "%s, MTU %lld", str(t, "interface_name"),
		     (long long)json_get_int(t, "mtu", 0));
	path_mtu_fact(s, t);
	outer_facts(s, t);
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
	age_format(age, sizeof(age), json_get_int(t, "last_handshake_ms", -1), "never");
	fact(stdout, s, "handshake", "%s (%lld so far, session %lld)", age,
	     (long long)json_get_int(t, "handshakes", 0), (long long)json_get_int(t, "session", 0));
	age_format(age, sizeof(age), json_get_int(t, "last_received_ms", -1), "never");
	fact(stdout, s, "last packet", "%s", age);
	if (*str(t, "aead_note"))
		fact(stdout, s, "sealed by", "%s (%s)", str(t, "aead"), str(t, "aead_note"));
	else
		fact(stdout, s, "sealed by", "%s", str(t, "aead"));
	print_offload(s, t);
	fact_if_told(s, t, "thread", "thread");
}
