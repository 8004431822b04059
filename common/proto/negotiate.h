/*
 * Which profile a pairing uses. Each side offers a list and a minimum; both
 * compute the same choice from both offers, tell it to each other together
 * with a digest of everything it came from, and refuse when these differ. The
 * digest goes on into the key exchange, so that who alters an offer on the way
 * makes the pairing fail, even when both sides are shown equal choices.
 *
 * A profile's name begins with its rank: "v40-spake2-x25519" has rank 40.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROFILE_NAME_MAX 48
#define PROFILES_MAX 16
#define NEGOTIATE_DIGEST_LEN 32

struct negotiate_offer {
	size_t n;
	char names[PROFILES_MAX][PROFILE_NAME_MAX + 1]; /* by falling rank, no two equal */
	char minimum[PROFILE_NAME_MAX + 1]; /* one of names; nothing of a lower rank is accepted */
};

enum {
	NEGOTIATE_E_NO_COMMON = 1, /* no name in both lists reaches both minima */
	NEGOTIATE_E_DOWNGRADE,	   /* the two sides saw different offers, or chose differently */
};

/* "v", a rank of 1 to 5 digits without leading zero, "-", then a-z 0-9 - ; the rank in *rank (may be NULL). */
bool profile_is_name(const char *name, uint32_t *rank);

/*
 * Make an offer of names in any order. minimum NULL: the lowest of them.
 * 0, or -EINVAL when a name is wrong or twice there, there are none or too
 * many, or minimum is not among them.
 */
int negotiate_offer_init(struct negotiate_offer *o, const char *const *names, size_t n,
			 const char *minimum);

/* True when the offer is as the comments in the struct say. A decoded one must be checked. */
bool negotiate_offer_is_valid(const struct negotiate_offer *o);

/*
 * The highest name in both offers that reaches both minima; of two with one
 * rank the one that sorts later. Both offers must be valid. 0 or
 * NEGOTIATE_E_NO_COMMON. Symmetric in its two offers.
 */
int negotiate_choose(char chosen[static PROFILE_NAME_MAX + 1], const struct negotiate_offer *a,
		     const struct negotiate_offer *b);

/* SHA-256 over both offers, the session's id and the choice, each length-prefixed. */
void negotiate_digest(uint8_t out[static NEGOTIATE_DIGEST_LEN], const uint8_t session_id[static 16],
		      const struct negotiate_offer *alice, const struct negotiate_offer *bob,
		      const char *chosen);

/* Compare what the peer says it chose and saw with our own. 0 or NEGOTIATE_E_DOWNGRADE. */
int negotiate_verify(const char *own_choice, const uint8_t own_digest[static NEGOTIATE_DIGEST_LEN],
		     const char *peer_choice,
		     const uint8_t peer_digest[static NEGOTIATE_DIGEST_LEN]);

/* For `handfast selfcheck`: strips profiles on the way in all ways that two test profiles allow; true when each is refused. */
bool negotiate_selfcheck(void);
