/* credential.c: what systemd hands over, or does not. */
#include "service/credential.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "unit/lib/test.h"

static void put(const char *name, const char *text)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s", test_tmpdir(), name);
	CHECK_EQ(file_write_atomic(path, text, strlen(text), 0400), 0);
	setenv("CREDENTIALS_DIRECTORY", test_tmpdir(), 1);
	CHECK_EQ(crypto_init(), 0);
}

TEST(without_credentials_there_is_no_key_and_no_error)
{
	struct seal_key *k = (void *)1;
	char why[200] = "";

	unsetenv("CREDENTIALS_DIRECTORY");
	CHECK_EQ(credential_state_key(&k, "pskd", why, sizeof(why)), 0);
	CHECK(k == NULL);
	setenv("CREDENTIALS_DIRECTORY", test_tmpdir(), 1);
	CHECK_EQ(credential_state_key(&k, "pskd", why, sizeof(why)), 0);
	CHECK(k == NULL);
	setenv("CREDENTIALS_DIRECTORY", "/no/such/folder", 1);
	CHECK_EQ(credential_state_key(&k, "pskd", why, sizeof(why)), 0);
	CHECK(k == NULL);
}

TEST(each_daemon_has_a_key_of_its_own)
{
	struct seal_key *a = NULL, *b = NULL, *c = NULL;
	char why[200] = "";

	put(CREDENTIAL_STATE_KEY, "0123456789abcdef0123456789abcdef");
	CHECK_EQ(credential_state_key(&a, "pskd", why, sizeof(why)), 0);
	CHECK_EQ(credential_state_key(&b, "pairingd", why, sizeof(why)), 0);
	CHECK_EQ(credential_state_key(&c, "pskd", why, sizeof(why)), 0);
	CHECK(memcmp(seal_key_id(a), seal_key_id(b), SEAL_ID_LEN) != 0);
	CHECK_MEM(seal_key_id(a), seal_key_id(c), SEAL_ID_LEN);
	seal_key_free(a);
	seal_key_free(b);
	seal_key_free(c);
}

TEST(a_short_or_unreadable_one_is_named)
{
	struct seal_key *k = NULL;
	char why[200] = "", path[512];

	put(CREDENTIAL_STATE_KEY, "0123456789abcdef0123456789abcde");
	CHECK(credential_state_key(&k, "pskd", why, sizeof(why)) < 0);
	CHECK_STR(why, "the credential handfast.state-key has 31 bytes; it needs 32 to 4096");
	snprintf(path, sizeof(path), "%s/" CREDENTIAL_STATE_KEY, test_tmpdir());
	CHECK_EQ(remove(path), 0);
	CHECK_EQ(mkdir(path, 0700), 0);
	CHECK(credential_state_key(&k, "pskd", why, sizeof(why)) < 0);
	CHECK(strstr(why, "handfast.state-key") != NULL);
	CHECK(k == NULL);
}

TEST(names_of_credentials_lead_nowhere_else)
{
	setenv("CREDENTIALS_DIRECTORY", test_tmpdir(), 1);
	CHECK(credential_path("../etc/shadow") == NULL);
	CHECK(credential_path("a/b") == NULL);
	CHECK(credential_path(".") == NULL);
	CHECK(credential_path("") == NULL);
	free(credential_path("handfast.tls-key"));
}
