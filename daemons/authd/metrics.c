/* Sums alone, and the time that operations took. */
#include "authd/metrics.h"

#include "authd/bans.h"
#include "authd/fresh.h"
#include "authd/keys.h"
#include "authd/server.h"
#include "authd/sessions.h"
#include "authd/state.h"
#include "authd/users.h"
#include "http/http_server.h"
#include "service/metrics.h"
#include "service/operations.h"

enum { N_OPERATIONS = N_MEASURED + 2 };

static void operations(const struct authd *a, struct operation out[static N_OPERATIONS])
{
	for (enum measured i = 0; i < N_MEASURED; i++)
		out[i] = (struct operation){ authd_measure_name(i), &a->measured[i] };
	out[N_MEASURED] = (struct operation){ "state_seal", state_sealing(a->state) };
	out[N_MEASURED + 1] = (struct operation){ "state_open", state_opening(a->state) };
}

struct json_t *authd_operations(struct authd *a)
{
	struct operation ops[N_OPERATIONS];

	operations(a, ops);
	return operations_json(ops, N_OPERATIONS);
}

static void gauge(struct metrics *m, const char *name, const char *help, double v)
{
	metrics_gauge(m, name, help, v, METRIC_NO_LABELS);
}

void authd_metrics(struct metrics *m, void *arg)
{
	struct authd *a = arg;
	struct operation ops[N_OPERATIONS];
	struct http_counters http;
	int64_t n;

	if (users_count(a->state, &n) == 0)
		gauge(m, "handfast_authd_users", "Users who are registered.", (double)n);
	if (sessions_count(a->state, &n) == 0)
		gauge(m, "handfast_authd_sessions", "Sessions that are not over.", (double)n);
	gauge(m, "handfast_authd_generations", "Generations of server keys that are in use.", (double)keys_count(a->keys));
	gauge(m, "handfast_authd_remembered_requests", "Requests whose nonce is remembered, to refuse it a second time.",
	      (double)fresh_remembered(a->fresh));
	gauge(m, "handfast_authd_times_taken", "Whether requests with a time are taken, or with the server's nonce alone.",
	      fresh_why_not(a->fresh) ? 0 : 1);
	metrics_gauge(m, "handfast_authd_bans", "Bans in force.", (double)bans_in_force(a->bans, BAN_USER),
		      METRIC_LABELS({ "kind", "user" }));
	metrics_gauge(m, "handfast_authd_bans", "Bans in force.", (double)bans_in_force(a->bans, BAN_ADDRESS),
		      METRIC_LABELS({ "kind", "address" }));
	metrics_gauge(m, "handfast_authd_bans", "Bans in force.", (double)bans_in_force(a->bans, BAN_RENEWALS),
		      METRIC_LABELS({ "kind", "renewals" }));
	metrics_gauge(m, "handfast_authd_bans", "Bans in force.", (double)bans_in_force(a->proof_bans, BAN_PROOFS),
		      METRIC_LABELS({ "kind", "proofs" }));
	gauge(m, "handfast_authd_storage_failing", "Whether what failed last to be stored still could not be.", authd_storage(a) ? 1 : 0);
	http_server_counters(a->http, &http);
	gauge(m, "handfast_authd_connections", "Open HTTP connections.", (double)http.open);
	metrics_count(m, "handfast_authd_connections_total", "HTTP connections accepted.", http.connections, METRIC_NO_LABELS);
	for (enum counted i = 0; i < N_COUNTED; i++)
		metrics_count(m, "handfast_authd_events_total", "What happened, by what it was.", a->counted[i],
			      METRIC_LABELS({ "event", authd_count_name(i) }));
	metrics_count(m, "handfast_authd_events_total", "What happened, by what it was.", http.refused_limit,
		      METRIC_LABELS({ "event", "connections_refused" }));
	metrics_count(m, "handfast_authd_events_total", "What happened, by what it was.", http.refused_bad,
		      METRIC_LABELS({ "event", "heads_refused" }));
	metrics_count(m, "handfast_authd_events_total", "What happened, by what it was.", http.timeouts,
		      METRIC_LABELS({ "event", "timeouts" }));
	operations(a, ops);
	operations_add(m, "authd", ops, N_OPERATIONS);
}
