/* Requests that must prove that their sender has a session's key (proto/pop.h). */
#pragma once

#include <stdbool.h>

#include "authd/sessions.h"

struct authd;
struct http_request;
struct pop_request;

/* The request itself, body and all. True with a session, which the caller ends with session_done(); false: answered already. */
bool prove(struct authd *a, struct http_request *req, struct session *out);
/*
 * Another request, of which a proxy tells: its header fields came with this one, its body did not. The digest
 * is part of what is proven; whether it is that of the body is for whoever gets the body to check.
 */
bool prove_forwarded(struct authd *a, struct http_request *req, const struct pop_request *of, struct session *out);
