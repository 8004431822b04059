/* io.handfast.Auth. */
#pragma once

struct service;
struct authd_config;

/* Answer io.handfast.Auth from the configuration that *cfg points to at the time. 0 or a negative errno. */
int control_start(struct service *svc, struct authd_config **cfg);
