/* io.handfast.Auth. */
#pragma once

struct authd;
struct service;

/* Answer io.handfast.Auth. 0 or a negative errno. */
int control_start(struct service *svc, struct authd *a);
