/* Make and configure one TUN device as a request asks. */
#pragma once

#include "proto/tund_msg.h"

/* Whether fd is the TUN device of this name, in this network: then whoever has it may have it configured. */
bool device_is(int fd, const char *name);

/*
 * Do what q asks. The reply is always filled. On success of TUND_CREATE *fd is
 * the device, which lives as long as it; else -1. TUND_CHECK changes nothing.
 */
void device_handle(const struct tund_request *q, struct tund_reply *reply, int *fd);
