/*
 * Ledger records: what is taken encodes to the same bytes again, and two
 * of them are judged without surprise. A checksum that no mutation would ever hit
 * is put right here: each half of the input is the beginning of a block.
 */
#include <assert.h>
#include <string.h>

#include "crypto/kdf.h"
#include "fuzz/lib/quick_sum.h"

#define sha256 quick_sum
#include "../../../daemons/pskd/keys/ledger_record.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(uint8_t block[static LEDGER_BLOCK_LEN], const uint8_t *data, size_t size)
{
	memset(block, 0, LEDGER_BLOCK_LEN);
	memcpy(block, data, size < SUM_AT ? size : SUM_AT);
	sha256(block + SUM_AT, block, SUM_AT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t blocks[LEDGER_LEN], again[LEDGER_BLOCK_LEN];
	static struct ledger_state s;
	struct ledger_record r;

	(void)ledger_judge(&s, data, size);
	fill(blocks, data, size / 2);
	fill(blocks + LEDGER_BLOCK_LEN, data + size / 2, size - size / 2);
	for (size_t i = 0; i < LEDGER_LEN; i += LEDGER_BLOCK_LEN) {
		if (ledger_decode(&r, blocks + i))
			continue;
		ledger_encode(again, &r);
		assert(memcmp(again, blocks + i, sizeof(again)) == 0);
	}
	if (ledger_judge(&s, blocks, LEDGER_LEN) == 0) {
		assert(s.newest.tx_next <= s.newest.tx_reserved);
		assert(!s.other_ok || s.other.generation + 1 == s.newest.generation);
		assert(!s.other_ok || s.other.slots_total == s.newest.slots_total);
	}
	return 0;
}
