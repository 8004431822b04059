/*
 * Figures of each tunnel, or of those beyond the limit together: their counts are
 * added up, and of what has no sum the one that is to be watched is told.
 */
#include "pskd/metrics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "pskd/operations.h"
#include "pskd/tunnel/tunnel_internal.h"
#include "pskd/tunnel/tunnels.h"
#include "service/metrics.h"

/* NAN: there is none. */
struct figures {
	const char *name;
	double enabled, up;
	double sent_packets, sent_bytes, received_packets, received_bytes;
	double drops[N_DROPS];
	double replays, handshakes;
	double silence_s, packets_left, fuel_percent;
	double ledger_writes, unfinished;
};

static void read_path(struct figures *f, const struct tunnel *t)
{
	const struct path_counters *c = path_counters(t->path);

	f->sent_packets = (double)c->tx_packets;
	f->sent_bytes = (double)c->tx_bytes;
	f->received_packets = (double)c->rx_packets;
	f->received_bytes = (double)c->rx_bytes;
	for (int i = 0; i < N_DROPS; i++)
		f->drops[i] = (double)c->drops.n[i];
	f->replays = (double)(c->drops.n[DROP_REPLAY] + c->drops.n[DROP_OLD]);
	if (c->received_ms)
		f->silence_s = (double)(clock_now_ms() - c->received_ms) / 1000;
}

static void read_keys(struct figures *f, const struct tunnel *t)
{
	struct keys_info k;

	keys_info(t->keys, &k);
	f->ledger_writes = (double)k.ledger_writes;
	/* Keys from a pairing have no end. */
	if (!k.slots_total)
		return;
	f->packets_left = (double)k.packets_left;
	f->fuel_percent = 100.0 * (double)k.packets_left / ((double)k.slots_total * SLOT_PACKETS);
}

static void read_tunnel(struct figures *f, const struct tunnel *t)
{
	*f = (struct figures){ .name = t->spec->name, .silence_s = NAN, .packets_left = NAN, .fuel_percent = NAN };
	f->enabled = t->spec->enabled;
	f->up = tunnel_is_up(t);
	f->handshakes = (double)t->handshakes;
	f->unfinished = (double)t->spec->n_retired;
	if (t->path)
		read_path(f, t);
	if (t->keys)
		read_keys(f, t);
}

static bool is_worse(double sum, double one, bool beyond)
{
	return !isnan(one) && (isnan(sum) || beyond);
}

static void add_up(struct figures *sum, const struct figures *f)
{
	sum->enabled += f->enabled;
	sum->up += f->up;
	sum->sent_packets += f->sent_packets;
	sum->sent_bytes += f->sent_bytes;
	sum->received_packets += f->received_packets;
	sum->received_bytes += f->received_bytes;
	for (int i = 0; i < N_DROPS; i++)
		sum->drops[i] += f->drops[i];
	sum->replays += f->replays;
	sum->handshakes += f->handshakes;
	if (is_worse(sum->silence_s, f->silence_s, f->silence_s > sum->silence_s))
		sum->silence_s = f->silence_s;
	if (is_worse(sum->packets_left, f->packets_left, f->packets_left < sum->packets_left))
		sum->packets_left = f->packets_left;
	if (is_worse(sum->fuel_percent, f->fuel_percent, f->fuel_percent < sum->fuel_percent))
		sum->fuel_percent = f->fuel_percent;
	sum->ledger_writes += f->ledger_writes;
	sum->unfinished += f->unfinished;
}

/* ---- what is told of each ---- */

static const struct told {
	enum metric_kind kind;
	const char *name, *help;
	size_t offset;
} told[] = {
#define TOLD(kind, name, member, help) { kind, "handfast_pskd_tunnel_" name, help, offsetof(struct figures, member) }
	TOLD(METRIC_GAUGE, "enabled", enabled, "1 when the tunnel is to be up."),
	TOLD(METRIC_GAUGE, "up", up, "1 while there is a session with the peer."),
	TOLD(METRIC_COUNTER, "sent_packets_total", sent_packets, "IP packets sent to the peer."),
	TOLD(METRIC_COUNTER, "sent_bytes_total", sent_bytes, "Bytes of those packets."),
	TOLD(METRIC_COUNTER, "received_packets_total", received_packets, "IP packets received and accepted."),
	TOLD(METRIC_COUNTER, "received_bytes_total", received_bytes, "Bytes of those packets."),
	TOLD(METRIC_COUNTER, "replays_total", replays, "Packets refused since they came before, or are too old to know."),
	TOLD(METRIC_COUNTER, "handshakes_total", handshakes, "Handshakes completed."),
	TOLD(METRIC_GAUGE, "last_received_seconds", silence_s,
	     "Seconds since the last authenticated packet; absent before the first."),
	TOLD(METRIC_GAUGE, "packets_left", packets_left, "Packets that can still be sent with the key file; absent for pairings."),
	TOLD(METRIC_GAUGE, "fuel_percent", fuel_percent, "The same in percent of the file; absent for pairings."),
	TOLD(METRIC_COUNTER, "ledger_writes_total", ledger_writes,
	     "Records written to the tunnel's ledger, each with one fdatasync."),
	TOLD(METRIC_GAUGE, "unfinished_key_files", unfinished,
	     "Earlier key files that are not finished yet, and not erased where they should be."),
#undef TOLD
};

static double member(const struct figures *f, size_t offset)
{
	double v;

	memcpy(&v, (const char *)f + offset, sizeof(v));
	return v;
}

static void tell(struct metrics *m, const struct figures *all, size_t n)
{
	for (size_t k = 0; k < sizeof(told) / sizeof(*told); k++)
		for (size_t i = 0; i < n; i++)
			metrics_add(m, told[k].kind, told[k].name, told[k].help, member(&all[i], told[k].offset),
				    METRIC_LABELS({ "tunnel", all[i].name }));
	for (size_t i = 0; i < n; i++)
		for (int d = 0; d < N_DROPS; d++)
			metrics_add(m, METRIC_COUNTER, "handfast_pskd_tunnel_dropped_packets_total",
				    "Packets dropped, by reason.", all[i].drops[d],
				    METRIC_LABELS({ "tunnel", all[i].name },
						  { "reason", drop_name((enum drop)d) }));
}

static int by_name(const void *a, const void *b)
{
	const struct figures *x = a, *y = b;

	return strcmp(x->name, y->name);
}

void pskd_metrics(struct metrics *m, void *arg)
{
	struct tunnels *set = arg;
	size_t n = tunnels_count(set), i = 0;
	struct figures *all = calloc(n + 1, sizeof(*all));
	double up = 0;

	if (!all) {
		log_debug("no memory for figures of %zu tunnels", n);
		return;
	}
	list_for_each (it, tunnels_list(set))
		if (i < n)
			read_tunnel(&all[i++], tunnel_of_node(it));
	n = i;
	for (i = 0; i < n; i++)
		up += all[i].up;
	pskd_operations_add(m);
	metrics_gauge(m, "handfast_pskd_tunnels", "Tunnels, up or not.", (double)n, METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_pskd_tunnels_up", "Tunnels with a session.", up, METRIC_NO_LABELS);
	/* By name, so that a tunnel keeps its label for as long as those before it stay. */
	qsort(all, n, sizeof(*all), by_name);
	if (n > METRICS_TUNNELS_MAX) {
		for (i = METRICS_TUNNELS_MAX + 1; i < n; i++)
			add_up(&all[METRICS_TUNNELS_MAX], &all[i]);
		all[METRICS_TUNNELS_MAX].name = METRICS_OTHERS;
		n = METRICS_TUNNELS_MAX + 1;
	}
	tell(m, all, n);
	free(all);
}
