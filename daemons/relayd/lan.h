/* Sessions opened on the local network: a listener of their own for one session, and it alone. */
#pragma once

#include "base/cleanup.h"

struct lan;
struct relay;
struct varlink_call;

int lan_new(struct lan **out, struct relay *r); /* 0 or -ENOMEM */
/* Answers the call: OpenLan of io.handfast.Relay. */
void lan_open(struct lan *lan, struct varlink_call *call);
/* Before the relay is freed. Open calls are answered with an error. */
struct lan *lan_free(struct lan *lan);
DEFINE_CLEANUP(struct lan *, lan_free);
