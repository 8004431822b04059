/* The protected examples below /api/. */
#include "authd/routes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "authd/config.h"
#include "authd/http.h"
#include "authd/metrics.h"
#include "authd/proof.h"
#include "authd/server.h"
#include "authd/state.h"
#include "authd/transfers.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

enum { PAGE = 50 };

void route_whoami(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };

	if (prove(a, req, &s))
		reply_json(req, 200, json_pack("{s:s}", "user", s.name));
}

void route_transfer(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };
	_cleanup_json_ json_t *body = NULL;
	const char *to = NULL, *note = NULL;
	char receiver[USERNAME_SPACE];
	size_t to_len = 0;
	const struct member members[] = {
		{ .name = "to", .max = 1024, .text = &to, .len = &to_len },
		{ .name = "note", .max = NOTE_MAX, .text = &note },
	};
	int64_t id;
	int r;

	/* First the proof: whoever has none is told nothing of his body. */
	if (!prove(a, req, &s) || !read_body(a, req, members, ARRAY_SIZE(members), &body) ||
	    !read_name(a, req, receiver, to, to_len))
		return;
	r = transfers_add(a->state, s.user, s.name, receiver, note, a->cfg->transfers_per_user, &id);
	if (r)
		reply_failure(a, req, r, "cannot store a note");
	else
		reply_json(req, 201, json_pack("{s:I}", "id", (json_int_t)id));
}

static json_t *describe(const struct transfer *t)
{
	return json_pack("{s:I, s:s, s:s, s:s, s:I}", "id", (json_int_t)t->id, "from", t->from, "to", t->to, "note", t->note, "at",
			 (json_int_t)t->at);
}

/* "?after=ID" or nothing. */
static bool read_after(const char *target, int64_t *after)
{
	const char *query = strchr(target, '?');
	uint64_t v = 0;

	if (query && (strncmp(query, "?after=", 7) != 0 || text_parse_u64(&v, query + 7, 0, INT64_MAX)))
		return false;
	*after = (int64_t)v;
	return true;
}

static void reply_transfers(struct authd *a, struct http_request *req, const struct session *s, int64_t after)
{
	_cleanup_free_ struct transfer *page = calloc(PAGE + 1, sizeof(*page));
	json_t *all = json_array();
	int n = page && all ? transfers_list(a->state, s->user, after, page, PAGE + 1) : -ENOMEM;

	if (n < 0) {
		json_decref(all);
		reply_failure(a, req, n, "cannot list notes");
		return;
	}
	for (int i = 0; i < n && i < PAGE; i++)
		json_array_append_new(all, describe(&page[i]));
	reply_json(req, 200, json_pack("{s:o, s:b}", "transfers", all, "more", n > PAGE));
}

void route_transfers(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };
	int64_t after;

	if (!prove(a, req, &s))
		return;
	if (read_after(http_request_target(req), &after))
		reply_transfers(a, req, &s, after);
	else
		reply_error(req, 400, "bad_query", "the query is after=ID, or nothing");
}

void route_api_metrics(struct authd *a, struct http_request *req)
{
	_cleanup_(session_done) struct session s = { 0 };

	if (prove(a, req, &s))
		reply_json(req, 200, authd_operations(a));
}
