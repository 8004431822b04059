/*
 * The ledger of handfast-ledger(5), and the handshake of handfast-tunnel(7) over it.
 *
 * By default one sender without handshakes (peer: prototype): the files keys*.c and
 * ledger*.c in daemons/pskd/keys. Its disk has two records; a crash comes at any point, and tears the record that is
 * being written; a write fails and leaves the old record, the new one or neither; in between two
 * writes one record may be lost. No sequence is used twice. Copies of disks are left out, as the
 * manual says.
 *
 * -DHANDSHAKE: an initiator, a clone of it that runs beside it or a copy of its disk that comes
 * back, and a responder: hello.c, welcome.c, session.c, path.c. Reservations are what the other
 * half shows them to be: a start goes on at the durable mark, or at that of an old copy. The
 * network keeps all packets and delivers each as often and as late as it likes.
 *
 * -DM_NAME breaks it on purpose; -DP_NAME leaves only that property in.
 */
#if !defined(P_PAIRS) && !defined(P_PASSED) && !defined(P_TWICE)
#define P_PAIRS
#define P_PASSED
#define P_TWICE
#endif

#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define MIN(a, b) ((a) < (b) -> (a) : (b))

#ifndef HANDSHAKE

/* ---- one ledger ---- */

#ifndef END
#define END 9			/* sequences in all */
#endif
#define LIMIT 2			/* tx_limit */
#ifndef WRITES
#define WRITES 6
#endif
#define INF 255

/* the disk: ledger.c, two blocks */
byte gen[2];			/* 0: broken */
byte res[2];			/* tx_reserved */

/* keys.c, in memory */
bit up;
byte txn;			/* tx_next */
byte newest, other, attempt;	/* tx_reserved of each; attempt_tx */
bit other_ok, at, writing;
byte mygen, work;		/* the record in flight */
byte goal;
bit jumped;
bit failed;			/* the last write did: one fault at a time */

short used;			/* ghost: a bit for each sequence */
byte writes, lost;

#ifdef M_MARK_LATE
/* What is being written counts as if it were durable. */
#define USABLE_NEWEST (writing -> MAX(newest, work) : newest)
#else
#define USABLE_NEWEST MIN(newest, attempt)
#endif
#if defined(M_ATTEMPT_FORGOTTEN)
#define NOW_USABLE newest
#else
#define NOW_USABLE USABLE_NEWEST
#endif
#ifdef M_OTHER_FORGOTTEN
#define USABLE NOW_USABLE
#else
/* tx_usable(): the least that any record allows which a later life may find */
#define USABLE (other_ok -> MIN(NOW_USABLE, other + LIMIT) : NOW_USABLE)
#endif

inline use()			/* keys_tx_take() */
{
#ifdef P_PAIRS
	assert(!(used & (1 << txn)));
#endif
	used = used | (1 << txn);
	txn++
}

inline submit(mark)		/* compose(), attempt(), ledger_submit() */
{
	work = mark;
	writing = 1;
	writes++;
	attempt = MIN(attempt, work)
}

inline put()			/* write_block(): the older block, in place */
{
#ifdef M_ONE_RECORD
	gen[at] = mygen + 1; res[at] = work
#else
	gen[1 - at] = mygen + 1; res[1 - at] = work
#endif
}

inline tear()
{
#ifdef M_ONE_RECORD
	gen[at] = 0; res[at] = 0
#else
	gen[1 - at] = 0; res[1 - at] = 0
#endif
}

inline adopt()			/* keys_on_written() without an error */
{
	put();
#ifndef M_ONE_RECORD
	at = 1 - at;
#endif
	mygen++;
	other = newest; newest = work; other_ok = 1; attempt = INF; writing = 0; failed = 0
}

inline forget()			/* memory */
{
	up = 0; txn = 0; newest = 0; other = 0; attempt = INF; other_ok = 0; at = 0; writing = 0;
	mygen = 0; work = 0
}

inline open_ledger()		/* ledger_judge(), load(), recover() */
{
	at = (gen[1] > gen[0] -> 1 : 0);
	mygen = gen[at];
	newest = res[at];
	other_ok = (gen[1 - at] != 0 && gen[1 - at] + 1 == gen[at]);
	other = (other_ok -> res[1 - at] : 0);
	attempt = INF;
	txn = newest;
	if
#ifndef M_TORN_BURNS_NOTHING
	/* The lost record may have been the newer: go where it can have gone at most. */
	:: !other_ok -> txn = MIN(newest + LIMIT, END)
#endif
	:: else
	fi;
	failed = 0
}

active proctype sender()
{
	atomic { gen[0] = 1; gen[1] = 2; attempt = INF }
	do
	:: atomic { !up && (gen[0] != 0 || gen[1] != 0) && writes < WRITES ->
		open_ledger();
		if
		:: other_ok -> up = 1
		/* keys_write_now() repairs before anything is sent; a crash may come first */
		:: !other_ok -> submit(txn);
			if
			:: adopt(); up = 1
			:: tear(); forget()
			:: forget()
			fi
		fi }
	:: atomic { up && txn < USABLE && txn < END -> use() }
	/* keys_tx_forward(): a handshake or a burn goes further than a block at once */
	:: atomic { up && !jumped && txn + 4 < END -> jumped = 1; txn = txn + 4 }
	/* further: a block on; lower: settle after a silence (more than what is due is given back) */
	:: atomic { up && !writing && writes < WRITES && txn < END ->
		goal = MIN(txn + LIMIT, END);
		goal = MAX(goal, newest);
		submit(goal); goal = 0 }
	:: atomic { up && !writing && writes < WRITES && newest > txn -> submit(txn) }
	:: atomic { up && writing -> adopt() }
	/* the write fails: the block holds what it held, what was written, or neither */
	:: atomic { up && writing ->
		if
		:: put()
		:: tear()
		:: true
		fi;
#ifndef M_FAILED_WRITE_FREES
		if
		:: other_ok -> attempt = MIN(attempt, other + LIMIT)
		:: else
		fi;
#endif
		writing = 0; other_ok = 0; failed = 1 }
	/* power cut, kill -9 */
	:: atomic { up ->
		if
		:: writing -> put()
		:: writing -> tear()
		:: true
		fi;
		if
		:: !writing && !failed && other_ok && !lost -> lost = 1; gen[0] = 0; res[0] = 0
		:: !writing && !failed && other_ok && !lost -> lost = 1; gen[1] = 0; res[1] = 0
		:: true
		fi;
		forget() }
	/* clean stop: keys_close() */
	:: atomic { up && !writing && writes < WRITES -> submit(txn); adopt(); forget() }
	:: writes >= WRITES -> break
	od
}

#else

/* ---- two peers ---- */

#ifdef LONG
#define SEQS 4
#define LIVES 3
#else
#define SEQS 3
#define LIVES 2
#endif
#ifndef SESSIONS
#define SESSIONS 3
#endif
#ifndef STARTS
#define STARTS 1		/* copies that are made or come back */
#endif

/* Initiators: 0 and its clone 1. */
byte disk[2];			/* the durable mark: all below may have been used */
byte copy;			/* an old copy of it */
bit on[2];
byte txn[2];			/* tx_next */
byte na[2], nb[2];		/* the session's nonces; 0: none */
byte fresh;			/* nonces that were chosen */

/* The responder. */
byte life = 1;			/* its boot key, of which nonce_b is made */
byte rna, rnb;			/* its session, 0: none */
byte rfloor;			/* replay window: below is old */
byte rseen;			/* a bit for each */
byte rhigh;			/* one more than the highest that it authenticated, of earlier lives too */
byte rdisk;			/* rx_mark, which follows when it likes */
byte copies;

/* ghosts */
byte sentin[16];		/* by nonce_a * 4 + nonce_b: sequences used */
byte gotin[16];
byte sentany, passed;		/* under any key; what the responder had received when a session began */
bit cloned;

#define KEY(a, b) ((a) * 4 + (b))
#ifdef M_KEY_WITHOUT_NONCES
#define USED_KEY(a, b) 0	/* the slot's key as it is */
#else
#define USED_KEY(a, b) KEY(a, b)
#endif

inline handshake(i)
{
#ifdef M_NONCE_STORED
	/* What a disk brings back is no nonce. */
	na[i] = 1;
#else
	fresh++;
	na[i] = fresh;
#endif
	/* make_nonce(): a MAC under the boot key over nonce_a */
	nb[i] = life;
	rna = na[i]; rnb = nb[i];
#ifndef M_NO_EXCHANGE
	/* hello_forward(): go on at the peer's rx_next, and expect the peer's tx_next */
	txn[i] = MAX(txn[i], rhigh);
#endif
	passed = rseen
}

inline transmit(i)		/* the mark is durable first: the other half of this file */
{
	disk[i] = MAX(disk[i], txn[i] + 1);
#ifdef P_PAIRS
	assert(!(sentin[USED_KEY(na[i], nb[i])] & (1 << txn[i])));
#endif
#ifdef P_PASSED
	/* The second line: what the peer has received is not used again, whatever the key. */
	assert(cloned || !(passed & (1 << txn[i])));
#endif
	sentin[USED_KEY(na[i], nb[i])] = sentin[USED_KEY(na[i], nb[i])] | (1 << txn[i]);
	txn[i]++
}

/* A packet of session (a, b), now or long ago: open_packet(). */
inline receive(a, b, s)
{
	if
	:: rna != 0 && USED_KEY(a, b) == USED_KEY(rna, rnb) && (sentin[USED_KEY(a, b)] & (1 << s)) &&
	   s >= rfloor && !(rseen & (1 << s)) ->
#ifdef P_TWICE
		assert(!(gotin[USED_KEY(a, b)] & (1 << s)));
#endif
		gotin[USED_KEY(a, b)] = gotin[USED_KEY(a, b)] | (1 << s);
#ifndef M_NO_WINDOW
		rseen = rseen | (1 << s);
#endif
		rhigh = MAX(rhigh, s + 1)
	:: else
	fi
}


active proctype world()
{
	byte s;

	on[0] = 1;
	do
	:: atomic { fresh < SESSIONS && on[0] -> handshake(0) }
	:: atomic { fresh < SESSIONS && on[1] -> handshake(1) }
	:: atomic { on[0] && na[0] != 0 && txn[0] < SEQS -> transmit(0) }
	:: atomic { on[1] && na[1] != 0 && txn[1] < SEQS -> transmit(1) }
	:: atomic { rna != 0 -> select(s : 0 .. (SEQS - 1)); receive(rna, rnb, s); s = 0 }
	/* the initiator dies; it starts from its disk, or from an old copy of it */
	:: atomic { on[0] -> on[0] = 0; na[0] = 0; nb[0] = 0; txn[0] = 0 }
	:: atomic { !on[0] -> on[0] = 1; txn[0] = disk[0] }
	:: atomic { !on[0] && copies < STARTS -> copies++; disk[0] = copy; on[0] = 1; txn[0] = disk[0] }
	:: atomic { copy != disk[0] && copies < STARTS -> copies++; copy = disk[0] }
	/* a clone begins to run, beside it or not */
	:: atomic { !cloned -> cloned = 1; on[1] = 1; disk[1] = disk[0]; txn[1] = disk[1] }
	/* the responder's mark follows when it likes; a start forgets sessions and window */
	:: atomic { rdisk < rhigh -> rdisk = rhigh }
	:: atomic { life < LIVES ->
		life++; rna = 0; rnb = 0; rseen = 0;
		rhigh = rdisk; rfloor = rdisk }
	/* all is quiet */
	:: break
	od
}
#endif
