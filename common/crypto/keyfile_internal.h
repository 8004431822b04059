/* What making and reading key files share: keyfile_make.c and keyfile_io.c. */
#pragma once

#include "crypto/keyfile_io.h"

enum {
	KEYFILE_BUF_SLOTS = 546, /* 65,520 bytes */
	KEYFILE_BUF_LEN = KEYFILE_BUF_SLOTS * KEYFILE_SLOT_LEN,
};

#define KEYFILE_SIDECAR_SUFFIX ".sha256"
