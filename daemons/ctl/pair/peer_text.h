/* How one paired device looks on the screen; pair and peer show it alike. */
#pragma once

struct ctl;
struct json_t;

void peer_text(const struct ctl *c, const struct json_t *peer);
