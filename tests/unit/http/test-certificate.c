/* What is said of certificates and keys before a server takes them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "http/certificate.h"
#include "unit/lib/test.h"

#define DAY (24L * 3600)

static EVP_PKEY *make_key(const char *kind)
{
	EVP_PKEY *k = strcmp(kind, "rsa") == 0 ? EVP_RSA_gen(2048) :
		      strcmp(kind, "ed25519") == 0 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_EC_gen("P-256");

	CHECK(k);
	return k;
}

static char *text_of(BIO *out)
{
	char *data, *text;
	long len = BIO_get_mem_data(out, &data);

	text = strndup(data, (size_t)len);
	BIO_free(out);
	return text;
}

static char *key_pem(EVP_PKEY *k, const char *passphrase)
{
	BIO *out = BIO_new(BIO_s_mem());

	CHECK_EQ(PEM_write_bio_PrivateKey(out, k, passphrase ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL,
					  (void *)(uintptr_t)passphrase), 1);
	return text_of(out);
}

/* Self-signed, valid from now + from to now + to, in seconds. */
static char *cert_pem(EVP_PKEY *k, const char *kind, long from, long to)
{
	BIO *out = BIO_new(BIO_s_mem());
	X509 *c = X509_new();
	X509_NAME *name = X509_get_subject_name(c);

	X509_set_version(c, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(c), 1);
	X509_gmtime_adj(X509_getm_notBefore(c), from);
	X509_gmtime_adj(X509_getm_notAfter(c), to);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"relay", -1, -1, 0);
	X509_set_issuer_name(c, name);
	X509_set_pubkey(c, k);
	CHECK(X509_sign(c, k, strcmp(kind, "ed25519") == 0 ? NULL : EVP_sha256()) > 0);
	CHECK_EQ(PEM_write_bio_X509(out, c), 1);
	X509_free(c);
	return text_of(out);
}

static void check(const char *cert, const char *key, int outcome, const char *says)
{
	char text[200] = "";
	int r = certificate_check(cert, key, text, sizeof(text));

	if (r != outcome || !strstr(text, says))
		test_fail(__FILE__, __LINE__, "%d \"%s\", not %d \"%s\"", r, text, outcome, says);
}

TEST(certificates_with_their_keys_are_fine)
{
	static const char *const kinds[] = { "ec", "rsa", "ed25519" };

	for (size_t i = 0; i < 3; i++) {
		EVP_PKEY *k = make_key(kinds[i]);
		char *cert = cert_pem(k, kinds[i], -DAY, 90 * DAY), *key = key_pem(k, NULL), *chain, *chatty;

		check(cert, key, 0, "");
		CHECK(asprintf(&chain, "%s%s", cert, cert) > 0);
		check(chain, key, 0, "");
		CHECK(asprintf(&chatty, "subject=relay\n\n%s\nthe end\n", cert) > 0);
		check(chatty, key, 0, "");
		/* Both in one file, as some tools write them. */
		free(chain);
		CHECK(asprintf(&chain, "%s%s", key, cert) > 0);
		check(chain, chain, 0, "");
		free(chain);
		free(chatty);
		free(cert);
		free(key);
		EVP_PKEY_free(k);
	}
}

TEST(wrong_files_are_named)
{
	EVP_PKEY *k = make_key("ec"), *other = make_key("ec"), *rsa = make_key("rsa");
	char *cert = cert_pem(k, "ec", -DAY, 90 * DAY), *key = key_pem(k, NULL), *other_key = key_pem(other, NULL);
	char *rsa_key = key_pem(rsa, NULL), *locked = key_pem(k, "secret"), *both, *at;

	check("", key, CERTIFICATE_E_BAD, "no certificate");
	check("hello\n", key, CERTIFICATE_E_BAD, "no certificate");
	check(key, cert, CERTIFICATE_E_BAD, "no certificate");
	check(cert, "", CERTIFICATE_E_KEY, "no private key");
	check(cert, cert, CERTIFICATE_E_KEY, "no private key");
	check(cert, other_key, CERTIFICATE_E_KEY, "another certificate");
	check(cert, rsa_key, CERTIFICATE_E_KEY, "another certificate");
	check(cert, locked, CERTIFICATE_E_KEY, "passphrase");
	/* A chain whose second half did not arrive. */
	CHECK(asprintf(&both, "%s%.200s", cert, cert) > 0);
	check(both, key, CERTIFICATE_E_BAD, "damaged");
	free(both);
	at = strchr(cert, '\n') + 20;
	at[0] = at[0] == 'A' ? 'B' : 'A';
	at[1] = '*';
	check(cert, key, CERTIFICATE_E_BAD, "damaged");
	free(cert);
	free(key);
	free(other_key);
	free(rsa_key);
	free(locked);
	EVP_PKEY_free(k);
	EVP_PKEY_free(other);
	EVP_PKEY_free(rsa);
}

TEST(times_are_only_warned_of)
{
	EVP_PKEY *k = make_key("ec");
	char *key = key_pem(k, NULL);
	const struct {
		long from, to;
		int outcome;
		const char *says;
	} cases[] = {
		{ -10 * DAY, -DAY, CERTIFICATE_E_TIME, "was valid until" },
		{ DAY, 90 * DAY, CERTIFICATE_E_TIME, "not valid before" },
		{ -DAY, 2 * DAY, CERTIFICATE_E_TIME, "is valid until" },
		{ -DAY, 13 * DAY, CERTIFICATE_E_TIME, "is valid until" },
		{ -DAY, 15 * DAY, 0, "" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *cert = cert_pem(k, "ec", cases[i].from, cases[i].to);

		check(cert, key, cases[i].outcome, cases[i].says);
		free(cert);
	}
	free(key);
	EVP_PKEY_free(k);
}

TEST(authorities_are_certificates)
{
	EVP_PKEY *k = make_key("ec");
	char *cert = cert_pem(k, "ec", -10 * DAY, -DAY), *key = key_pem(k, NULL), text[200];

	/* Old ones lie in every bundle. */
	CHECK_EQ(certificate_check_authorities(cert, text, sizeof(text)), 0);
	CHECK_EQ(certificate_check_authorities(key, text, sizeof(text)), CERTIFICATE_E_BAD);
	CHECK_EQ(certificate_check_authorities("", text, sizeof(text)), CERTIFICATE_E_BAD);
	free(cert);
	free(key);
	EVP_PKEY_free(k);
}
