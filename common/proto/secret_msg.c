/* Ticket, class, value: what the command hands over and what pairingd may accept. */
#include "proto/secret_msg.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/bytes.h"

enum { PIN_MIN = 6, PIN_MAX = 8 };

ssize_t secret_msg_encode(uint8_t *out, size_t cap, const struct secret_msg *m)
{
	struct wbuf w;

	if (m->value_len > SECRET_VALUE_MAX)
		return -EMSGSIZE;
	wbuf_init(&w, out, cap);
	wbuf_put(&w, m->ticket, sizeof(m->ticket));
	wbuf_u8(&w, (uint8_t)m->class);
	wbuf_put(&w, m->value, m->value_len);
	return wbuf_ok(&w) ? (ssize_t)w.len : -EMSGSIZE;
}

/* Every digit is looked at, whatever the first ones are. */
static bool is_pin(const uint8_t *value, size_t len)
{
	unsigned int bad = 0;

	if (len < PIN_MIN || len > PIN_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		bad |= (unsigned int)(value[i] - '0') / 10;
	return bad == 0;
}

int secret_msg_decode(struct secret_msg *out, const uint8_t *in, size_t len)
{
	struct secret_msg m = { 0 };
	struct rbuf r;
	uint8_t class;

	rbuf_init(&r, in, len);
	rbuf_get(&r, m.ticket, sizeof(m.ticket));
	class = rbuf_u8(&r);
	if (!rbuf_ok(&r) || (class != SECRET_PIN && class != SECRET_SEC))
		return -EBADMSG;
	m.class = class;
	m.value_len = r.left;
	m.value = rbuf_view(&r, r.left);
	*out = m;

	if (m.class == SECRET_PIN)
		return is_pin(m.value, m.value_len) ? 0 : SECRET_MSG_E_BAD_VALUE;
	return m.value_len >= SECRET_VALUE_MIN_SEC && m.value_len <= SECRET_VALUE_MAX ?
		       0 :
		       SECRET_MSG_E_BAD_VALUE;
}
