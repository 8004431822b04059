/*
 * The handshake of handfast-tunnel(7), message by message: hello.c (initiator), welcome.c
 * (responder), path.c and inbound.c of daemons/pskd over a network that holds all that was ever
 * sent, of any session and life, and delivers each message as often, as late and in whatever order
 * it likes. Both directions carry data. Either pskd dies at any moment, and may come back with an
 * old copy of its disk.
 *
 *   HELLO    nonce_a. The responder keeps nothing of it, so that only the last WELCOME that was made
 *            for the present attempt can matter: a WELCOME of another is refused, and one is taken.
 *   WELCOME  nonce_a, nonce_b (a MAC under the responder's boot key over nonce_a and the BINDs that
 *            it accepted), tx_next, rx_next
 *   BIND     the nonces, the initiator's tx_next and rx_next
 *   data     session, sequence. The first in each direction proves a pending session.
 *
 * Messages are authentic or dropped: HMAC and AEAD are perfect, and the signature of a pinned
 * device, which says the same, is left out. A session's key is made of both nonces and the
 * direction. The marks are durable before a sequence is used, see ledger.pml; that of receiving
 * follows when it likes.
 *
 * In the end the network may become calm: it delivers what belongs to the present attempt and what
 * present sessions can receive, and nobody dies. An initiator then tries again when it hears nothing
 * in its sessions (check_silence(), BIND_TRIES) or is called (on_call(): a responder without a
 * session, or one that hears nothing). P_LIVE says that both come to have the same session and keep
 * it, in whatever order that is done, within CALM_TRIES attempts.
 *
 * Left out: addresses (a nonce_b is of one) and the 8 to 16 s after which a nonce_b is void, so that
 * more is accepted here; limits of rate; session numbers mod 256, which only choose a session;
 * jumps that need a burn; an end of the key material; two initiators (ledger.pml has a clone);
 * prototype peers, who have no handshake. An initiator may send in a session that is not proven
 * yet, which it does with a keepalive that it owes alone.
 *
 * -DM_NAME breaks it on purpose; -DP_NAME leaves only that property in.
 */
#if !defined(P_PAIRS) && !defined(P_FLOOR) && !defined(P_PASSED) && !defined(P_TWICE) && \
    !defined(P_FORWARD) && !defined(P_LIVE)
#define P_PAIRS
#define P_FLOOR
#define P_PASSED
#define P_TWICE
#define P_FORWARD
#endif

#ifndef TRIES
#define TRIES 2			/* attempts while the network is hostile */
#endif
#define CALM_TRIES 2
#define NA (TRIES + CALM_TRIES + 1)
#ifndef DEATHS
#define DEATHS 1		/* and starts, of either side */
#endif
#ifndef RESTORES
#define RESTORES 1		/* from an old copy of either disk */
#endif
#ifndef SEQS
#define SEQS 2			/* each way, while the network is hostile */
#endif
#define ENDSEQ 8

#define MAX(a, b) ((a) > (b) -> (a) : (b))

#define I 0
#define R 1

/* keys.c and path.c, in memory */
byte tx[2];			/* tx_next; the durable mark is never lower, and here never higher */
byte high[2];			/* rx_next: one more than the highest authenticated or given up */
byte floor[2], seen[2];		/* the window: below is old; a bit for each that came */
byte cur[2], pend[2], prev[2];	/* sessions, by nonce_a; 0: none */

/* hello.c */
byte na;			/* the attempt's nonce_a */
byte state;
#define IDLE 0
#define SENT 1
#define BIND_SENT 2

/* welcome.c */
byte life = 1;			/* its boot key */
byte binds;			/* accepted in this life */
byte last;			/* nonce_a of the newest session */
bit awaited;

/* what the network holds */
byte fresh;			/* nonces that were chosen: a HELLO of each */
byte wna, wnb, wtx, wrx;	/* the WELCOME that counts; wnb 0: none */
byte bnb[NA], btx[NA], brx[NA];	/* the BIND of each attempt; bnb 0: none */

/* ghosts */
byte used[2 * NA];		/* sequences sent, by direction and session */
byte got[2 * NA];		/* and received */
byte told[2 * NA];		/* what the receiver had reached when the session was made */
byte newest;			/* session that the responder accepted */
byte deaths, restores;
bit calm;

#if defined(M_KEY_WITHOUT_NONCES)
#define KEY(s, n) ((s) * NA)
#elif defined(M_KEY_WITHOUT_DIRECTION)
#define KEY(s, n) (n)
#else
#define KEY(s, n) ((s) * NA + (n))
#endif

/* make_nonce(), without the address and time */
#if defined(M_NO_BOOT_KEY)
#define NONCE_B(n) (1 + (n))
#elif defined(M_BINDS_UNCOUNTED)
#define NONCE_B(n) (8 * life)
#else
#define NONCE_B(n) (8 * life + (n))
#endif

#define KNOWS(r, n) ((n) != 0 && (cur[r] == (n) || pend[r] == (n) || prev[r] == (n)))
#define END (calm -> ENDSEQ : SEQS)
#define BIT(q) (1 << (q))

inline transmit(s, n)		/* outbound_seal_one(), keys_tx_take() */
{
#ifdef P_PAIRS
	assert(!(used[KEY(s, n)] & BIT(tx[s])));
#endif
	used[KEY(s, n)] = used[KEY(s, n)] | BIT(tx[s]);
	tx[s]++
}

inline promote(r)		/* path_promote_pending(), on_proven() */
{
	prev[r] = cur[r]; cur[r] = pend[r]; pend[r] = 0;
	if
	:: r == I ->
		state = IDLE;
		if
		:: tx[I] < END -> transmit(I, cur[I])
		:: else
		fi
	:: else -> awaited = 0
	fi
}

#define RECEIVABLE(s, r, n, q) (KNOWS(r, n) && (used[KEY(s, n)] & BIT(q)) && (q) >= floor[r] && !(seen[r] & BIT(q)))

inline receive(s, r, n, q)	/* open_packet(), replay_accept() */
{
#ifdef P_TWICE
	assert(!(got[KEY(s, n)] & BIT(q)));
#endif
#ifdef P_PASSED
	/* The second line: what the receiver had when the session was made comes not again, under any key. */
	assert((q) >= told[KEY(s, n)]);
#endif
	got[KEY(s, n)] = got[KEY(s, n)] | BIT(q);
#ifndef M_NO_WINDOW
	seen[r] = seen[r] | BIT(q);
#endif
	high[r] = MAX(high[r], (q) + 1);
	if
	:: pend[r] == n -> promote(r)
#ifndef M_PROOF_ONCE
	/* repeat_proof() */
	:: r == I && pend[r] != n && prev[r] == n && cur[I] != 0 && tx[I] < END -> transmit(I, cur[I])
#endif
	:: else
	fi
}

inline forward(s, rx, txp)	/* hello_forward(): go on where the peer has come to, and expect it where it will begin */
{
#ifdef P_FLOOR
	q = tx[s];
#endif
#if defined(M_MARK_SET)
	tx[s] = rx;
#elif !defined(M_NO_EXCHANGE)
	tx[s] = MAX(tx[s], rx);
#endif
#ifdef P_FLOOR
	/* Nothing that comes takes a mark back. */
	assert(tx[s] >= q);
	q = 0;
#endif
	high[s] = MAX(high[s], txp)
}

inline new_attempt()
{
#ifdef M_NONCE_A_STORED
	/* What a disk brings back is no nonce. */
	fresh = 1;
#else
	fresh++;
#endif
	na = fresh;
	state = SENT;
#ifndef M_WELCOME_UNCHECKED
	wna = 0; wnb = 0; wtx = 0; wrx = 0
#endif
}

inline on_hello(n)		/* welcome_on_hello() */
{
	wna = n; wnb = NONCE_B(binds); wtx = tx[R]; wrx = high[R]
}

inline on_welcome()		/* is_our_attempt() holds, hello_make_session(), on_bind_signed() */
{
	forward(I, wrx, wtx);
	if
	:: bnb[wna] != 0 && bnb[wna] != wnb ->
		/* another key, which only a broken nonce_a comes to */
		used[KEY(I, wna)] = 0; used[KEY(R, wna)] = 0; got[KEY(I, wna)] = 0; got[KEY(R, wna)] = 0
	:: else
	fi;
	bnb[wna] = wnb; btx[wna] = tx[I]; brx[wna] = high[I];
	told[KEY(I, wna)] = wrx; told[KEY(R, wna)] = high[I];
	pend[I] = wna;
	state = BIND_SENT;
#ifndef M_WELCOME_UNCHECKED
	wna = 0; wnb = 0; wtx = 0; wrx = 0
#endif
}

#define IS_AGAIN(n) (binds > 0 && last == (n))
#define NONCE_IS_OURS(n) (bnb[n] == (IS_AGAIN(n) -> NONCE_B(binds - 1) : NONCE_B(binds)))
#define BIND_ACTS(n) (bnb[n] != 0 && NONCE_IS_OURS(n) && (!IS_AGAIN(n) || (awaited && (pend[R] == (n) || cur[R] == (n)))))

inline on_bind(n)		/* welcome_on_bind() */
{
	if
	:: IS_AGAIN(n)
	:: !IS_AGAIN(n) ->
		forward(R, brx[n], btx[n]);
#ifdef P_FORWARD
		/* What was held back does not take a newer session's place, nor act twice. */
		assert((n) > newest);
#endif
		newest = MAX(newest, n);
		pend[R] = n; binds++; last = n; awaited = 1
	fi;
	if
	:: tx[R] < END -> transmit(R, n)
	:: else
	fi
}

/* A start after a kill: keys_open(), path_new(). The mark of receiving had come to somewhere between floor and high. */
inline die(s)
{
	deaths++;
	do
	:: high[s] > floor[s] -> high[s]--
	:: break
	od;
	start(s)
}

/* The same from a disk of any earlier time. */
inline restore(s)
{
	deaths++;
	restores++;
	do
	:: high[s] > 0 -> high[s]--
	:: break
	od;
	do
	:: tx[s] > 0 -> tx[s]--
	:: break
	od;
	start(s)
}

inline start(s)
{
	floor[s] = high[s]; seen[s] = 0;
	cur[s] = 0; pend[s] = 0; prev[s] = 0;
	if
	:: s == I ->
		na = 0; state = IDLE;
#ifndef M_WELCOME_UNCHECKED
		wna = 0; wnb = 0; wtx = 0; wrx = 0
#endif
	:: else -> life++; binds = 0; last = 0; awaited = 0
	fi
}

#ifdef M_WELCOME_UNCHECKED
#define WELCOME_IS_OURS (state == SENT && wnb != 0)
#else
#define WELCOME_IS_OURS (state == SENT && wnb != 0 && wna == na)
#endif

#define AGREED (cur[I] != 0 && cur[I] == cur[R])

/* What moves a calm network. */
#define ASKED (state == SENT && wnb == 0)
#define BOUND (state == BIND_SENT && BIND_ACTS(na) && pend[I] == na)
/* The responder's stream, in what it believes to be the session. */
#define STREAMS (!AGREED && cur[R] != 0 && tx[R] < END && \
		 (pend[I] == cur[R] || (cur[I] != 0 && prev[I] == cur[R] && pend[R] == cur[I])))
#define ANY_Q(s, r, n) (RECEIVABLE(s, r, n, 0) || RECEIVABLE(s, r, n, 1) || RECEIVABLE(s, r, n, 2) || \
			RECEIVABLE(s, r, n, 3) || RECEIVABLE(s, r, n, 4) || RECEIVABLE(s, r, n, 5) || \
			RECEIVABLE(s, r, n, 6) || RECEIVABLE(s, r, n, 7))
#define ONE_ABOVE(s, r, n, q, k) ((k) > (q) && RECEIVABLE(s, r, n, k))
#define IS_ABOVE(s, r, n, q) (ONE_ABOVE(s, r, n, q, 1) || ONE_ABOVE(s, r, n, q, 2) || ONE_ABOVE(s, r, n, q, 3) || \
			      ONE_ABOVE(s, r, n, q, 4) || ONE_ABOVE(s, r, n, q, 5) || ONE_ABOVE(s, r, n, q, 6) || \
			      ONE_ABOVE(s, r, n, q, 7))
#define ANY_DATA(s, r) (ANY_Q(s, r, cur[r]) || ANY_Q(s, r, pend[r]) || ANY_Q(s, r, prev[r]))
#ifdef M_CALL_IGNORED
#define SILENT (cur[I] == 0 || (cur[R] != 0 && !KNOWS(I, cur[R])))
#else
#define SILENT (cur[I] == 0 || !KNOWS(I, cur[R]) || !KNOWS(R, cur[I]))
#endif
#ifdef M_NO_RETRY
#define MAY_TRY (state == IDLE)
#else
#define MAY_TRY (state == IDLE || state == BIND_SENT)
#endif

inline choose_packet(s, r)
{
	if
	:: ANY_Q(s, r, cur[r]) -> n = cur[r]
	:: ANY_Q(s, r, pend[r]) -> n = pend[r]
	:: ANY_Q(s, r, prev[r]) -> n = prev[r]
	fi;
	do
	:: RECEIVABLE(s, r, n, q) -> break
	:: IS_ABOVE(s, r, n, q) -> q++
	od;
	receive(s, r, n, q);
	n = 0; q = 0
}

active proctype world()
{
	byte n, q;

	do
	:: atomic { !calm -> calm = 1 }
#ifdef P_LIVE
	/* and all packets are lost that were under way */
	:: atomic { !calm ->
		do
		:: n < 2 * NA -> used[n] = 0; n++
		:: else -> break
		od;
		n = 0;
		calm = 1 }
#endif

	/* rounds begin when they like, and the responder may call */
	:: atomic { !calm && fresh < TRIES -> new_attempt() }
#ifdef M_WELCOME_UNCHECKED
	:: atomic { !calm && state == SENT -> on_hello(na) }
#else
	:: atomic { !calm && state == SENT && (wtx != tx[R] || wrx != high[R] || wnb != NONCE_B(binds)) -> on_hello(na) }
#endif
	:: atomic { WELCOME_IS_OURS -> on_welcome() }
	:: atomic { !calm && fresh > 0 ->
		select(n : 1 .. fresh);
		if
		:: BIND_ACTS(n) -> on_bind(n)
		:: else
		fi;
		n = 0 }
	:: atomic { !calm && cur[I] != 0 && tx[I] < SEQS -> transmit(I, cur[I]) }
	:: atomic { !calm && pend[I] != 0 && tx[I] < SEQS -> transmit(I, pend[I]) }
	:: atomic { !calm && cur[R] != 0 && tx[R] < SEQS -> transmit(R, cur[R]) }

	:: atomic { ANY_DATA(I, R) -> choose_packet(I, R) }
	:: atomic { ANY_DATA(R, I) -> choose_packet(R, I) }

	/* disks */
	:: atomic { !calm && deaths < DEATHS -> die(I) }
	:: atomic { !calm && deaths < DEATHS -> die(R) }
	:: atomic { !calm && deaths < DEATHS && restores < RESTORES -> restore(I) }
	:: atomic { !calm && deaths < DEATHS && restores < RESTORES -> restore(R) }

	/* a calm network; what is above without !calm goes on, too */
	:: atomic { calm && ASKED -> on_hello(na) }
	:: atomic { calm && BOUND && !ANY_DATA(R, I) -> on_bind(na) }
	:: atomic { calm && STREAMS && !ANY_DATA(R, I) -> transmit(R, cur[R]) }
	:: atomic { calm && SILENT && MAY_TRY && !BOUND && !ANY_DATA(I, R) && !ANY_DATA(R, I) && fresh < TRIES + CALM_TRIES ->
		new_attempt() }
	od
}

#ifdef P_LIVE
ltl recovers { (<> calm) -> <> [] AGREED }
#endif
