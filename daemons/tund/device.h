/* Make and configure one TUN device as a request asks. */
#pragma once

#include "proto/tund_msg.h"

/*
 * Do what q asks. The reply is always filled. On success of TUND_CREATE *fd is
 * the device, which lives as long as it; else -1.
 */
void device_handle(const struct tund_request *q, struct tund_reply *reply, int *fd);
