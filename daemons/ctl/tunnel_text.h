/* How tunnels look on the screen. */
#pragma once

struct ctl;
struct json_t;

/* One line each. */
void tunnels_table(const struct ctl *c, const struct json_t *tunnels);
/* The same on fewer columns, with a bar of fuel: beside other things on one screen. */
void tunnels_summary(const struct ctl *c, const struct json_t *tunnels);
/* All about one. */
void tunnel_text(const struct ctl *c, const struct json_t *tunnel);
