/*
 * Every field name and message id of handfast's log, in one place. The ids
 * are MESSAGE_ID= values (128 bits, made once, never reused); conf/handfast.catalog
 * says of each what the operator can do. What strangers can bring about as often
 * as they like is a PROVOKED id: its limit is tighter, and shared with the others.
 */
#pragma once

#include <stdbool.h>

struct log_id {
	const char *event; /* HANDFAST_EVENT= */
	const char *id;	   /* MESSAGE_ID= */
	bool provoked;
};

#define FIELD_PEER "HANDFAST_PEER"
#define FIELD_TUNNEL "HANDFAST_TUNNEL"
#define FIELD_ERROR "HANDFAST_ERROR"
#define FIELD_STEP "HANDFAST_STEP"
#define FIELD_ADDRESS_TAG "HANDFAST_ADDRESS_TAG"
#define FIELD_COUNT "HANDFAST_COUNT"
#define FIELD_FILE "HANDFAST_FILE"
#define FIELD_CALLER "HANDFAST_CALLER"

#define FIELD_UNLOGGED "HANDFAST_UNLOGGED"

#define DEFINE_LOG_ID(name, event_, id_) \
	static const struct log_id name __attribute__((unused)) = { event_, id_, false }
#define DEFINE_PROVOKED_ID(name, event_, id_) \
	static const struct log_id name __attribute__((unused)) = { event_, id_, true }

DEFINE_LOG_ID(MSG_DAEMON_READY, "daemon-ready", "11a040cba732485297f7bdcf51ea6db9");
DEFINE_LOG_ID(MSG_DAEMON_STOPPING, "daemon-stopping", "de1f17f1d2234c5881bd12c35090e6f1");
DEFINE_LOG_ID(MSG_DAEMON_FAILED, "daemon-failed", "e3c30f1530ef4525ae65f249cb7d9ae2");
DEFINE_LOG_ID(MSG_DAEMON_RELOADED, "daemon-reloaded", "4eeb4b8bc19447179b9a649df7cc7716");
DEFINE_LOG_ID(MSG_RELOAD_REFUSED, "reload-refused", "ef2344e6c1c7464c942b0131511f1536");
DEFINE_PROVOKED_ID(MSG_CONTROL_DENIED, "control-denied", "9637555629434bc2bc160c2e228d1363");
DEFINE_LOG_ID(MSG_FD_REFUSED, "fd-refused", "a993509d2a31434dad11483e147a5af4");
DEFINE_LOG_ID(MSG_EVENTS_NOT_LOGGED, "events-not-logged", "8f4d9ea321a94a60aa923b07b2b6971e");

/* tunnels: pskd and tund */
#define FIELD_DEVICE "HANDFAST_DEVICE"

DEFINE_LOG_ID(MSG_TUND_DEVICE, "tund-device", "cc0cf64acf5143b59cd7c5ec7e9de72a");
DEFINE_PROVOKED_ID(MSG_TUND_REFUSED, "tund-refused", "acc8ff9509d94906a1f74b17d0c364c0");
DEFINE_LOG_ID(MSG_TUNNEL_STARTED, "tunnel-started", "b075a0b5117744a992d4d6bb2e02b937");
DEFINE_LOG_ID(MSG_TUNNEL_KEPT, "tunnel-kept", "77c9baba235b4bf6ab9e12d94f8f1d12");
DEFINE_LOG_ID(MSG_MACHINE_SLEPT, "machine-slept", "85e41da60da644ea9885398ebb40c72b");
DEFINE_LOG_ID(MSG_TUNNEL_DEVICE, "tunnel-device", "67fb8cdafbaa4c8fac9dd84bbd92fd16");
DEFINE_LOG_ID(MSG_TUNNEL_STOPPED, "tunnel-stopped", "6861911cb2424623a6f9b258ab17efd0");
DEFINE_LOG_ID(MSG_TUNNEL_NOT_KEPT_DOWN, "tunnel-not-kept-down", "3328d2e8b36244f0b89b8a2eed3a27f1");
DEFINE_LOG_ID(MSG_TUNNEL_UP, "tunnel-up", "b82db28b8a79430ca8c85d10c7d0b1ec");
DEFINE_LOG_ID(MSG_TUNNEL_SILENT, "tunnel-silent", "c169a088c79742bc87413346da8d9546");
DEFINE_LOG_ID(MSG_TUNNEL_FAILED, "tunnel-failed", "e415015935b4492591f8e7d264f16a7f");
DEFINE_PROVOKED_ID(MSG_TUNNEL_OTHER_KEY, "tunnel-other-key", "96277193b50f45e2b787390e89f9ba24");
DEFINE_PROVOKED_ID(MSG_TUNNEL_OWN_ROLE, "tunnel-own-role", "510d93fe09a4494fad958599281837f6");
DEFINE_PROVOKED_ID(MSG_TUNNEL_REFLECTED, "tunnel-reflected", "b4d42fd5e25240b38ca869997b246164");
DEFINE_LOG_ID(MSG_TUNNEL_DROPS, "tunnel-drops", "0aed6b363f864aca860e37c8966752b4");
DEFINE_LOG_ID(MSG_TUNNEL_MOVED, "tunnel-moved", "95c15e088f1548af99bde7e30777090e");
DEFINE_LOG_ID(MSG_TUNNEL_CLONE, "tunnel-clone-suspected", "89c35ef62b7c4cc7812c0710c52b3e2f");
DEFINE_LOG_ID(MSG_TUNNEL_MTU, "tunnel-mtu", "3e52c0f0f006460dbe2ec9bbacd02d54");
DEFINE_LOG_ID(MSG_TUNNEL_OFFLOAD, "tunnel-offload", "aaa5b669deb74ef7bfb6ff49715af616");
DEFINE_PROVOKED_ID(MSG_TUNNEL_WRONG_PEER, "tunnel-wrong-peer", "095744518b2e4327ac799233fdd36545");
DEFINE_LOG_ID(MSG_TUNNEL_REVOKED, "tunnel-revoked", "0c3ae7ab454b49bb961de3b38b0b3e05");
DEFINE_LOG_ID(MSG_TUNNEL_REVOCATION, "tunnel-revocation", "fdb9aaa836314eedbe6709ec3fbfa558");
DEFINE_LOG_ID(MSG_TUNNEL_CHANGED, "tunnel-changed", "35ab2482a3444e76996fb95129437fed");
DEFINE_LOG_ID(MSG_TUNNEL_OTHER_LABEL, "tunnel-other-label", "3936ef360bb241b2ba2dcdff5fe4873e");
DEFINE_LOG_ID(MSG_LABEL_RANDOM, "tunnel-label-random", "838901b039304f5586cd9c07d08d517a");
DEFINE_LOG_ID(MSG_TUNNEL_OWN_KEY, "tunnel-own-key", "fc04e68fdbbc41f09772106e08ae60f2");
DEFINE_LOG_ID(MSG_TUNNEL_PINNED, "tunnel-pinned", "5ccbbf81bdc14538878ae06b45deff6a");
DEFINE_LOG_ID(MSG_TUNNEL_ROLLBACK, "tunnel-rollback", "4f1379bd2cf84826b700ca15f755ff5b");
DEFINE_LOG_ID(MSG_TUNNEL_NEEDS_BURN, "tunnel-needs-burn", "dbad82314f834fd294eb0f559617e41f");
DEFINE_LOG_ID(MSG_TUNNEL_BURNED, "tunnel-burned", "fe9e4bf4ed894086ad37f8a66cf9a386");
DEFINE_LOG_ID(MSG_TUNNEL_EXHAUSTED, "tunnel-exhausted", "8ca60ad8cbc64f7d9cf7c79af0822db5");
DEFINE_LOG_ID(MSG_TUNNEL_FUEL, "tunnel-fuel", "19f9f8c3708147268e564b66d4294682");
DEFINE_LOG_ID(MSG_TUNNEL_RECOVERED, "tunnel-recovered", "ec72d8a907e4425daeefc12b5f46074b");
DEFINE_LOG_ID(MSG_TUNNEL_LEDGER_LOST, "tunnel-ledger-lost", "24e5913138d5517ae0559b2a45146612");
DEFINE_LOG_ID(MSG_TUNNEL_LEDGER, "tunnel-ledger-failed", "5bc12597faea4f0892a5f3f1a08b9c3a");
DEFINE_LOG_ID(MSG_TUNNEL_REMOVED, "tunnel-removed", "1938fba2210b4dc6b4eb6ba03440ea9b");
DEFINE_LOG_ID(MSG_TUNNEL_STAGED, "tunnel-staged", "72811d0e248649278be188e6e232ac56");
DEFINE_LOG_ID(MSG_TUNNEL_UNSTAGED, "tunnel-unstaged", "e58bb446e3834f83a91c7dee1d24ff7d");
DEFINE_LOG_ID(MSG_TUNNEL_STAGE_FAILED, "tunnel-stage-failed", "507c84830bdb4b3d9e9f3a047305f8a2");
DEFINE_LOG_ID(MSG_TUNNEL_SWITCHED, "tunnel-switched", "f3c6427d9fbd4c739b404efd2c8704fb");
DEFINE_LOG_ID(MSG_TUNNEL_RETIRED, "tunnel-retired", "3e59983c127e426b83801fe0c8307136");
DEFINE_LOG_ID(MSG_TUNNEL_BURIED, "tunnel-ledger-buried", "38ad6118fb6c4085b5372c8517175fe3");
DEFINE_LOG_ID(MSG_TUNNEL_LEFT, "tunnel-key-file-left", "f7c57e8671f3454fbcffb00292cbca20");
DEFINE_LOG_ID(MSG_TUNNEL_NOT_RETIRED, "tunnel-not-retired", "e8a731a2a0e5409fa938ab480f4cd1a7");
DEFINE_LOG_ID(MSG_ROOT_TAKEN, "root-taken", "8403bd3489264d78ae26c1ce588119c5");
DEFINE_LOG_ID(MSG_ROOT_FAILED, "root-failed", "f42cc64e6c05459c8e22bef4da5cea78");
DEFINE_LOG_ID(MSG_IDENTITY_LOST, "identity-lost", "7072b2b0a3af48c182b56f1625d65cef");
DEFINE_LOG_ID(MSG_AEAD_WRONG, "aead-wrong", "626902abad6645ae99e4fbaf25103922");

/* the relay */
DEFINE_PROVOKED_ID(MSG_RELAY_REFUSED, "relay-refused", "d18bca234b4c46e8b466eae06cba4b9b");
DEFINE_LOG_ID(MSG_RELAY_LAN_OPENED, "relay-lan-opened", "ed52f92431cb4ba880b007701f3c5f7b");
DEFINE_LOG_ID(MSG_RELAY_LAN_CLOSED, "relay-lan-closed", "97c5e44b3fd9402c8c9a40247654fd87");
DEFINE_LOG_ID(MSG_RELAY_SESSION_DROPPED, "relay-session-dropped", "9ad2ddbdabab4bfab7ccf3ef8fd90cac");
DEFINE_LOG_ID(MSG_RELAY_CERTIFICATE, "relay-certificate", "97b96c1b9db8473d97f52e23c001334f");

/* pairing */
DEFINE_LOG_ID(MSG_IDENTITY_MADE, "identity-made", "f2d1490c03ca43768f275bed99261187");
DEFINE_PROVOKED_ID(MSG_IDENTITY_DENIED, "identity-denied", "b6efce653ba14b9f9edf5fa80aa9b93d");
DEFINE_LOG_ID(MSG_PAIRED, "paired", "fc446d45e30f4391b4759e2c9d67054b");
DEFINE_LOG_ID(MSG_PAIRING_UNCONFIRMED, "pairing-unconfirmed", "e51e6d0249574f9aa13613e7e72fba85");
DEFINE_LOG_ID(MSG_PAIRING_CONFIRMED, "pairing-confirmed", "2eda75780a6245adba3cdb6bd6cc7f07");
DEFINE_LOG_ID(MSG_PAIRING_FAILED, "pairing-failed", "1d0a41561f33482592653e323e6574c2");
DEFINE_LOG_ID(MSG_PAIRING_CUT_OFF, "pairing-cut-off", "d3105e0325584446ad2aff22209a52fc");
DEFINE_LOG_ID(MSG_PAIRING_STORAGE, "pairing-storage-failed", "dc049ac6e230421cbe3a4377d2f145d0");
DEFINE_LOG_ID(MSG_ROOT_NOT_ERASED, "root-not-erased", "4e111512e63c4a4a8f19d7e6a4c4c6a8");
DEFINE_LOG_ID(MSG_PEER_FORGOTTEN, "peer-forgotten", "c2bf677b549745019156f4b4519dddc5");

/* logins */
#define FIELD_USER "HANDFAST_USER"
#define FIELD_ADDRESS "HANDFAST_ADDRESS"

DEFINE_LOG_ID(MSG_AUTH_REGISTERED, "auth-registered", "d587a93340d6f47cacb571d798c3dbbe");
DEFINE_LOG_ID(MSG_AUTH_PASSWORD, "auth-password", "72b195d5f4e0a3969b461df183d584d8");
DEFINE_LOG_ID(MSG_AUTH_RECOVERED, "auth-recovered", "c612d6424c5da9a3fcd1b13b994fd896");
DEFINE_LOG_ID(MSG_AUTH_LOGIN, "auth-login", "93b4a178b400b4f720b7ec3f3e9fa873");
DEFINE_PROVOKED_ID(MSG_AUTH_LOGIN_FAILED, "auth-login-failed", "cd71d226e9229572ff8ddccb6466d749");
DEFINE_LOG_ID(MSG_AUTH_LOGOUT, "auth-logout", "1175239933128ca1ff07ca120da82080");
DEFINE_PROVOKED_ID(MSG_AUTH_REPLAY, "auth-replay", "5094be7f263cebb04975b7486d25c5a4");
DEFINE_PROVOKED_ID(MSG_AUTH_BANNED, "auth-banned", "80d95440d6949dbad4bd8611092c2145");
DEFINE_LOG_ID(MSG_AUTH_INVITED, "auth-invited", "ff5694ca9443bbbdc765ae596e3e9ef2");
DEFINE_LOG_ID(MSG_AUTH_USER_CHANGED, "auth-user-changed", "e1d63d5bc31719b98e67aa12b32be181");
DEFINE_LOG_ID(MSG_AUTH_USER_DELETED, "auth-user-deleted", "ed2816efacf2426e300de7c6fc5ca32f");
DEFINE_LOG_ID(MSG_AUTH_SESSION_ENDED, "auth-session-ended", "4c0b07be3beb6c3154dab280aef6e42d");
DEFINE_LOG_ID(MSG_AUTH_KEYS, "auth-keys", "80bdd99ca9e1d86cb861c264e4e037ec");
DEFINE_LOG_ID(MSG_AUTH_CLOCK, "auth-clock", "9a93e121e5af6d34e61734a40c13aa29");
DEFINE_LOG_ID(MSG_AUTH_STORAGE, "auth-storage-failed", "b3dc23d36bd3947c5e05b736c0cc9d04");
DEFINE_LOG_ID(MSG_AUTH_ORIGIN, "auth-origin", "13aab72a2c883856e8ec24a3bbca530e");
DEFINE_LOG_ID(MSG_AUTH_CERTIFICATE, "auth-certificate", "02986b6000d68664f223aca6442a4625");
DEFINE_LOG_ID(MSG_AUTH_BAN_LIFTED, "auth-ban-lifted", "0934cdbc814099280ae0eefb999adb7f");

/* looking after state */
DEFINE_LOG_ID(MSG_STATE_EXPORTED, "state-exported", "ef76c07d2ee0eba17be2956da5818e93");
DEFINE_LOG_ID(MSG_STATE_SEALED, "state-sealed", "7c5efa522a88660cef73ff236e7e5777");
