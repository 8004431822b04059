/* io.handfast.Tunnel: what the command asks of the set of tunnels. */
#pragma once

#include "base/cleanup.h"

struct control;
struct loop;
struct service;
struct tunnels;

/* 0 or a negative errno. The interface serves until control_free(). */
int control_new(struct control **out, struct service *svc, struct tunnels *tunnels);
struct control *control_free(struct control *c);
DEFINE_CLEANUP(struct control *, control_free);
