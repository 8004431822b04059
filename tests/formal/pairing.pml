/*
 * The pairing protocol of handfast-pairing(7), as daemons/pairingd/ runs it, with a relay that
 * does what it likes. Two devices, up to RUNS pairings each, crashes of either pairingd between
 * any two durable steps, people who compare numbers and try again, and the tunnel's first
 * message that ends what a withheld acknowledgement left open. README says what is abstracted.
 *
 * Terms are symbols. A device's run x (0 … N-1; device x / RUNS) remembers where each thing that
 * it received came from; equality of keys and transcripts is computed from that. The relay holds
 * all that was sent, of any run, for ever; "deliver" is its choice of what comes next in a run:
 *
 *   - the other device's message of this round, of any of its runs (delay, drop, reorder, replay
 *     across sessions: it need not be now, nor be the present run);
 *   - a message of its own, whatever it can compute from what it knows (modify, inject, play a
 *     half or both, strip profiles);
 *   - the device's own message back (reflect);
 *   - anything else (duplicate, out of turn, truncated, an abort in the clear, peer_left,
 *     silence until the deadline): pairing_on_packet() ends the pairing then, see finish().
 *
 * The bounds: RUNS of each device; -DUNTIL_PROVEN: three in all, which end with the tags of round
 * 4, and hellos pass as they are; -DLONG: all wishes, and all that a relay can say. What several
 * pairings of the same two devices leave behind, and what recovers them, is storing.pml.
 *
 * -DM_NAME breaks the protocol on purpose; -DP_NAME leaves only that property in.
 */
#ifndef RUNS
#define RUNS 2
#endif
#define N (2 * RUNS)		/* runs in all: device * RUNS + number */
#define DEV(x) ((x) / RUNS)

#if !defined(P_AGREE) && !defined(P_PROVEN) && !defined(P_ONEGUESS) && !defined(P_DOWNGRADE) && \
    !defined(P_RECOVER) && !defined(P_EARLIER) && !defined(P_SETTLE)
#define P_AGREE
#define P_PROVEN
#define P_ONEGUESS
#define P_DOWNGRADE
#define P_RECOVER
#define P_EARLIER
#define P_SETTLE
#endif

/* ---- what is given ---- */

#define PIN 0			/* six digits: one guess of the relay may be right */
#define SEC 1			/* 16 bytes or more: none is */
bit class;
bit cmp[2];			/* --compare without a PIN */
byte offer[2];			/* profiles: 1 v40, 2 v50, 3 both */
byte lowest[2];			/* minimum: 1 or 2 */

/* ---- a run: struct pairing in pairing_internal.h ---- */

#define NONE 0
#define RUNNING 1
#define OVER 2			/* aborted, or its pairingd crashed */
#define UNCONFIRMED 3
#define ACTIVE 4
byte st[N];
byte sent[N], got[N];		/* rounds: 1 hello … 9 prepared */
byte pin[N];			/* which PIN (and code) was typed or made */
bit sid[N];			/* which session id the relay named */
byte xoffer[N], xlowest[N];	/* the peer's hello, as it came */
bit xcmp[N];
byte prof[N];			/* negotiate_choose() */
bit spent[N];			/* pairing->spent */
#define NOBODY 0		/* a share whose exponent nobody has: of another session */
#define RIGHT (N + 1)		/* the relay's, made with the right PIN */
#define WRONG (N + 2)		/* the relay's, made with another */
#define SELF (N + 3)		/* the own share back */
#define UNSET (N + 4)
byte src[N];			/* whose PAKE share came: 1 + run, or one of these */
#define THEIRS 1
#define OURS 2			/* the relay's */
byte eph[N];			/* whose nonce and X25519 share: 0 not yet */
byte ephof[N];			/* THEIRS: of which run */
bit ground[N];			/* the relay could choose this run's number to equal the other's */
bit compared[N];
bit relayid[N];			/* 1: the identity that came is the relay's */
byte stored[N];			/* session->peer: the root that it stored, 0: not yet */
byte abortseq[N];		/* sequence of the sealed abort that was sent, 0: none */

/* ---- a device: what survives a crash ---- */

byte cur[2] = 255;		/* the last run; 255: none */
byte runs[2];
byte codes[2];			/* peers_is_spent(): by code, a bit each */
byte sids[2];			/* attempt.session_id UNIQUE */
byte rowP[2], rowA[2];		/* peers.c: the prepared and the active row: a root, 0: none */
byte rowO[2];			/* the prepared row that a newer one stands before */
bit mvP[2], mvA[2], mvO[2];	/* its root was moved to pskd */
byte base[2], succ[2];		/* tunnels.c: the peer's tunnel, and its unproven successor */

/* Roots: of alice's run i and bob's run j; of the earlier pairing; of a run with the relay. */
#define EARLIER 1
#define ROOT(i, j) (2 + (i) * RUNS + ((j) - RUNS))
#define RELAYS(x) (20 + (x))

/* ghosts: nobody's memory, only the properties' */
byte guesses[4];		/* of the relay at device * 2 + PIN */
bit has[16];			/* device * 8 + root: stored, and not taken back */
byte worked;			/* a root whose tunnel both have used */
bit calm;			/* the relay and the crashes are done */

/* ---- what equals what ---- */

#define OTHER(d) (1 - (d))
#define HELLO_SAME(x, y) (xoffer[x] == offer[DEV(y)] && xlowest[x] == lowest[DEV(y)])
#define WISH_SAME(x, y) (xcmp[x] == cmp[DEV(y)])
#if defined(M_NO_TRANSCRIPT)
/* Nothing that was said enters the PAKE's identities, tags, keys or associated data. */
#define T_SAME(x, y) (1)
#elif defined(M_LISTS_UNBOUND)
#define T_SAME(x, y) (sid[x] == sid[y] && WISH_SAME(x, y) && WISH_SAME(y, x))
#else
/* transcript.c: the joins are equal when each received what the other sent. */
#define T_SAME(x, y) (sid[x] == sid[y] && HELLO_SAME(x, y) && HELLO_SAME(y, x) && \
		      WISH_SAME(x, y) && WISH_SAME(y, x))
#endif
/* spake2_finish(): one key only with both shares, one password (PIN, profile, session) and one T. */
#define KP_SAME(x, y) (src[x] == 1 + (y) && src[y] == 1 + (x) && pin[x] == pin[y] && \
		       prof[x] == prof[y] && T_SAME(x, y))
#define KP_KNOWN(x) (src[x] == RIGHT)
/* pairing_derive_session(): of the PAKE's key, the X25519 agreement and T. */
#define SK_SAME(x, y) (KP_SAME(x, y) && eph[x] == THEIRS && eph[y] == THEIRS)
#define SK_KNOWN(x) (KP_KNOWN(x) && eph[x] == OURS)
#define OPENED(x) (sent[x] >= 5)
#define CHANNEL(x) (sent[x] >= 6 && got[x] >= 6)
#define SAS_SAME(x, y) (SK_SAME(x, y) || ground[x] || ground[y])

#ifdef M_SAS_OPTIONAL
#define NEEDED(x) (cmp[DEV(x)] || xcmp[x])
#else
#define NEEDED(x) (class == PIN || cmp[DEV(x)] || xcmp[x])
#endif

/* negotiate_choose(): the best in both lists that is below neither minimum; 0: none. */
#define BEST(o, p, l, m) (((o) & (p) & 2) -> 2 : ((((o) & (p) & 1) && (l) == 1 && (m) == 1) -> 1 : 0))

/* ---- ends ---- */

inline drop_tunnel(d, r)	/* tunnels.c remove_paired() */
{
	if
	:: base[d] == (r) -> base[d] = succ[d]; succ[d] = 0
	:: else ->
		if
		:: succ[d] == (r) -> succ[d] = 0
		:: else
		fi
	fi
}

inline remove_prepared(d)	/* peers_remove_prepared(), and on_forgotten() in pskd */
{
	if
	:: rowP[d] < 8 -> has[d * 8 + rowP[d]] = 0
	:: else
	fi;
	drop_tunnel(d, rowP[d]);
	rowP[d] = rowO[d]; mvP[d] = mvO[d];
	rowO[d] = 0; mvO[d] = 0;
	looks_fine()
}

/* pairing_end_early(); say: by pairing_abort(), which tells the peer, sealed when the channel is open. */
inline finish(x, say)
{
	if
	:: sent[x] == 9 ->
		st[x] = UNCONFIRMED;
	:: else ->
		st[x] = OVER;
		if
		:: say && CHANNEL(x) -> abortseq[x] = sent[x] + 1
		:: else
		fi
	fi
}

/* ---- pairing_machine.c ---- */

inline check_hello(x)		/* pairing_check_hello(); then choose goes out */
{
	prof[x] = BEST(offer[DEV(x)], xoffer[x], lowest[DEV(x)], xlowest[x]);
	if
	:: prof[x] == 0 -> finish(x, 1)
	:: else -> sent[x] = 2
	fi
}

inline check_pake(x)		/* pairing_check_pake(): confirm goes out, derived from the secret */
{
#ifdef M_OPEN_EARLY
	sent[x] = 5;
#else
	sent[x] = 4;
#endif
	if
	:: src[x] == RIGHT || src[x] == WRONG ->
		guesses[DEV(x) * 2 + pin[x]]++;
#ifdef P_ONEGUESS
		assert(guesses[DEV(x) * 2 + pin[x]] <= 1)
#endif
	:: else
	fi
}

inline check_confirm(x)		/* the tag was right: PAIRING_DO_PROVEN; nonce and share go out */
{
#ifdef M_SPEND_LATE
	codes[DEV(x)] = codes[DEV(x)] | (1 << pin[x]);
#endif
#ifdef P_PROVEN
	/* Whoever got this far knew the secret. */
	assert(KP_KNOWN(x) || (src[x] >= 1 && src[x] <= N && KP_SAME(x, src[x] - 1)));
#endif
	sent[x] = 5
#ifdef UNTIL_PROVEN
	; st[x] = OVER
#endif
}

inline store(x)			/* ask_store() and peers_store() */
{
	d = DEV(x);
#ifdef P_AGREE
	/* Who stores has the other device's key, and the other said and heard the same. */
	assert(!relayid[x]);
	assert(src[x] >= 1 && src[x] <= N && SK_SAME(x, src[x] - 1));
	assert(HELLO_SAME(x, src[x] - 1) && HELLO_SAME(src[x] - 1, x));
	assert(WISH_SAME(x, src[x] - 1) && WISH_SAME(src[x] - 1, x));
	assert(prof[x] == prof[src[x] - 1] && sid[x] == sid[src[x] - 1]);
#endif
#ifdef P_DOWNGRADE
	assert(prof[x] == BEST(offer[0], offer[1], lowest[0], lowest[1]));
	assert(compared[x] || !(class == PIN || cmp[0] || cmp[1]));
#endif
	/* What was prepared may be active at the peer: it stands behind the new one. */
	if
	:: rowP[d] != 0 -> rowO[d] = rowP[d]; mvO[d] = mvP[d]
	:: else
	fi;
	if
	:: !relayid[x] && src[x] > RUNS && src[x] <= N -> rowP[d] = ROOT(x, src[x] - 1)
	:: !relayid[x] && src[x] >= 1 && src[x] <= RUNS -> rowP[d] = ROOT(src[x] - 1, x)
	:: else -> rowP[d] = RELAYS(x)
	fi;
	if
	:: rowP[d] < 8 -> has[d * 8 + rowP[d]] = 1
	:: else
	fi;
	stored[x] = rowP[d];
	mvP[d] = 0
}

/* pskd takes the root, when it is told at the run's end or at its next start: a tunnel beside the earlier one. tunnels.c on_root() */
inline take(d, r)
{
	if
	:: base[d] == r || succ[d] == r
	:: else ->
		if
		:: base[d] == 0 -> base[d] = r
		:: else -> succ[d] = r
		fi
	fi;
	looks_fine()
}

inline activate(d, r)		/* peers_activate() */
{
#ifdef P_RECOVER
	/* Who shows "active" has a peer that has stored it. */
	assert((r) >= 8 || has[(1 - (d)) * 8 + (r)]);
#endif
	if
	:: rowP[d] == r ->
		rowA[d] = r; mvA[d] = mvP[d];
		rowP[d] = 0; mvP[d] = 0; rowO[d] = 0; mvO[d] = 0
	:: else ->
		if
		:: rowO[d] == r -> rowA[d] = r; mvA[d] = mvO[d]; rowO[d] = 0; mvO[d] = 0
		:: else
		fi
	fi
}

/* ---- a message comes: pairing_on_packet(), in its turn ---- */

inline after_finish(x)
{
	if
	:: !NEEDED(x) -> sent[x] = 7
	:: else
	fi
}

inline after_verdict(x)		/* ours may wait for the person still */
{
	if
	:: sent[x] == 7 -> sent[x] = 8
	:: else
	fi
}

/* y: a run of the other device. */
inline deliver(x, y)
{
	if
	/* 1 hello: any of theirs, or whatever the relay likes to say for them */
	:: got[x] == 0 && sent[y] >= 1 ->
		got[x] = 1;
		xoffer[x] = offer[DEV(y)]; xlowest[x] = lowest[DEV(y)]; xcmp[x] = cmp[DEV(y)];
		check_hello(x)
#ifndef UNTIL_PROVEN
	:: got[x] == 0 ->
		got[x] = 1;
		if
		:: xoffer[x] = 1; xlowest[x] = 1
#ifdef LONG
		:: xoffer[x] = 2; xlowest[x] = 2
		:: xoffer[x] = 3; xlowest[x] = 1
		:: xoffer[x] = 3; xlowest[x] = 2
#endif
		fi;
		if
		:: xcmp[x] = 0
		:: class == SEC -> xcmp[x] = 1
		fi;
		check_hello(x)
#endif
	/* 2 choose: what negotiate_verify() takes; all in it is public, so the relay can always say it */
	:: got[x] == 1 && sent[x] == 2 ->
		got[x] = 2;
#ifdef M_SPEND_LATE
		spent[x] = 1
#endif
	/* 3 pake */
	:: got[x] == 2 && sent[y] >= 3 -> got[x] = 3; src[x] = 1 + y
	:: got[x] == 2 && class == PIN -> got[x] = 3; src[x] = RIGHT
	:: got[x] == 2 -> got[x] = 3; src[x] = WRONG
	:: got[x] == 2 -> got[x] = 3; src[x] = NOBODY
#ifdef M_ROLE_UNBOUND
	:: got[x] == 2 && sent[x] >= 3 -> got[x] = 3; src[x] = SELF
#endif
	/* 4 confirm: a tag by the other over the same, or by the relay that has the key */
	:: got[x] == 3 && sent[x] >= 4 && sent[y] >= 4 && KP_SAME(x, y) ->
		got[x] = 4; eph[x] = THEIRS; ephof[x] = y; check_confirm(x)
	:: got[x] == 3 && sent[x] >= 4 && KP_KNOWN(x) ->
		got[x] = 4; eph[x] = OURS;
		ground[x] = OPENED(x) && OPENED(y) && got[y] >= 5;
		check_confirm(x)
	:: got[x] == 3 && sent[x] >= 4 && KP_KNOWN(x) && sent[y] >= 4 ->
		got[x] = 4; eph[x] = THEIRS; ephof[x] = y; check_confirm(x)
#ifdef M_ROLE_UNBOUND
	:: got[x] == 3 && sent[x] >= 4 && src[x] == SELF ->
		got[x] = 4; eph[x] = THEIRS; ephof[x] = x; check_confirm(x)
#endif
#ifdef M_TAG_UNCHECKED
	:: got[x] == 3 && sent[x] >= 4 -> got[x] = 4; eph[x] = OURS; check_confirm(x)
#endif
	/* 5 handshake: the opening of what was committed to */
	:: got[x] == 4 && eph[x] == THEIRS && OPENED(ephof[x]) -> got[x] = 5; sent[x] = 6
	:: got[x] == 4 && eph[x] == OURS ->
		got[x] = 5; sent[x] = 6;
#ifdef M_NO_COMMITMENT
		/* Nothing bound the relay to nonce and share before it saw all the others. */
		ground[x] = OPENED(y) && got[y] >= 5
#endif
	/* 6 finish */
	:: got[x] == 5 && sent[y] >= 6 && SK_SAME(x, y) -> got[x] = 6; after_finish(x)
	:: got[x] == 5 && SK_KNOWN(x) -> got[x] = 6; after_finish(x)
	/* 7 verdict, sealed from here on: what does not open is passed over */
	:: got[x] == 6 && sent[y] >= 7 && SK_SAME(x, y) ->
		got[x] = 7;
		if
		:: NEEDED(x) == NEEDED(y) -> after_verdict(x)
		:: else -> finish(x, 1)
		fi
	:: got[x] == 6 && SK_KNOWN(x) -> got[x] = 7; after_verdict(x)
	/* 8 identity */
	:: got[x] == 7 && sent[x] >= 7 && sent[y] >= 8 && SK_SAME(x, y) -> got[x] = 8
	:: got[x] == 7 && sent[x] >= 7 && SK_KNOWN(x) -> got[x] = 8; relayid[x] = 1
	/* 9 prepared */
	:: got[x] == 8 && sent[x] >= 8 && sent[y] >= 9 && SK_SAME(x, y) -> got[x] = 9
	:: got[x] == 8 && sent[x] >= 8 && SK_KNOWN(x) -> got[x] = 9
	/* a sealed abort in the place of the next: on_abort(), authentic */
	:: CHANNEL(x) && got[x] < 9 && abortseq[y] == got[x] + 1 && SK_SAME(x, y) ->
		if
		:: sent[x] == 9 -> remove_prepared(DEV(x))
		:: else
		fi;
		st[x] = OVER
	/* anything else: pairing_end() or pairing_end_early() */
	:: finish(x, 0)
	:: CHANNEL(x) && sent[x] < 9 && !stored[x] -> finish(x, 1)
	fi;
	if
	:: st[x] == RUNNING && got[x] == 3 && sent[x] == 3 -> check_pake(x)
	:: else
	fi
}

/* ---- the world ---- */

/*
 * What each side wants. Of devices that want alike the one is as good as the other; all
 * combinations are in the long run.
 */
inline choose_wishes()
{
	offer[0] = 3; lowest[0] = 1; offer[1] = 3; lowest[1] = 1;
	if
	:: class = PIN
#ifndef UNTIL_PROVEN
	:: class = SEC
	:: class = SEC; cmp[1] = 1
#ifdef LONG
	:: class = SEC; cmp[0] = 1
	:: class = SEC; cmp[0] = 1; cmp[1] = 1
#endif
#endif
	fi;
#ifndef UNTIL_PROVEN
	if
	:: true
	:: offer[0] = 1
	:: lowest[1] = 2
#ifdef LONG
	:: lowest[0] = 2
	:: lowest[0] = 2; offer[0] = 2
	:: offer[1] = 1
	:: lowest[0] = 2; offer[1] = 1
	:: lowest[0] = 2; lowest[1] = 2
#endif
	fi
#endif
}

#ifdef UNTIL_PROVEN
#define MAY_TRY (runs[0] + runs[1] < 3)
#else
#define MAY_TRY 1
#endif
#define CAN_BEGIN(d) (MAY_TRY && runs[d] < RUNS && (cur[d] == 255 || st[cur[d]] != RUNNING))
#define RUNS_ON(d) (cur[d] != 255 && st[cur[d]] == RUNNING)
/* Between two steps of one event nothing but a crash can come. */
#define BUSY(x) (stored[x] && (sent[x] == 8 || got[x] == 9))
#define MAY_SEND_PREPARED(x) (stored[x] && sent[x] == 8)
#define MAY_ACTIVATE(x) (stored[x] && sent[x] == 9 && got[x] == 9)
#ifdef LONG
#define WATCHES(d) 1
#else
#define WATCHES(d) (!RUNS_ON(d))
#endif
#define UNTAKEN(d) (WATCHES(d) && ((rowA[d] != 0 && !mvA[d]) || (rowO[d] != 0 && !mvO[d]) || \
				   (rowP[d] != 0 && !mvP[d])))
#define HAS_TUNNEL(d, r) (base[d] == (r) || succ[d] == (r))
#define SHARED(r) ((r) != 0 && (r) < 8 && HAS_TUNNEL(0, r) && HAS_TUNNEL(1, r))
#define COMMON (SHARED(base[0]) || SHARED(succ[0]))
#define NEWS(r) (SHARED(r) && (succ[0] == (r) || succ[1] == (r) || rowP[0] == (r) || rowP[1] == (r) || \
			       rowO[0] == (r) || rowO[1] == (r) || worked != (r)))

inline looks_fine()
{
#ifdef P_EARLIER
	/* Nobody who withholds messages takes a tunnel away that has worked. */
	assert(!worked || COMMON)
#else
	skip
#endif
}

/* A person begins; the relay names the session. sessions_pair(), choose_relay(), on_open(). */
inline begin_run(d, p, s)
{
	x = d * RUNS + runs[d];
	cur[d] = x;
	st[x] = RUNNING; sent[x] = 1; pin[x] = p; sid[x] = s;
	runs[d]++
}

/* What a device does by itself, one durable step at a time. */
inline act(x)
{
	if
	/* PAIRING_DO_SPEND: peers_spend() */
	:: sent[x] == 2 && got[x] >= 2 && !spent[x] ->
		if
		:: sids[DEV(x)] & (1 << sid[x]) -> finish(x, 1)
		:: else ->
			spent[x] = 1;
			sids[DEV(x)] = sids[DEV(x)] | (1 << sid[x]);
			codes[DEV(x)] = codes[DEV(x)] | (1 << pin[x])
		fi
	:: sent[x] == 2 && spent[x] ->
		sent[x] = 3;
		if
		:: got[x] == 3 -> check_pake(x)
		:: else
		fi
	/* PAIRING_DO_COMPARE: a person looks at both screens, and picks the number that is on both */
	:: sent[x] == 6 && got[x] >= 6 && NEEDED(x) && cur[1 - DEV(x)] != 255 ->
		y = cur[1 - DEV(x)];
		if
		:: CHANNEL(y) && NEEDED(y) && SAS_SAME(x, y) ->
			compared[x] = 1; sent[x] = 7;
			if
			:: got[x] >= 7 -> sent[x] = 8
			:: else
			fi
		:: CHANNEL(y) && NEEDED(y) && !SAS_SAME(x, y) -> finish(x, 1)
		:: !CHANNEL(y) || !NEEDED(y)
		fi
	/* PAIRING_DO_STORE: durable, or not */
	:: sent[x] >= 8 && got[x] >= 8 && !stored[x] -> store(x)
	:: sent[x] == 8 && got[x] >= 8 && !stored[x] -> finish(x, 1)
	:: MAY_SEND_PREPARED(x) -> sent[x] = 9
	/* PAIRING_DO_ACTIVATE: durable, or not */
	:: MAY_ACTIVATE(x) && rowP[DEV(x)] == stored[x] -> activate(DEV(x), stored[x]); st[x] = ACTIVE
	:: MAY_ACTIVATE(x) -> st[x] = UNCONFIRMED
	:: else
	fi
}

inline take_roots(d)
{
	if
	:: rowA[d] != 0 && !mvA[d] -> take(d, rowA[d]); mvA[d] = 1
	:: rowO[d] != 0 && !mvO[d] -> take(d, rowO[d]); mvO[d] = 1
	:: rowP[d] != 0 && !mvP[d] && (rowO[d] == 0 || mvO[d]) -> take(d, rowP[d]); mvP[d] = 1
	:: else
	fi
}

inline prove_at(d, r)		/* pskd succeed(), pairingd peer_seen() */
{
	if
	:: succ[d] == r -> base[d] = r; succ[d] = 0
	:: else
	fi;
	activate(d, r)
}

/* An authenticated message passes each way in the tunnel of r. */
inline prove(r)
{
	y = r;
	prove_at(0, y);
	prove_at(1, y);
	worked = y;
	y = 0
}

active proctype world()
{
	byte d, x, y;

	atomic {
		do
		:: x < N -> src[x] = UNSET; x++
		:: else -> break
		od;
		x = 0;
		choose_wishes();
		if
		:: true
#ifdef LONG
		:: has[EARLIER] = 1; has[8 + EARLIER] = 1; rowA[0] = EARLIER; rowA[1] = EARLIER;
			mvA[0] = 1; mvA[1] = 1; base[0] = EARLIER; base[1] = EARLIER; worked = EARLIER
#endif
		fi
	}

	do
	/* people begin: alice with a PIN made just now, bob with any that he was shown */
	:: atomic { CAN_BEGIN(0) ->
#ifdef M_PIN_REUSED
		begin_run(0, 0, runs[0]);
#else
		begin_run(0, runs[0], runs[0]);
#endif
		x = 0 }
	:: atomic { CAN_BEGIN(1) && runs[0] > 0 ->
		if
		:: y = 0
		:: runs[0] > 1 -> y = 1
		fi;
		if
#ifndef M_CODE_FORGOTTEN
		:: (codes[1] & (1 << y)) -> runs[1]++	/* peers_is_spent() refuses */
		:: !(codes[1] & (1 << y)) ->
#else
		:: true ->
#endif
			if
			:: begin_run(1, y, 0)
			:: begin_run(1, y, 1)
			fi
		fi;
		x = 0; y = 0 }

	/* the relay delivers */
	:: atomic { RUNS_ON(0) && !BUSY(cur[0]) ->
		x = cur[0];
		if
		:: y = RUNS
#if RUNS > 1
		:: st[RUNS + 1] != NONE -> y = RUNS + 1
#endif
		fi;
		deliver(x, y); d = 0; x = 0; y = 0 }
	:: atomic { RUNS_ON(1) && !BUSY(cur[1]) ->
		x = cur[1];
		if
		:: y = 0
#if RUNS > 1
		:: st[1] != NONE -> y = 1
#endif
		fi;
		deliver(x, y); d = 0; x = 0; y = 0 }

	/* devices and their people act */
	:: atomic { RUNS_ON(0) -> x = cur[0]; act(x); d = 0; x = 0; y = 0 }
	:: atomic { RUNS_ON(1) -> x = cur[1]; act(x); d = 0; x = 0; y = 0 }

	/* pairingd dies between two steps; anywhere else that is a silent end, which deliver() has */
	:: d_step { RUNS_ON(0) && BUSY(cur[0]) -> st[cur[0]] = OVER }
	:: d_step { RUNS_ON(1) && BUSY(cur[1]) -> st[cur[1]] = OVER }

	/* pskd comes, tunnels carry */
	:: atomic { UNTAKEN(0) -> take_roots(0) }
	:: atomic { UNTAKEN(1) -> take_roots(1) }
	:: atomic { NEWS(base[0]) -> prove(base[0]) }
	:: atomic { NEWS(succ[0]) -> prove(succ[0]) }

	/* From here on nobody interferes, and no person begins anew. */
	:: calm = 1; break
	od;

	do
	:: atomic { RUNS_ON(0) && BUSY(cur[0]) -> x = cur[0]; act(x); d = 0; x = 0; y = 0 }
	:: atomic { RUNS_ON(1) && BUSY(cur[1]) -> x = cur[1]; act(x); d = 0; x = 0; y = 0 }
	:: atomic { RUNS_ON(0) && !BUSY(cur[0]) -> x = cur[0]; finish(x, 0); x = 0 }
	:: atomic { RUNS_ON(1) && !BUSY(cur[1]) -> x = cur[1]; finish(x, 0); x = 0 }
	:: atomic { UNTAKEN(0) -> take_roots(0) }
	:: atomic { UNTAKEN(1) -> take_roots(1) }
	:: atomic { NEWS(base[0]) -> prove(base[0]) }
	:: atomic { NEWS(succ[0]) -> prove(succ[0]) }
	:: else -> break
	od;

#ifdef P_SETTLE
	/* Nobody shows a pairing as active for ever that the other knows nothing of. */
	assert(rowA[0] == 0 || rowA[1] != 0 || rowP[1] != 0);
	assert(rowA[1] == 0 || rowA[0] != 0 || rowP[0] != 0);
	/* Who shows nothing unconfirmed has the same root as the other. */
	assert(rowA[0] == 0 || rowA[1] == 0 || rowP[0] != 0 || rowP[1] != 0 || rowA[0] == rowA[1]);
	/* Where a message passes, both are active. */
	assert(!SHARED(rowP[0]) && !SHARED(rowP[1]));
#endif
done:	skip
}
