/* RFC 6040 section 4 as a table of sixteen cells. */
#include "pskd/packet/ecn.h"

#include "base/bytes.h"

#define DROP 4

uint8_t ecn_get(const uint8_t *packet, size_t len)
{
	if (len >= 20 && packet[0] >> 4 == 4)
		return packet[1];
	if (len >= 40 && packet[0] >> 4 == 6)
		return (uint8_t)(packet[0] << 4 | packet[1] >> 4);
	return 0;
}

uint8_t ecn_encapsulate(uint8_t inner, uint8_t dscp, bool peer_obeys)
{
	uint8_t outer = dscp == ECN_DSCP_COPY ? inner & (uint8_t)~ECN_MASK : (uint8_t)(dscp << 2);

	return peer_obeys ? outer | (inner & ECN_MASK) : outer;
}

static void set(uint8_t *packet, uint8_t value)
{
	uint16_t before, after;
	uint32_t sum;

	if (packet[0] >> 4 == 6) {
		packet[1] = (uint8_t)((packet[1] & 0x0f) | value << 4);
		packet[0] = (uint8_t)(0x60 | value >> 4);
		return;
	}
	before = be16_load(packet);
	packet[1] = value;
	after = be16_load(packet);
	/* RFC 1624 equation 3. */
	sum = (uint16_t)~be16_load(packet + 10) + (uint32_t)(uint16_t)~before + after;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	be16_store(packet + 10, (uint16_t)~sum);
}

int ecn_decapsulate(uint8_t *packet, size_t len, uint8_t outer)
{
	/* RFC 6040 figure 4: [inner][outer]. */
	static const uint8_t table[4][4] = {
		[ECN_NOT_ECT] = { [ECN_NOT_ECT] = ECN_NOT_ECT, [ECN_ECT0] = ECN_NOT_ECT, [ECN_ECT1] = ECN_NOT_ECT,
				  [ECN_CE] = DROP },
		[ECN_ECT0] = { [ECN_NOT_ECT] = ECN_ECT0, [ECN_ECT0] = ECN_ECT0, [ECN_ECT1] = ECN_ECT1,
			       [ECN_CE] = ECN_CE },
		[ECN_ECT1] = { [ECN_NOT_ECT] = ECN_ECT1, [ECN_ECT0] = ECN_ECT1, [ECN_ECT1] = ECN_ECT1,
			       [ECN_CE] = ECN_CE },
		[ECN_CE] = { [ECN_NOT_ECT] = ECN_CE, [ECN_ECT0] = ECN_CE, [ECN_ECT1] = ECN_CE, [ECN_CE] = ECN_CE },
	};
	uint8_t inner = ecn_get(packet, len), out = table[inner & ECN_MASK][outer & ECN_MASK];

	/* What is no IP packet has no mark to carry. */
	if (out == DROP)
		return ECN_E_DROP;
	if (out != (inner & ECN_MASK))
		set(packet, (uint8_t)((inner & ~ECN_MASK) | out));
	return 0;
}
