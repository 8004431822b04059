/* Sums alone: no code, address or session is ever a label. */
#include "relayd/metrics.h"

#include "http/http_server.h"
#include "relayd/config.h"
#include "relayd/server.h"
#include "relayd/session.h"
#include "service/metrics.h"

static void refused(struct metrics *m, const char *reason, uint64_t n)
{
	metrics_count(m, "handfast_relayd_refused_total", "Requests, connections and messages refused, by reason.",
		      n, METRIC_LABELS({ "reason", reason }));
}

void relayd_metrics(struct metrics *m, void *arg)
{
	struct relay *r = arg;
	const struct relay_counters *n = relay_counters(r);
	const struct relayd_config *c = relay_config(r);
	struct http_counters http;

	relay_http_counters(r, &http);
	metrics_gauge(m, "handfast_relayd_sessions", "Open sessions.", (double)sessions_count(relay_sessions(r)),
		      METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_relayd_sessions_max", "Open sessions that the configuration allows.",
		      (double)c->sessions, METRIC_NO_LABELS);
	metrics_count(m, "handfast_relayd_sessions_created_total", "Sessions made.", n->sessions_created,
		      METRIC_NO_LABELS);
	metrics_count(m, "handfast_relayd_sessions_expired_total", "Sessions whose time was up.",
		      n->sessions_expired, METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_relayd_connections", "Open connections, of HTTP and of WebSocket.",
		      (double)relay_connections(r), METRIC_NO_LABELS);
	metrics_count(m, "handfast_relayd_connections_total", "Connections accepted.", http.connections,
		      METRIC_NO_LABELS);
	metrics_count(m, "handfast_relayd_messages_total", "Messages forwarded, or kept for a peer to come.",
		      n->messages, METRIC_NO_LABELS);
	metrics_count(m, "handfast_relayd_bytes_total", "Bytes of those messages.", n->bytes, METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_relayd_memory_bytes", "Memory held for connections and sessions.",
		      (double)relay_memory(r), METRIC_NO_LABELS);
	metrics_gauge(m, "handfast_relayd_memory_max_bytes", "Such memory that the configuration allows.",
		      (double)c->memory, METRIC_NO_LABELS);
	refused(m, "connections", http.refused_limit);
	refused(m, "requests", http.refused_bad);
	refused(m, "timeouts", http.timeouts);
	for (enum refusal i = 0; i < N_REFUSALS; i++)
		refused(m, relay_refusal_name(i), n->refused[i]);
}
