/* What handfast link answers: for programs, and from that for people. */
#pragma once

#include "ctl/link/link_answer.h"
#include "ctl/link/link_manager.h"
#include "ctl/link/link_profile.h"

struct ctl;
struct json_t;

/* A Link of handfast-json(7), a new reference. profile and answers may be NULL. */
struct json_t *link_json(const struct link_state *l, const struct link_found *found,
			 const struct link_profile *profile, const struct link_answers *answers);

/* For result: (link: Link) and (links: []Link). */
void link_one_text(const struct ctl *c, const struct json_t *link);
void link_table_text(const struct ctl *c, const struct json_t *result);
