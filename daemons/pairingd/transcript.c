/*
 * Hash chains. Every field is length-prefixed, so that no two transcripts
 * have the same input; role and sequence are inside, so that a message counts
 * only as who said it, and when.
 */
#include "pairingd/transcript.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "crypto/kdf.h"

static void put_label(struct wbuf *w, const char *label)
{
	wbuf_lv16(w, label, strlen(label));
}

void transcript_init(struct transcript *t, const uint8_t session_id[static PAIRING_SESSION_ID_LEN])
{
	memset(t, 0, sizeof(*t));
	memcpy(t->session_id, session_id, sizeof(t->session_id));
	for (unsigned int role = PAIRING_ALICE; role <= PAIRING_BOB; role++) {
		uint8_t buf[64];
		struct wbuf w;

		wbuf_init(&w, buf, sizeof(buf));
		put_label(&w, "handfast pairing chain");
		wbuf_u8(&w, PAIRING_PROTOCOL);
		wbuf_u8(&w, (uint8_t)role);
		wbuf_lv16(&w, t->session_id, sizeof(t->session_id));
		assert(wbuf_ok(&w));
		sha256(t->chain[role], buf, w.len);
	}
}

void transcript_add(struct transcript *t, enum pairing_role role, uint8_t kind, uint64_t seq,
		    const uint8_t *body, size_t len)
{
	uint8_t buf[128 + PAIRING_BODY_MAX];
	struct wbuf w;

	wbuf_init(&w, buf, sizeof(buf));
	put_label(&w, "handfast pairing message");
	wbuf_put(&w, t->chain[role], sizeof(t->chain[role]));
	wbuf_u8(&w, (uint8_t)role);
	wbuf_u8(&w, kind);
	wbuf_be64(&w, seq);
	wbuf_lv16(&w, body, len);
	assert(wbuf_ok(&w));
	sha256(t->chain[role], buf, w.len);
}

void transcript_join(struct transcript *t, const char *name, const void *extra, size_t extra_len)
{
	uint8_t buf[512];
	struct wbuf w;

	wbuf_init(&w, buf, sizeof(buf));
	put_label(&w, "handfast pairing join");
	put_label(&w, name);
	wbuf_put(&w, t->joined, sizeof(t->joined));
	wbuf_put(&w, t->chain[PAIRING_ALICE], sizeof(t->chain[PAIRING_ALICE]));
	wbuf_put(&w, t->chain[PAIRING_BOB], sizeof(t->chain[PAIRING_BOB]));
	wbuf_lv16(&w, extra, extra_len);
	assert(wbuf_ok(&w));
	sha256(t->joined, buf, w.len);
}
