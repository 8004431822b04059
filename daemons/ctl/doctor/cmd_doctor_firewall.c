/*
 * Whether a firewall may keep the peers' packets out. What can be seen are rules, not what they
 * amount to: these are hints, and a tunnel that hears its peer is believed more.
 */
#include "ctl/doctor/doctor.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"

enum { RULES_MAX = 1 << 20, HEARD_MS = 5 * 60 * 1000 };

/* "UDP port 7200", "[::]:7200": what the tunnel listens on is at the end; 0: not known. */
static unsigned int port_of(const json_t *t)
{
	const char *listen = json_get_str(t, "listen");
	size_t len = listen ? strlen(listen) : 0;

	while (len && listen[len - 1] >= '0' && listen[len - 1] <= '9')
		len--;
	return listen ? (unsigned int)strtoul(listen + len, NULL, 10) : 0;
}

/* ufw, by its configuration, which everybody may read. */
static bool ufw_is_on(void)
{
	char text[4096];

	return doctor_read("/etc/ufw/ufw.conf", text, sizeof(text)) && strstr(text, "\nENABLED=yes");
}

static bool firewalld_is_on(void)
{
	struct unit u = { .name = "firewalld.service" };

	return systemd_units(&u, 1) == 0 && strcmp(u.active, "active") == 0;
}

/* A line of nft's that drops whatever comes to it: with no condition before. */
static bool is_wall(const char *line)
{
	unsigned long long packets, bytes;
	int at = 0;

	line += strspn(line, " \t");
	if (sscanf(line, "counter packets %llu bytes %llu %n", &packets, &bytes, &at) == 2)
		line += at;
	return strncmp(line, "drop", 4) == 0 || strncmp(line, "reject", 6) == 0;
}

/* nft's own words: does a chain with a hook into input drop what no rule of it names? */
static bool chain_drops(const char *rules)
{
	for (const char *at = rules; (at = strstr(at, "hook input")); at++) {
		const char *end = strstr(at, "\n\t}");
		_cleanup_free_ char *chain = strndup(at, end ? (size_t)(end - at) : strlen(at));
		char *rest = NULL;

		if (chain && strstr(chain, "policy drop"))
			return true;
		for (char *line = chain ? strtok_r(chain, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest))
			if (is_wall(line))
				return true;
	}
	return false;
}

/* Lines of iptables-save. */
static bool table_drops(const char *rules)
{
	return strstr(rules, ":INPUT DROP") || strstr(rules, ":INPUT REJECT") ||
	       strstr(rules, "-A INPUT -j DROP") || strstr(rules, "-A INPUT -j REJECT");
}

/* What the rules say as root sees them, one listing after the other; false when none can be had. */
static bool read_rules(char *rules, bool *drops)
{
	static const struct source {
		char *const argv[5];
		bool (*drops)(const char *rules);
	} sources[] = {
		{ { (char *)"nft", (char *)"list", (char *)"ruleset", NULL }, chain_drops },
		{ { (char *)"iptables-legacy-save", NULL }, table_drops },
		{ { (char *)"iptables-save", NULL }, table_drops },
	};
	bool seen = false;
	size_t len = 0;

	*drops = false;
	for (size_t i = 0; i < ARRAY_SIZE(sources) && len + 2 < RULES_MAX; i++) {
		rules[len] = '\0';
		if (doctor_run(sources[i].argv, rules + len, RULES_MAX - len - 1, 2000) != 0) {
			rules[len] = '\0';
			continue;
		}
		seen = true;
		*drops = *drops || sources[i].drops(rules + len);
		len += strlen(rules + len);
		rules[len++] = '\n';
		rules[len] = '\0';
	}
	return seen;
}

/* ---- rules that name a port ---- */

/* "7234", "7000-8000" (iptables: "7000:8000"), and several between commas and braces: is port among them? */
static bool has_port(const char *list, const char *end, unsigned int port)
{
	while (list < end) {
		unsigned long from, to;
		char *next;

		if (*list < '0' || *list > '9') {
			list++;
			continue;
		}
		from = to = strtoul(list, &next, 10);
		if ((*next == '-' || *next == ':') && next[1] >= '0' && next[1] <= '9')
			to = strtoul(next + 1, &next, 10);
		if (port >= from && port <= to)
			return true;
		list = next;
	}
	return false;
}

/* The named set of nft's: "set NAME {" … "elements = { 22, 7234 }". */
static bool set_has_port(const char *rules, const char *name, size_t len, unsigned int port)
{
	char heading[128];
	const char *at, *end, *elements;

	if ((size_t)snprintf(heading, sizeof(heading), "set %.*s {", (int)len, name) >= sizeof(heading))
		return false;
	at = strstr(rules, heading);
	end = at ? strstr(at, "\n\t}") : NULL;
	elements = at ? strstr(at, "elements = {") : NULL;
	return end && elements && elements < end && has_port(elements, end, port);
}

/* The condition on the port in a line, and where it ends; NULL: none, or not this port. */
static const char *port_condition(const char *rules, const char *line, unsigned int port, const char **end)
{
	static const char *const words[] = { "udp dport ", "th dport ", "--dport ", "--dports " };
	const char *at = NULL;
	bool other;

	for (size_t i = 0; i < ARRAY_SIZE(words) && !at; i++) {
		at = strstr(line, words[i]);
		if (at)
			at += strlen(words[i]);
	}
	if (!at || (strstr(line, " --dport") && !strstr(line, "-p udp")) || strncmp(at, "vmap ", 5) == 0)
		return NULL;
	other = strncmp(at, "!= ", 3) == 0 || strstr(line, "! --dport");
	at += strncmp(at, "!= ", 3) == 0 ? 3 : 0;
	if (*at == '{') {
		*end = at + strcspn(at, "}");
		*end += **end == '}';
	} else {
		*end = at + strcspn(at, " ");
	}
	if ((*at == '@' ? set_has_port(rules, at + 1, (size_t)(*end - at) - 1, port) : has_port(at, *end, port)) == other)
		return NULL;
	return at;
}

enum ruling { SILENT, OPENS, CLOSES_SOME, CLOSES };

/* nft's and iptables' verdicts stand at the end, or before what iptables rejects with. */
static enum ruling ruling_of(const char *rules, const char *line, unsigned int port)
{
	static const char *const before[] = { "udp dport ", "meta l4proto udp udp dport ", "ip protocol udp udp dport ",
					      "meta l4proto udp th dport ", "ip6 nexthdr udp udp dport " };
	unsigned long long packets, bytes;
	const char *end;
	int n = 0;

	if (!port_condition(rules, line, port, &end))
		return SILENT;
	if (strstr(end, " accept") || strstr(end, "-j ACCEPT"))
		return OPENS;
	if (strstr(end, "-j DROP") || strstr(end, "-j REJECT")) {
		bool plain = strstr(line, " -s ") == NULL && strstr(line, " -i ") == NULL && strstr(line, " -m limit") == NULL;

		return plain ? CLOSES : CLOSES_SOME;
	}
	if (!strstr(end, " drop") && !strstr(end, " reject"))
		return SILENT;
	if (sscanf(end, " counter packets %llu bytes %llu%n", &packets, &bytes, &n) == 2)
		end += n;
	for (size_t i = 0; i < ARRAY_SIZE(before); i++)
		if (strncmp(line, before[i], strlen(before[i])) == 0 &&
		    (strncmp(end, " drop", 5) == 0 || strncmp(end, " reject", 7) == 0))
			return CLOSES;
	return CLOSES_SOME;
}

/* What a line says of where it is: true when a chain begins with it; *in: whether what comes in may get there. */
static bool begins_chain(const char *line, char *chain, size_t cap, bool *in)
{
	static const char *const elsewhere[] = { "hook output", "hook forward", "hook postrouting", "hook egress" };
	size_t len;

	if (strncmp(line, "chain ", 6) == 0) {
		snprintf(chain, cap, "%.*s", (int)strcspn(line, "{"), line);
		*in = true;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(elsewhere); i++)
		if (strncmp(line, "type ", 5) == 0 && strstr(line, elsewhere[i]))
			*in = false;
	len = strncmp(line, "-A ", 3) == 0 ? 3 + strcspn(line + 3, " ") : 0;
	if (!len || (strncmp(line, chain, len) == 0 && chain[len] == '\0'))
		return false;
	snprintf(chain, cap, "%.*s", (int)len, line);
	*in = strcmp(chain, "-A OUTPUT") != 0 && strcmp(chain, "-A FORWARD") != 0 && strcmp(chain, "-A POSTROUTING") != 0;
	return true;
}

/*
 * What all rules say of a port: in each chain the first that names it counts, and a chain that closes
 * it more than one that opens it. closing: the rule that does.
 */
static enum ruling ruling(const char *rules, unsigned int port, char *closing, size_t cap)
{
	enum ruling all = SILENT, here = SILENT;
	char line[512], chain[512] = "";
	bool in = true, wall = false;

	for (const char *at = rules; *at; at += strcspn(at, "\n"), at += *at == '\n') {
		const char *text = at + strspn(at, " \t");
		enum ruling one;

		snprintf(line, sizeof(line), "%.*s", (int)strcspn(text, "\n"), text);
		if (begins_chain(line, chain, sizeof(chain), &in)) {
			all = here > all ? here : all;
			here = SILENT;
			wall = false;
		}
		wall = wall || is_wall(line);
		if (!in || wall || here == OPENS || here == CLOSES)
			continue;
		one = ruling_of(rules, line, port);
		if (one >= CLOSES_SOME && all < CLOSES)
			snprintf(closing, cap, "%s", line);
		if (one != SILENT)
			here = one;
	}
	return here > all ? here : all;
}

/* The peer's packets come in. */
static bool is_heard(const json_t *t)
{
	int64_t last = json_get_int(t, "last_received_ms", -1);

	return last >= 0 && last < HEARD_MS;
}

/* ---- what is told ---- */

enum wall { UFW, FIREWALLD, RULES };
static const char *const walls[] = { "ufw", "firewalld", "a firewall" };

/* In the words of whatever keeps the rules. */
static const char *how_to_open(enum wall wall, unsigned int port)
{
	switch (wall) {
	case UFW:
		return doctor_text("“sudo ufw allow %u/udp”.", port);
	case FIREWALLD:
		return doctor_text("“sudo firewall-cmd --permanent --add-port=%u/udp && sudo firewall-cmd --reload”.", port);
	default:
		return doctor_text("“sudo nft insert rule inet filter input udp dport %u accept” (with your table's and chain's names), and the same where your rules are kept.",
				   port);
	}
}

/* Of one tunnel; walled: what no rule names is kept out. */
static void tell_port(struct doctor *d, const json_t *t, enum wall wall, bool walled, const char *rules)
{
	const char *name = json_get_str(t, "name");
	unsigned int port = port_of(t);
	char closing[512] = "";
	enum ruling r = rules && port ? ruling(rules, port, closing, sizeof(closing)) : SILENT;

	if (!json_is_true(json_object_get(t, "enabled")) || !name)
		return;
	if (is_heard(t) || (walled && r == OPENS))
		doctor_tell(d, DOCTOR_OK, name, NULL, walled ? "%s is on, and lets it through" : "its peer's packets come in",
			    walls[wall]);
	else if (r >= CLOSES_SOME)
		doctor_tell(d, DOCTOR_WARNING, name, how_to_open(wall, port),
			    "a rule keeps %s of UDP port %u out, where it listens: “%s”", r == CLOSES ? "all" : "some", port,
			    closing);
	else if (port && walled)
		doctor_tell(d, DOCTOR_WARNING, name, how_to_open(wall, port),
			    "%s is on and no rule names UDP port %u, where it listens: a peer that begins may not come through",
			    walls[wall], port);
}

static void tell_ports(struct doctor *d, enum wall wall, bool walled, const char *rules)
{
	const json_t *t;
	size_t i;

	if (walled && json_array_size(d->tunnels) == 0)
		doctor_tell(d, DOCTOR_OK, "", NULL, "%s is on, and there is no tunnel whose port it must let in", walls[wall]);
	json_array_foreach(d->tunnels, i, t)
		tell_port(d, t, wall, walled, rules);
}

void doctor_firewall(struct doctor *d)
{
	char *rules = calloc(1, RULES_MAX);
	bool drops = false, seen = d->root && rules && read_rules(rules, &drops);
	size_t before = json_array_size(d->findings);

	if (ufw_is_on()) {
		tell_ports(d, UFW, true, seen ? rules : NULL);
	} else if (firewalld_is_on()) {
		tell_ports(d, FIREWALLD, true, seen ? rules : NULL);
	} else if (seen) {
		tell_ports(d, RULES, drops, rules);
		if (json_array_size(d->findings) == before)
			doctor_tell(d, DOCTOR_NOTE, "", NULL, "no rule was found that keeps packets of a tunnel out");
	} else {
		doctor_tell(d, DOCTOR_NOTE, "", NULL, d->root ? "neither nft nor iptables is here to show rules" : "only root can see the rules; neither ufw nor firewalld is on");
	}
	free(rules);
}
