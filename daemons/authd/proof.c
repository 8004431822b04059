/* The MAC comes before freshness: whoever does not have the key learns nothing of clocks and nonces, and fills no memory. */
#include "authd/proof.h"

#include <string.h>

#include "authd/bans.h"
#include "authd/config.h"
#include "authd/fresh.h"
#include "authd/guard.h"
#include "authd/http.h"
#include "authd/server.h"
#include "base/log.h"
#include "crypto/secret.h"
#include "proto/pop.h"

static bool refuse(struct authd *a, struct http_request *req, const char *code, const char *text)
{
	a->counted[COUNT_PROOFS_REFUSED]++;
	reply_unproven(a, req, code, text);
	return false;
}

/* The same of what no honest client sends often. A proxy that asks takes 429 for a failure of ours, and passes on 403. */
static bool refuse_counted(struct authd *a, struct http_request *req, bool forwarded, const char *code, const char *text)
{
	if (guard_proof(a, req, forwarded ? 403 : 429))
		return refuse(a, req, code, text);
	a->counted[COUNT_PROOFS_REFUSED]++;
	return false;
}

/* An attack, or a client that sends twice. */
static bool refuse_replay(struct authd *a, struct http_request *req, bool forwarded, const struct session *s)
{
	char address[ADDRESS_TEXT_SPACE];
	struct address_key key;

	request_address(req, &key);
	address_key_format(address, &key);
	a->counted[COUNT_REPLAYS]++;
	log_event(LOG_WARNING, &MSG_AUTH_REPLAY, LOG_FIELDS({ FIELD_USER, s->name }, { FIELD_ADDRESS, address }),
		  "refused a request of %s that came a second time", s->name);
	return refuse_counted(a, req, forwarded, "replayed", "this request was made before");
}

static bool read_fields(const struct http_request *req, struct pop_fields *f)
{
	return http_request_header_once(req, "Authorization", &f->authorization) &&
	       http_request_header_once(req, "X-TS", &f->ts) && http_request_header_once(req, "X-SNONCE", &f->snonce) &&
	       http_request_header_once(req, "X-NONCE", &f->nonce) &&
	       http_request_header_once(req, "Content-Digest", &f->content_digest) &&
	       http_request_header_once(req, "X-POP", &f->mac);
}

static bool check_fresh(struct authd *a, struct http_request *req, bool forwarded, const struct pop_proof *p, const struct session *s)
{
	int r = fresh_check(a->fresh, p, s->user, s->id);

	switch (r) {
	case 0:
		return true;
	case FRESH_E_NEEDS_SNONCE:
		return refuse(a, req, "server_nonce", "times are not taken now: use the nonce of X-SNONCE");
	case FRESH_E_TIME:
		return refuse(a, req, "time", "the request's time is too far from this clock's");
	case FRESH_E_SNONCE:
		return refuse(a, req, "server_nonce", "the server's nonce is too old, or none of its");
	case FRESH_E_REPLAY:
		return refuse_replay(a, req, forwarded, s);
	case FRESH_E_FULL:
		reply_later(req, 503, "busy", "too many requests are remembered now", a->cfg->pop_window_ms);
		return false;
	}
	reply_failure(a, req, r, "cannot remember a request");
	return false;
}

static bool check(struct authd *a, struct http_request *req, const struct pop_request *of, bool forwarded, struct session *s)
{
	struct pop_fields fields = { NULL };
	struct pop_proof proof;
	const void *body;
	size_t len;
	int r;

	if (!read_fields(req, &fields))
		return refuse_counted(a, req, forwarded, "bad_proof", "a header field of the proof came twice");
	r = pop_parse(&proof, &fields);
	/* Whoever claims nothing is asked to log in, as often as it takes. */
	if (r == POP_E_NO_SESSION && !fields.authorization)
		return refuse(a, req, "no_session", pop_outcome_text(r));
	if (r)
		return refuse_counted(a, req, forwarded, r == POP_E_NO_SESSION ? "no_session" : "bad_proof", pop_outcome_text(r));
	r = sessions_find(a->state, proof.session, proof.session_len, s);
	if (r == SESSIONS_E_NONE)
		return refuse_counted(a, req, forwarded, "no_session", "there is no such session, or it is over");
	if (r) {
		reply_failure(a, req, r, "cannot look up a session");
		return false;
	}
	body = http_request_body(req, &len);
	if (pop_check(&proof, of, s->key) || (!forwarded && pop_check_body(&proof, body, len)))
		return refuse_counted(a, req, forwarded, "wrong_proof", "the proof is not that of this request");
	return check_fresh(a, req, forwarded, &proof, s);
}

static bool prove_request(struct authd *a, struct http_request *req, const struct pop_request *of, bool forwarded,
			  struct session *out)
{
	_cleanup_(session_done) struct session s = { 0 };
	uint64_t begun = opstat_begin();
	bool good = check(a, req, of, forwarded, &s);

	opstat_end(&a->measured[OP_PROOF], begun, strlen(of->target), good);
	if (!good)
		return false;
	a->counted[COUNT_PROOFS_ACCEPTED]++;
	*out = s;
	s.key = NULL;
	return true;
}

bool prove(struct authd *a, struct http_request *req, struct session *out)
{
	char authority[POP_AUTHORITY_SPACE];
	struct pop_request of = { .method = http_request_method(req), .target = http_request_target(req) };
	const char *host = NULL;

	of.scheme = request_scheme(a, req);
	of.authority = authority;
	if (!of.scheme || !http_request_header_once(req, "Host", &host) || !host ||
	    pop_authority(authority, of.scheme, host))
		return refuse(a, req, "bad_proof", "the request does not say for whom it is");
	/* What was signed for a service behind a proxy is not for our own paths. */
	if (!authd_config_is_ours(a->cfg, of.scheme, authority)) {
		a->counted[COUNT_PROOFS_REFUSED]++;
		reply_error(req, 421, "misdirected", "this is no name of this service: see origin and names in authd.yaml");
		return false;
	}
	return prove_request(a, req, &of, false, out);
}

bool prove_forwarded(struct authd *a, struct http_request *req, const struct pop_request *of, struct session *out)
{
	return prove_request(a, req, of, true, out);
}
