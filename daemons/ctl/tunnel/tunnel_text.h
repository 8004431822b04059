/* How tunnels look on the screen. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "ctl/ctl.h"

struct json_t;

/* One line each. */
void tunnels_table(const struct ctl *c, const struct json_t *tunnels);
/* The same on fewer columns, with a bar of fuel: beside other things on one screen. */
void tunnels_summary(const struct ctl *c, const struct json_t *tunnels);
/* What is left of each one's key file, and how long that lasts. */
void tunnels_fuel_table(const struct ctl *c, const struct json_t *tunnels);
/* The same of one, with more. */
void tunnel_fuel_text(const struct ctl *c, const struct json_t *tunnel);
/* All about one. */
void tunnel_text(const struct ctl *c, const struct json_t *tunnel);

/* “3 min ago”, or never when ms is negative. */
void age_format(char *out, size_t cap, int64_t ms, const char *never);

/* As ctl_result(), but it fails when a key file of tunnels runs low: handfast(1), EXIT STATUS. */
int tunnel_fuel_result(struct ctl *c, struct json_t *result, const struct json_t *tunnels, ctl_text_fn text);
