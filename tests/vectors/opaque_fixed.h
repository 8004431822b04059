/* What our half chooses in tests/vectors/serenity.h, in place of random bytes: for the tool that made it and the test. */
#pragma once

#include "crypto/opaque.h"

#define FIXED_32(v) { v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v }

static const struct opaque_client_random fixed_client = {
	.blind = { 5 }, /* a scalar: little-endian */
	.envelope_nonce = FIXED_32(0x11),
	.client_nonce = FIXED_32(0x22),
	.keyshare_seed = FIXED_32(0x33),
};
static const struct opaque_server_random fixed_server = {
	.masking_nonce = FIXED_32(0x44),
	.server_nonce = FIXED_32(0x55),
	.keyshare_seed = FIXED_32(0x66),
};
static const struct opaque_ksf fixed_ksf = { .kind = OPAQUE_KSF_ARGON2ID, .mem_kib = 19 * 1024, .passes = 2 };
static const char fixed_password[] = "correct horse battery", fixed_user[] = "zoe", fixed_origin[] = "https://login.example.org";
static const struct opaque_ids fixed_ids = { fixed_user, sizeof(fixed_user) - 1, fixed_origin, sizeof(fixed_origin) - 1, NULL, 0 };
