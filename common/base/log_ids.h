/*
 * Every field name and message id of handfast's log, in one place. The ids
 * are MESSAGE_ID= values (128 bits, made once, never reused); conf/handfast.catalog
 * says of each what the operator can do.
 */
#pragma once

struct log_id {
	const char *event; /* HANDFAST_EVENT= */
	const char *id;	   /* MESSAGE_ID= */
};

#define FIELD_PEER "HANDFAST_PEER"
#define FIELD_TUNNEL "HANDFAST_TUNNEL"
#define FIELD_ERROR "HANDFAST_ERROR"
#define FIELD_STEP "HANDFAST_STEP"
#define FIELD_ADDRESS_TAG "HANDFAST_ADDRESS_TAG"
#define FIELD_COUNT "HANDFAST_COUNT"
#define FIELD_FILE "HANDFAST_FILE"
#define FIELD_CALLER "HANDFAST_CALLER"

#define DEFINE_LOG_ID(name, event_, id_) \
	static const struct log_id name __attribute__((unused)) = { event_, id_ }

DEFINE_LOG_ID(MSG_DAEMON_READY, "daemon-ready", "5d0f3c6a7be14f0f9a5d2c1e8b7a4401");
DEFINE_LOG_ID(MSG_DAEMON_STOPPING, "daemon-stopping", "5d0f3c6a7be14f0f9a5d2c1e8b7a4402");
DEFINE_LOG_ID(MSG_DAEMON_FAILED, "daemon-failed", "5d0f3c6a7be14f0f9a5d2c1e8b7a4403");
DEFINE_LOG_ID(MSG_DAEMON_RELOADED, "daemon-reloaded", "5d0f3c6a7be14f0f9a5d2c1e8b7a4404");
DEFINE_LOG_ID(MSG_RELOAD_REFUSED, "reload-refused", "5d0f3c6a7be14f0f9a5d2c1e8b7a4405");
DEFINE_LOG_ID(MSG_CONTROL_DENIED, "control-denied", "5d0f3c6a7be14f0f9a5d2c1e8b7a4406");
