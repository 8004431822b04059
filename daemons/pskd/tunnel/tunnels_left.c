/* Of a tunnel that is gone, or is declared no more: earlier key files that were still to be erased. */
#include <jansson.h>

#include "base/log.h"
#include "pskd/tunnel/tunnels.h"

static bool is_left(const struct spec_retired *r)
{
	return r->erase != KEYS_ERASE_NONE;
}

json_t *tunnels_left(const struct spec *s)
{
	json_t *list = NULL;

	for (size_t i = 0; i < s->n_retired; i++) {
		if (!is_left(&s->retired[i]))
			continue;
		if (!list)
			list = json_array();
		json_array_append_new(list, json_string(s->retired[i].key_file));
	}
	return list;
}

void tunnels_tell_left(const struct spec *s, const char *why)
{
	for (size_t i = 0; i < s->n_retired; i++)
		if (is_left(&s->retired[i]))
			log_event(LOG_WARNING, &MSG_TUNNEL_LEFT,
				  LOG_FIELDS({ FIELD_TUNNEL, s->name }, { FIELD_PEER, s->peer_name[0] ? s->peer_name : NULL },
					     { FIELD_FILE, s->retired[i].key_file }),
				  "tunnel %s: %s was replaced by another key file and is not erased: %s", s->name,
				  s->retired[i].key_file, why);
}
