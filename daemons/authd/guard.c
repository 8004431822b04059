/* The answer to a banned name says nothing of whether it is anybody's. */
#include "authd/guard.h"

#include <stddef.h>

#include "authd/bans.h"
#include "authd/http.h"
#include "authd/server.h"
#include "base/log.h"

static bool refuse(struct authd *a, struct http_request *req, unsigned int status, uint64_t ms)
{
	a->counted[COUNT_BANNED]++;
	reply_later(req, status, "banned", "too many attempts: try again later", ms);
	return false;
}

bool guard_address(struct authd *a, struct http_request *req, const struct address_key *address)
{
	uint64_t ms = bans_address(a->bans, address);

	return ms ? refuse(a, req, 429, ms) : true;
}

void guard_count(struct authd *a, const struct attempt *t, bool exists)
{
	char text[ADDRESS_TEXT_SPACE];
	bool user_began, address_began;

	bans_count(a->bans, t, &user_began, &address_began);
	address_key_format(text, &t->from);
	/* What is nobody's name may be somebody's password, typed into the wrong field. */
	if (user_began)
		log_event(LOG_WARNING, &MSG_AUTH_BANNED, LOG_FIELDS({ FIELD_USER, exists ? t->name : NULL }, { FIELD_ADDRESS, text }),
			  "too many attempts to log in as %s", exists ? t->name : "a user that does not exist");
	if (address_began)
		log_event(LOG_WARNING, &MSG_AUTH_BANNED, LOG_FIELDS({ FIELD_ADDRESS, text }), "too many attempts to log in from %s",
			  text);
}

bool guard_name(struct authd *a, struct http_request *req, const struct attempt *t)
{
	const struct attempt refused = { .from = t->from };
	uint64_t ms = bans_user(a->bans, t);

	if (!ms)
		return true;
	guard_count(a, &refused, false);
	return refuse(a, req, 429, ms);
}

bool guard_renewal(struct authd *a, struct http_request *req, const char *name)
{
	uint64_t ms = bans_renewals(a->bans, name);

	if (ms)
		return refuse(a, req, 429, ms);
	if (bans_count_renewal(a->bans, name))
		log_event(LOG_WARNING, &MSG_AUTH_BANNED, LOG_FIELDS({ FIELD_USER, name }),
			  "a session of %s registers anew too often", name);
	return true;
}

bool guard_proof(struct authd *a, struct http_request *req, unsigned int status)
{
	char text[ADDRESS_TEXT_SPACE];
	struct address_key address;
	uint64_t ms;

	request_address(req, &address);
	ms = bans_proofs(a->proof_bans, &address);
	if (ms)
		return refuse(a, req, status, ms);
	address_key_format(text, &address);
	if (bans_count_proof(a->proof_bans, &address))
		log_event(LOG_WARNING, &MSG_AUTH_BANNED, LOG_FIELDS({ FIELD_ADDRESS, text }),
			  "too many requests from %s that prove nothing", text);
	return true;
}
