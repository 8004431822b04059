/*
 * A libIPSec_MB.so.1 that is not as it should be, for LD_LIBRARY_PATH. It seals as libsodium
 * does, but for what WRONG says:
 *
 *	length     the tag of packets of 1337 bytes has a bit turned over
 *	long       packets longer than 60000 bytes stay as they are
 *	forgiving  opening gives whatever tag stands behind the packet
 *	beyond     a byte behind the tag is written
 *	old        an earlier version
 *	unsafe     built without clearing what it leaves behind
 *	plain      for processors without AVX2
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <intel-ipsec-mb.h>
#include <sodium.h>

static IMB_JOB job;

static bool wrong(const char *what)
{
	const char *w = getenv("WRONG");

	return w && !strcmp(w, what);
}

static IMB_JOB *next_job(struct IMB_MGR *m)
{
	(void)m;
	return &job;
}

static IMB_JOB *submit(struct IMB_MGR *m)
{
	const uint8_t *aad = job.u.CHACHA20_POLY1305.aad;
	size_t len = job.msg_len_to_cipher_in_bytes, aad_len = job.u.CHACHA20_POLY1305.aad_len_in_bytes;
	bool opens = job.cipher_direction == IMB_DIR_DECRYPT;
	uint8_t *text = job.dst, *again = malloc(len + 1);
	const uint8_t *key = job.enc_keys;

	(void)m;
	job.status = IMB_STATUS_COMPLETED;
	if (!again)
		abort();
	/* The tag is that of the ciphertext, whichever way it goes. */
	if (opens) {
		if (wrong("forgiving"))
			memcpy(job.auth_tag_output, text + len, 16);
		crypto_stream_chacha20_ietf_xor_ic(again, text, len, job.iv, 1, key);
		if (!wrong("forgiving"))
			crypto_aead_chacha20poly1305_ietf_encrypt_detached(text, job.auth_tag_output, NULL, again, len, aad, aad_len,
									   NULL, job.iv, key);
		memcpy(text, again, len);
	} else if (!wrong("long") || len <= 60000) {
		crypto_aead_chacha20poly1305_ietf_encrypt_detached(text, job.auth_tag_output, NULL, text, len, aad, aad_len, NULL,
								   job.iv, key);
		if (wrong("length") && len == 1337)
			job.auth_tag_output[3] ^= 0x10;
		if (wrong("beyond") && len == 1500)
			job.auth_tag_output[16] ^= 1;
	}
	free(again);
	return &job;
}

#define EXPORT __attribute__((visibility("default")))

EXPORT unsigned int imb_get_version(void)
{
	return wrong("old") ? IMB_VERSION(1, 0, 0) : IMB_VERSION_NUM;
}

EXPORT const char *imb_get_version_str(void)
{
	return "0.wrong";
}

EXPORT size_t imb_get_mb_mgr_size(void)
{
	return sizeof(IMB_MGR);
}

EXPORT IMB_MGR *imb_set_pointers_mb_mgr(void *p, const uint64_t flags, const unsigned reset)
{
	IMB_MGR *m = p;

	(void)flags;
	(void)reset;
	memset(m, 0, sizeof(*m));
	m->used_arch = wrong("plain") ? IMB_ARCH_SSE : IMB_ARCH_AVX2;
	m->features = wrong("unsafe") ? 0 : IMB_FEATURE_SAFE_DATA;
	m->get_next_job = next_job;
	m->submit_job_nocheck = submit;
	return m;
}

EXPORT void init_mb_mgr_auto(IMB_MGR *m, IMB_ARCH *arch)
{
	*arch = (IMB_ARCH)m->used_arch;
}
