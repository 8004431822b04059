/* Key files and sidecars of any content: opened, hashed and read without a step outside. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crypto/keyfile_io.h"
#include "crypto/secret.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t sum[KEYFILE_HASH_LEN], again[KEYFILE_HASH_LEN], table[KEYFILE_HASH_LEN];
	uint8_t slot[KEYFILE_SLOT_LEN];
	char path[64], detail[64];
	const char *name;
	size_t name_len;
	uint64_t file_size;
	int mem, fd, r;

	if (crypto_init())
		abort();
	if (keyfile_sidecar_parse((const char *)data, size, sum, &name, &name_len) == 0) {
		assert(name_len > 0);
		assert(name >= (const char *)data && name + name_len <= (const char *)data + size);
	}
	if (size > KEYFILE_CHUNK_LEN)
		return 0;

	mem = memfd_create("fuzz", 0);
	if (mem < 0 || write(mem, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", mem);
	fd = keyfile_open(path, false, &file_size, &r, detail, sizeof(detail));
	if (fd >= 0) {
		assert(file_size == size && size % KEYFILE_SLOT_LEN == 0 && size > 0);
		r = keyfile_hash(fd, file_size, NULL, NULL, sum, table);
		assert(r == 0 || r == KEYFILE_E_BAD_FILE);
		if (r == 0) {
			r = keyfile_read_chunk(fd, file_size, 0, 0, data[0] % (size / KEYFILE_SLOT_LEN), 1,
					       slot, again);
			assert(r == 0 && memcmp(again, table, sizeof(again)) == 0);
		}
		close(fd);
	} else {
		assert(r == KEYFILE_E_BAD_FILE);
	}
	close(mem);
	return 0;
}
