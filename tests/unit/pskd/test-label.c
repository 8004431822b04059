/* Labels: what they are made of, and the lists that name them. */
#include "pskd/handshake/label.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
#include "crypto/kdf.h"
#include "crypto/secret.h"
#include "crypto/sign.h"
#include "unit/lib/test.h"

static void write_file(char path[static 300], const char *name, const void *data, size_t len)
{
	snprintf(path, 300, "%s/%s", test_tmpdir(), name);
	CHECK_EQ(file_write_atomic(path, data, len, 0600), 0);
}

/* What of a file's bytes becomes the serial, "" for none. */
static const char *serial_of(const void *data, size_t len)
{
	static char text[LABEL_SERIAL_MAX + 1];
	char path[300], *v[] = { path, NULL };
	struct config_list sources = { v, 1 };
	const char *source = "unset";
	size_t n;

	write_file(path, "serial", data, len);
	n = label_serial((uint8_t *)text, &sources, &source);
	text[n] = '\0';
	CHECK_STR(source, n ? path : "unset");
	return text;
}

TEST(a_serial_is_what_a_file_says_without_what_is_around_it)
{
	static char big[5000];

	CHECK_STR(serial_of("10000000abcd1234\0", 17), "10000000abcd1234");
	CHECK_STR(serial_of(" \n4c4c4544-0042\n\n", 18), "4c4c4544-0042");
	CHECK_STR(serial_of("", 0), "");
	CHECK_STR(serial_of(" \0\n", 3), "");
	memset(big, 'a', sizeof(big));
	big[0] = 'b';
	CHECK_STR(serial_of(big, sizeof(big)), "");
	CHECK_STR(serial_of(big, LABEL_SERIAL_MAX + 1), "");
	CHECK_EQ(strlen(serial_of(big, LABEL_SERIAL_MAX)), LABEL_SERIAL_MAX);
}

TEST(what_vendors_write_into_every_board_is_no_serial)
{
	static const char *const bad[] = {
		"None", "Default string", "To Be Filled By O.E.M.\n", "to be filled by O.E.M.", "INVALID", "Not Specified",
		"N/A", "0", "123", "0000000000", "00000000-0000-0000-0000-000000000000",
		"ffffffff-ffff-ffff-ffff-ffffffffffff", "03000200-0400-0500-0006-000700080009", "System Serial Number",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		CHECK_STR(serial_of(bad[i], strlen(bad[i])), "");
	CHECK_STR(serial_of("None of them", 12), "None of them");
}

TEST(the_first_source_that_can_be_used_is_taken)
{
	char none[300], filler[300], good[300];
	char credential[] = "credential", slash[] = "/";
	char *v[] = { credential, none, slash, filler, good, NULL };
	struct config_list sources = { v, 5 };
	uint8_t serial[LABEL_SERIAL_MAX];
	const char *source = NULL;

	snprintf(none, sizeof(none), "%s/none", test_tmpdir());
	write_file(filler, "filler", "None\n", 5);
	write_file(good, "good", "SN-4711\n", 8);
	unsetenv("CREDENTIALS_DIRECTORY");
	CHECK_EQ(label_serial(serial, &sources, &source), 7);
	CHECK_STR(source, good);
	CHECK_MEM(serial, "SN-4711", 7);
	write_file(good, "handfast.serial", "from the credential", 19);
	CHECK_EQ(setenv("CREDENTIALS_DIRECTORY", test_tmpdir(), 1), 0);
	CHECK_EQ(label_serial(serial, &sources, &source), 19);
	CHECK_STR(source, "credential");
	sources.n = 0;
	CHECK_EQ(label_serial(serial, &sources, &source), 0);
	unsetenv("CREDENTIALS_DIRECTORY");
}

/* As the prototype's document derives it: sha256(b"psk-tunnel/v1" + salt + serial). */
TEST(a_label_is_the_documents_hash)
{
	uint8_t label[PSKH_IDENTITY_LEN], other[PSKH_IDENTITY_LEN], hash[SHA256_LEN];
	const char *text = "psk-tunnel/v1" "salt" "10000000abcd1234";

	label_make(label, "salt", 4, (const uint8_t *)"10000000abcd1234", 16);
	sha256(hash, text, strlen(text));
	CHECK_MEM(label, hash, sizeof(label));
	label_make(other, "tlas", 4, (const uint8_t *)"10000000abcd1234", 16);
	CHECK(memcmp(label, other, sizeof(label)) != 0);
}

#define HALF "00112233445566ff"
#define WHOLE "00112233445566778899aabbccddeeff"

TEST(a_list_has_labels_by_half_or_whole_and_keys_by_what_is_made_of_them)
{
	char whole[] = WHOLE, half[] = HALF, base64[] = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
	char *v[] = { whole, half, base64, NULL };
	struct config_list texts = { v, 3 };
	struct label_list list = { 0 };
	struct sign_public key;
	uint8_t id[PSKH_IDENTITY_LEN];

	CHECK_EQ(label_list_set(&list, &texts), 0);
	CHECK_EQ(hex_parse(id, sizeof(id), WHOLE), 0);
	CHECK(label_list_has(&list, id));
	id[15] ^= 1;
	CHECK(!label_list_has(&list, id));
	id[7] = 0xff;
	CHECK(label_list_has(&list, id));
	id[0] ^= 1;
	CHECK(!label_list_has(&list, id));
	memset(key.b, 2, sizeof(key.b));
	identity_id(id, &key);
	CHECK(label_list_has(&list, id));
	texts.n = 0;
	CHECK_EQ(label_list_set(&list, &texts), 0);
	CHECK(!label_list_has(&list, id));
	label_list_done(&list);
}

TEST(what_is_no_label_key_source_or_salt_is_refused)
{
	static const char *const bad[] = { "", "00", "00112233445566", "0011223344556677889", "zz112233445566ff", WHOLE "0" };
	char salt[LABEL_SALT_MAX + 2];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK(label_check(bad[i]) != NULL);
		CHECK(label_check_or_key(bad[i]) != NULL);
	}
	CHECK(!label_check(HALF) && !label_check(WHOLE) && !label_check_or_key(HALF));
	CHECK(label_check("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=") != NULL);
	CHECK(label_check_or_key("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=") == NULL);
	CHECK(label_check_or_key("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgJ=") != NULL);
	CHECK(label_check_or_key(WHOLE WHOLE) == NULL);
	CHECK(!label_check_source("product-uuid") && !label_check_source("/run/serial"));
	CHECK(label_check_source("serial") != NULL);
	memset(salt, 's', sizeof(salt));
	salt[LABEL_SALT_MAX + 1] = '\0';
	CHECK(label_check_salt(salt) != NULL && label_check_salt("") != NULL);
	salt[LABEL_SALT_MAX] = '\0';
	CHECK(label_check_salt(salt) == NULL);
}
