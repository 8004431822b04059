/* Sums by outcome: no name, key or address of a peer is ever a label. */
#include "pairingd/metrics.h"

#include <assert.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "pairingd/control.h"
#include "pairingd/operations.h"
#include "service/metrics.h"

static const char *const ends[] = {
	[END_PAIRED] = "Paired",
	[END_UNCONFIRMED] = "Unconfirmed",
	[END_WRONG_SECRET] = "WrongSecret",
	[END_SAS_MISMATCH] = "SasMismatch",
	[END_NO_COMMON_PROFILE] = "NoCommonProfile",
	[END_DOWNGRADE] = "Downgrade",
	[END_TAMPERED] = "Tampered",
	[END_EXPIRED] = "Expired",
	[END_CANCELLED] = "Cancelled",
	[END_OWN_DEVICE] = "OwnDevice",
	[END_STORAGE_FAILED] = "StorageFailed",
	[END_PEER_ABORTED] = "PeerAborted",
	[END_PEER_LEFT] = "PeerLeft",
	[END_NO_SUCH_SESSION] = "NoSuchSession",
	[END_RELAY_UNREACHABLE] = "RelayUnreachable",
	[END_RELAY_REFUSED] = "RelayRefused",
	[END_OTHER] = "Other",
};
static_assert(ARRAY_SIZE(ends) == N_ENDS, "a name for each");

static const char *const relay_failures[] = {
	[RELAY_CLIENT_E_UNREACHABLE] = "unreachable", [RELAY_CLIENT_E_REFUSED] = "refused",
	[RELAY_CLIENT_E_NO_SESSION] = "no_session",   [RELAY_CLIENT_E_TAMPERED] = "tampered",
	[RELAY_CLIENT_E_LOST] = "lost",
};

void pairing_count_failure(struct pairing_counters *n, const char *code)
{
	const char *dot = strrchr(code, '.');
	size_t i = END_WRONG_SECRET;

	while (i < END_OTHER && strcmp(ends[i], dot ? dot + 1 : code) != 0)
		i++;
	n->ended[i]++;
}

struct counts {
	unsigned int active, unconfirmed, newer, roots;
};

static void count_peer(const struct peer *peer, void *arg)
{
	struct counts *n = arg;

	n->active += peer->active;
	n->unconfirmed += !peer->active;
	n->newer += peer->newer_unconfirmed;
	n->roots += peer->has_root;
}

static void peers_in(struct metrics *m, const char *state, unsigned int n)
{
	metrics_gauge(m, "handfast_pairingd_peers",
		      "Paired devices by state of their pairing; newer_unconfirmed ones are active, too.", n,
		      METRIC_LABELS({ "state", state }));
}

void pairingd_metrics(struct metrics *m, void *arg)
{
	const struct control *c = arg;
	const struct pairing_counters *n = sessions_counters(c->sessions);
	struct counts peers = { 0 };

	metrics_count(m, "handfast_pairingd_pairings_started_total", "Pairings begun on this device.", n->started,
		      METRIC_NO_LABELS);
	for (size_t i = 0; i < N_ENDS; i++)
		metrics_count(m, "handfast_pairingd_pairings_total",
			      "Pairings that ended, by outcome: Paired, Unconfirmed, or the name of the error.",
			      n->ended[i], METRIC_LABELS({ "outcome", ends[i] }));
	metrics_gauge(m, "handfast_pairingd_pairing_running", "1 while a pairing goes on.",
		      sessions_phase(c->sessions) != NULL, METRIC_NO_LABELS);
	for (size_t i = RELAY_CLIENT_E_UNREACHABLE; i < ARRAY_SIZE(relay_failures); i++)
		metrics_count(m, "handfast_pairingd_relay_failures_total",
			      "Pairings that failed for the connection to the relay, by reason.",
			      n->relay_failed[i], METRIC_LABELS({ "reason", relay_failures[i] }));
	metrics_count(m, "handfast_pairingd_signatures_total",
		      "Signatures made with the device's identity for other daemons.",
		      identity_server_signatures(c->identity), METRIC_NO_LABELS);
	pairing_operations_add(m);
	if (peers_each(c->peers, count_peer, &peers)) {
		log_debug("cannot count the peers");
		return;
	}
	peers_in(m, "active", peers.active);
	peers_in(m, "unconfirmed", peers.unconfirmed);
	peers_in(m, "newer_unconfirmed", peers.newer);
	metrics_gauge(m, "handfast_pairingd_roots_waiting", "Roots that pskd has not taken yet.", peers.roots,
		      METRIC_NO_LABELS);
}
