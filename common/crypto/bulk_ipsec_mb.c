/*
 * intel-ipsec-mb, loaded when it is there: handfast works without it, and only
 * some amd64 processors gain. Everything it exports is looked up by name; what
 * lies in its structs is as the header of the same soname says, and bulk.c
 * proves the whole before use.
 *
 * A manager is one thread's, made when the thread seals its first packet. The
 * library works on pointers to key and nonce, and does a packet of this cipher
 * at once: of a packet nothing stays in the manager but where its parts lay.
 * What it computes on the way it clears, or it is not taken (SAFE_DATA). There
 * is no key schedule to keep, and a burst of jobs takes as long as the jobs
 * alone: measured, 548 ns a packet of 1420 bytes against 556.
 */
#include "crypto/bulk_internal.h"

#include <stdio.h>

#include "base/bytes.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <intel-ipsec-mb.h>
#include <sodium.h>

#include "crypto/secret.h"

enum { MANAGER_ALIGN = 64 };

static const char need_install[] =
	"Install libipsec-mb1 (Debian) or intel-ipsec-mb (Fedora), and restart pskd: this processor may then seal faster.";

/* The functions by the types that the header gives them. */
static struct {
	bool loaded;
	__typeof__(&imb_get_version) get_version;
	__typeof__(&imb_get_version_str) get_version_str;
	__typeof__(&imb_get_mb_mgr_size) get_mb_mgr_size;
	__typeof__(&imb_set_pointers_mb_mgr) set_pointers_mb_mgr;
	__typeof__(&init_mb_mgr_auto) init_auto;
	pthread_key_t at_thread_end;
} lib;

static _Thread_local IMB_MGR *manager;

static void manager_free(void *p)
{
	wipe(p, lib.get_mb_mgr_size());
	free(p);
}

/*
 * The library tests all of its ciphers when a manager begins, and 3 MB of its 12 are in memory then. Those
 * that are code come back from the file when they are needed.
 */
static int let_code_go(struct dl_phdr_info *object, size_t size, void *base)
{
	uintptr_t page = (uintptr_t)getpagesize();

	(void)size;
	for (size_t i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &object->dlpi_phdr[i];
		uintptr_t from = (object->dlpi_addr + p->p_vaddr) & ~(page - 1);

		if ((void *)object->dlpi_addr == base && p->p_type == PT_LOAD && !(p->p_flags & PF_W))
			(void)madvise((void *)from, object->dlpi_addr + p->p_vaddr + p->p_memsz - from, MADV_DONTNEED);
	}
	return (void *)object->dlpi_addr == base;
}

/* This thread's, or NULL without memory or without what the library needs. */
static IMB_MGR *manager_new(void)
{
	size_t size = (lib.get_mb_mgr_size() + MANAGER_ALIGN - 1) / MANAGER_ALIGN * MANAGER_ALIGN;
	void *p = aligned_alloc(MANAGER_ALIGN, size);
	IMB_ARCH arch;
	Dl_info where;
	IMB_MGR *m;

	m = p ? lib.set_pointers_mb_mgr(p, 0, 1) : NULL;
	if (!m || pthread_setspecific(lib.at_thread_end, p) != 0) {
		free(p);
		return NULL;
	}
	lib.init_auto(m, &arch);
	if (dladdr((const void *)lib.init_auto, &where))
		dl_iterate_phdr(let_code_go, where.dli_fbase);
	manager = m;
	return m;
}

/* False when the work was not done at all. */
static bool run(IMB_CIPHER_DIRECTION direction, uint8_t *header, size_t len, const uint8_t *nonce,
		const uint8_t *key, uint8_t *tag)
{
	IMB_MGR *m = manager ? manager : manager_new();
	IMB_JOB *j;

	if (!m)
		return false;
	j = m->get_next_job(m);
	j->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
	j->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
	j->cipher_direction = direction;
	j->chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
	j->enc_keys = j->dec_keys = key;
	j->key_len_in_bytes = AEAD_KEY_LEN;
	j->src = j->dst = header + BULK_HEADER_LEN;
	j->cipher_start_src_offset_in_bytes = j->hash_start_src_offset_in_bytes = 0;
	j->msg_len_to_cipher_in_bytes = j->msg_len_to_hash_in_bytes = len;
	j->iv = nonce;
	j->iv_len_in_bytes = AEAD_NONCE_LEN;
	j->u.CHACHA20_POLY1305.aad = header;
	j->u.CHACHA20_POLY1305.aad_len_in_bytes = BULK_HEADER_LEN;
	j->auth_tag_output = tag;
	j->auth_tag_output_len_in_bytes = AEAD_TAG_LEN;
	j = m->submit_job_nocheck(m);
	/* It keeps no job of this cipher waiting. */
	assert(j && j->status == IMB_STATUS_COMPLETED);
	return true;
}

static void ipsec_mb_seal(uint8_t *header, size_t len, const uint8_t *nonce, const uint8_t *key)
{
	if (!run(IMB_DIR_ENCRYPT, header, len, nonce, key, header + BULK_HEADER_LEN + len))
		bulk_sodium.seal(header, len, nonce, key);
}

/*
 * The library decrypts in the same call that makes the tag. A wrong tag is
 * rare, and a cipher that is an XOR is undone by applying it again; so that
 * what was never verified does not leave this function.
 */
static int ipsec_mb_open(uint8_t *header, size_t len, const uint8_t *nonce, const uint8_t *key)
{
	uint8_t *packet = header + BULK_HEADER_LEN;
	uint8_t tag[AEAD_TAG_LEN];

	if (!run(IMB_DIR_DECRYPT, header, len, nonce, key, tag))
		return bulk_sodium.open(header, len, nonce, key);
	if (bytes_equal(tag, packet + len, sizeof(tag)))
		return 0;
	crypto_stream_chacha20_ietf_xor_ic(packet, packet, len, nonce, 1, key);
	wipe(tag, sizeof(tag));
	return -EBADMSG;
}

static const struct bulk_way ipsec_mb = { "ipsec-mb", ipsec_mb_seal, ipsec_mb_open };

/* POSIX lets a function be found so; ISO C knows no such conversion. */
static bool find(void *handle, const char *name, void *function)
{
	void *p = dlsym(handle, name);

	memcpy(function, &p, sizeof(p));
	return p;
}

/* NULL, or why not. */
static const char *load_library(const char *soname)
{
	/* Kept until the process ends. */
	void *handle = dlopen(soname, RTLD_NOW | RTLD_LOCAL);

	if (!handle)
		return "is not installed";
	if (!find(handle, "imb_get_version", &lib.get_version) ||
	    !find(handle, "imb_get_version_str", &lib.get_version_str) ||
	    !find(handle, "imb_get_mb_mgr_size", &lib.get_mb_mgr_size) ||
	    !find(handle, "imb_set_pointers_mb_mgr", &lib.set_pointers_mb_mgr) ||
	    !find(handle, "init_mb_mgr_auto", &lib.init_auto))
		return "lacks functions";
	if (lib.get_version() < IMB_VERSION_NUM)
		return "is older than " IMB_VERSION_STR;
	if (lib.get_mb_mgr_size() < sizeof(IMB_MGR))
		return "is not as its header says";
	if (pthread_key_create(&lib.at_thread_end, manager_free) != 0)
		return "cannot be used: too many thread keys";
	lib.loaded = true;
	return NULL;
}

/* NULL, or why a manager of this machine will not do. */
static const char *check_manager(const char **arch)
{
	static const char *const archs[] = { [IMB_ARCH_AVX2] = "AVX2", [IMB_ARCH_AVX512] = "AVX512" };
	const IMB_MGR *m = manager ? manager : manager_new();

	if (!m)
		return "got no memory";
	if (m->used_arch >= ARRAY_SIZE(archs) || !archs[m->used_arch])
		return "has nothing for this processor";
	if (!(m->features & IMB_FEATURE_SAFE_DATA))
		return "was built without clearing what it leaves behind";
	*arch = archs[m->used_arch];
	return NULL;
}

int bulk_ipsec_mb_load(const struct bulk_way **out, char *note, size_t cap, const char **hint)
{
	/* "libIPSec_MB.so.1" of version "1.3.0". */
	static const char version[] = IMB_VERSION_STR;
	const char *why, *arch = "";
	char soname[64];

	*hint = NULL;
	if (!__builtin_cpu_supports("avx2")) {
		snprintf(note, cap, "this processor has no AVX2");
		return BULK_E_UNAVAILABLE;
	}
	snprintf(soname, sizeof(soname), "libIPSec_MB.so.%.*s", (int)strcspn(version, "."), version);
	why = lib.loaded ? NULL : load_library(soname);
	if (why)
		*hint = need_install;
	else
		why = check_manager(&arch);
	if (why) {
		snprintf(note, cap, "%s %s", soname, why);
		return BULK_E_UNAVAILABLE;
	}
	snprintf(note, cap, "%s, %s", lib.get_version_str(), arch);
	*out = &ipsec_mb;
	return 0;
}

#else

int bulk_ipsec_mb_load(const struct bulk_way **out, char *note, size_t cap, const char **hint)
{
	(void)out;
	*hint = NULL;
	snprintf(note, cap, "this handfast was built without ipsec-mb");
	return BULK_E_UNAVAILABLE;
}

#endif
