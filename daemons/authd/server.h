/* authd's HTTP service: which path is whose, and what every answer has in common. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/opstat.h"

struct authd;
struct authd_config;
struct bans;
struct fresh;
struct http_request;
struct http_server;
struct json_t;
struct keys;
struct listening;
struct loop;
struct service;
struct service_fds;
struct state;
struct tickets;
struct replay;

/* What is counted beside operations: bounded, and the same for known and unknown users. */
enum counted {
	COUNT_REQUESTS,
	COUNT_REGISTERED,
	COUNT_LOGINS,
	COUNT_LOGINS_FAILED,
	COUNT_PROOFS_ACCEPTED,
	COUNT_PROOFS_REFUSED,
	COUNT_REPLAYS,
	COUNT_BANNED, /* requests that a ban refused */
	COUNT_ORIGINS_REFUSED,
	COUNT_BAD_REQUESTS,
	COUNT_FAILURES, /* ours: storage, memory */
	N_COUNTED,
};

/* Cryptographic operations, for /api/metrics. */
enum measured { OP_REGISTER_START, OP_REGISTER_FINISH, OP_LOGIN_START, OP_LOGIN_FINISH, OP_PROOF, N_MEASURED };

/* The one owner of all that serves. */
struct authd {
	struct loop *loop;
	const struct authd_config *cfg;
	struct state *state;
	struct keys *keys;
	struct bans *bans;
	struct bans *proof_bans; /* apart: what fills it must not make the other forget */
	struct tickets *tickets;
	struct replay *started; /* registrations that were started */
	struct fresh *fresh;
	struct http_server *http;
	struct listening *listening;
	struct service *service; /* borrowed; has the metrics of all parts */
	uint64_t counted[N_COUNTED];
	struct opstat measured[N_MEASURED];
	const char *why_not; /* fresh_why_not() when it was last told */
	int storage_error;   /* negative errno: what the last failure of ours was; 0: it has passed */
};

/* cfg, state and keys are borrowed. 0 or a negative errno (-EKEYREJECTED: certificate and key). */
int authd_new(struct authd **out, struct loop *l, const struct authd_config *cfg, struct state *state, struct keys *keys);
struct authd *authd_free(struct authd *a);
DEFINE_CLEANUP(struct authd *, authd_free);
int authd_listen(struct authd *a, struct service_fds *fds, const char **failed);
/* Another configuration; cannot fail. */
void authd_set_config(struct authd *a, const struct authd_config *cfg);
int authd_set_certificate(struct authd *a, const struct authd_config *cfg);
/* Whether what failed last still does: 0, or its negative errno. Tries to write where something had failed, else nothing. */
int authd_storage(struct authd *a);
/* Answer what has begun, and no more. */
void authd_stop(struct authd *a);
bool authd_is_stopped(const struct authd *a);

const char *authd_count_name(enum counted what);
const char *authd_measure_name(enum measured what);
