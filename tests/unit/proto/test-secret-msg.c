/* What the command hands over, and what is no PIN and no secret. */
#include "proto/secret_msg.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "unit/lib/test.h"

/* Encode, decode. Returns what decoding does. */
static int offer(struct secret_msg *out, enum secret_class class, const char *value, size_t len)
{
	static uint8_t buf[SECRET_MSG_MAX + 1];
	struct secret_msg m = { .class = class, .value = (const uint8_t *)value, .value_len = len };
	ssize_t n;

	memset(m.ticket, 7, sizeof(m.ticket));
	n = secret_msg_encode(buf, sizeof(buf), &m);
	CHECK(n > 0);
	return secret_msg_decode(out, buf, (size_t)n);
}

TEST(a_pin_of_6_to_8_digits_comes_back)
{
	static const char *const pins[] = { "000000", "123456", "9999999", "01234567" };

	for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
		struct secret_msg m;

		CHECK_EQ(offer(&m, SECRET_PIN, pins[i], strlen(pins[i])), 0);
		CHECK_EQ(m.class, SECRET_PIN);
		CHECK_EQ(m.ticket[15], 7);
		CHECK_EQ(m.value_len, strlen(pins[i]));
		CHECK_MEM(m.value, pins[i], m.value_len);
	}
}

TEST(what_is_no_pin_is_a_bad_value_with_its_ticket)
{
	static const char *const pins[] = { "",	      "12345",	"123456789", "12345x", "x23456",
					    "123 56", "12345/", "12345:",    "-12345", "12345\xb2" };

	for (size_t i = 0; i < ARRAY_SIZE(pins); i++) {
		struct secret_msg m;

		CHECK_EQ(offer(&m, SECRET_PIN, pins[i], strlen(pins[i])), SECRET_MSG_E_BAD_VALUE);
		CHECK_EQ(m.ticket[0], 7);
	}
}

TEST(a_secret_has_16_to_1024_bytes_of_any_value)
{
	static const char value[SECRET_VALUE_MAX];
	struct secret_msg m;

	CHECK_EQ(offer(&m, SECRET_SEC, value, SECRET_VALUE_MIN_SEC - 1), SECRET_MSG_E_BAD_VALUE);
	CHECK_EQ(offer(&m, SECRET_SEC, value, SECRET_VALUE_MIN_SEC), 0);
	CHECK_EQ(offer(&m, SECRET_SEC, value, SECRET_VALUE_MAX), 0);
	CHECK_EQ(m.value_len, SECRET_VALUE_MAX);
}

TEST(what_is_no_message_is_refused)
{
	uint8_t buf[SECRET_MSG_MAX + 1] = { 0 };
	struct secret_msg m = { .class = SECRET_SEC };

	for (size_t len = 0; len <= SECRET_TICKET_LEN; len++)
		CHECK_EQ(secret_msg_decode(&m, buf, len), -EBADMSG);
	for (int class = 0; class < 256; class++) {
		buf[SECRET_TICKET_LEN] = (uint8_t)class;
		CHECK_EQ(secret_msg_decode(&m, buf, 40),
			 class == SECRET_PIN ? SECRET_MSG_E_BAD_VALUE :
			 class == SECRET_SEC ? 0 :
					       -EBADMSG);
	}
	buf[SECRET_TICKET_LEN] = SECRET_SEC;
	CHECK_EQ(secret_msg_decode(&m, buf, sizeof(buf)), SECRET_MSG_E_BAD_VALUE);
	m.value_len = SECRET_VALUE_MAX + 1;
	CHECK_EQ(secret_msg_encode(buf, sizeof(buf), &m), -EMSGSIZE);
	m.value_len = 6;
	m.value = buf;
	CHECK_EQ(secret_msg_encode(buf, SECRET_TICKET_LEN + 6, &m), -EMSGSIZE);
}
