/*
 * Of two machines with one key each takes the tunnel from the other when it has heard nothing for a while: after
 * 15 s where both have something to send, after a minute where they have not (tunnel_life.c). Four returns are
 * six sessions: the window is wide enough for the idle ones. A device between two networks may do the same, so
 * it is a suspicion.
 */
#include "pskd/tunnel/moves.h"

#include <string.h>

#include "pskd/packet/udp.h"

static void count_return(struct moves *m, uint64_t now_ms)
{
	if (m->n_returned == MOVES_RETURNS)
		memmove(m->returned_ms, m->returned_ms + 1, --m->n_returned * sizeof(m->returned_ms[0]));
	m->returned_ms[m->n_returned++] = now_ms;
}

bool moves_on_session(struct moves *m, const struct sockaddr_in6 *from, bool was_due, uint64_t now_ms)
{
	bool returns = udp_same(from, &m->before);

	if (udp_same(from, &m->at))
		return false;
	m->before = m->at;
	m->at = *from;
	if (was_due)
		return false;
	if (!returns) {
		m->n_returned = 0;
		return false;
	}
	count_return(m, now_ms);
	if (m->n_returned < MOVES_RETURNS || now_ms - m->returned_ms[0] > MOVES_WITHIN_MS)
		return false;
	if (m->told_ms && now_ms - m->told_ms < MOVES_AGAIN_MS)
		return false;
	m->told_ms = now_ms;
	return true;
}

bool moves_is_to_and_fro(const struct moves *m, uint64_t now_ms)
{
	return m->told_ms && m->n_returned && now_ms - m->returned_ms[m->n_returned - 1] <= MOVES_AGAIN_MS;
}
