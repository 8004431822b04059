/*
 * handfast-tunnel(7), GENERATIONS OF KEY FILES, as daemons/pskd/tunnel/stage.c, retire.c and path.c run it:
 * file 1 is in use, file 2 is staged on each side by a person, who may take it back once and stage it
 * again. Either pskd dies at any moment between steps that are durable, and begins again with
 * what it had written. The network loses, delays and reorders BINDs and data.
 *
 *   make      HELLO and WELCOME in one step, see handshake.pml: both have the file. The initiator
 *             knows the session, and its BIND is on the way.
 *   bind      the BIND comes to a responder of the same life that still has the file: it is
 *             pending there, or staged.
 *   data      in the session that a side sends in, or (the responder's answer to a BIND, also
 *             again) in one that is not proven. What it comes to accepts it in any session that
 *             it has: current, pending, staged, before, or of the file before (old).
 *   write     the switch becomes durable (save_switch()); before that a life that begins has both files
 *   retire    the old file's sessions end when nothing of them was heard for long: nothing is on the
 *             way so long, and a peer that still sends in them is heard, and sent a proof
 *             (repeat_proof()). After that the old ledger is finished, see ledger.pml.
 *
 * P_USED:  a finished file is never sent with, nor agreed on, again.
 * P_LOST:  what a side sends in its session is accepted, unless a side died, took its staged file
 *          back, or agreed twice on another session, while it was on the way.
 * P_LIVE:  in the end it may become calm, once both sides have file 2: nobody dies, nobody takes it back,
 *          and the network delivers what comes from then on; of what is on its way until then it may lose
 *          what it likes. Then both come to send in one session of file 2, have that written down and file 1
 *          finished, and stay so, within CALM_TRIES attempts. Fairness: what goes on for ever in pskd (rounds
 *          of HELLOs, keepalives, the timer that writes and retires) is one step here, which is there while
 *          it has something to do, and rounds begin when nothing else moves: they wait for seconds. So no step of the
 *          calm can be repeated for ever, and all orders of them are looked at.
 *
 * Left out: sequences, keys and windows (ledger.pml, handshake.pml: each file has its own), numbers of
 * sessions mod 256, addresses, a file that is used up or lost at a start.
 *
 * -DM_NAME breaks it on purpose; -DP_NAME leaves only that property in.
 */
#if !defined(P_USED) && !defined(P_LOST) && !defined(P_LIVE)
#define P_USED
#define P_LOST
#endif

#ifndef SESSIONS
#define SESSIONS 3
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef BACKS
#define BACKS 1			/* a staged file is taken back */
#endif
#ifdef P_LIVE
#define CALM_TRIES 1
#else
#define CALM_TRIES 0
#endif
#define N (SESSIONS + CALM_TRIES + 1)

#define I 0
#define R 1

/* durable */
byte cur[2];			/* the tunnel's file; 0 is read as 1 */
bool staged[2], finished[2];

/* in memory */
bool on[2];
byte now[2], pend[2], stg[2], before[2], old[2]; /* sessions; 0: none */
bool unwritten[2];		/* switched, and not yet durable */

/* the network, and what is true of sessions */
byte made;
byte file[N];
byte life[2];
byte bornin[N];			/* the responder's life when it was made */
bool binding[N], spoilt[N];	/* the BIND is on the way; a side died since, or it is long past */
bool onway[2 * N];		/* of side i in session s: 2 * s + i */
bool answer[2 * N];		/* and it is an answer to a BIND alone */
byte deaths, backs;
bit calm;

#ifdef P_LOST
#define SPOIL(x) spoilt[x] = true
#else
#define SPOIL(x) skip
#endif

#define USES(i) (unwritten[i] -> 2 : cur[i])
#define HAS(i, f) (USES(i) == f || (f == 2 && staged[i] && !unwritten[i]))
#define KNOWS(i, s) (now[i] == s || pend[i] == s || stg[i] == s || before[i] == s || old[i] == s)

inline forget(i)
{
	now[i] = 0; pend[i] = 0; stg[i] = 0; before[i] = 0; old[i] = 0; unwritten[i] = false;
	d_step {
		s = 1;
		do
		:: s < N -> SPOIL(s); s++
		:: else -> break
		od;
		s = 0
	}
}

/* stage_on_switched(), path_switch() */
inline promote(i, x)
{
	if
	:: stg[i] == x ->
#ifdef M_OLD_DROPPED
		old[i] = 0;
#else
		old[i] = now[i];
#endif
		now[i] = x; stg[i] = 0;
#ifdef M_PENDING_DROPPED
		pend[i] = 0;
#endif
		if
		:: pend[i] != 0 ->
			if
			:: before[i] != 0 -> SPOIL(before[i])
			:: else
			fi;
			before[i] = pend[i]; pend[i] = 0
		:: else
		fi;
		unwritten[i] = true
	:: pend[i] == x ->
		if
		:: before[i] != 0 -> SPOIL(before[i])
		:: else
		fi;
		before[i] = now[i]; now[i] = x; pend[i] = 0
	:: else
	fi
}

/* on_session(): one that was not proven yet makes room, so two agreements in one flight lose what is in it. */
inline learn(i, x)
{
	if
	:: USES(i) == file[x] -> SPOIL(pend[i]); pend[i] = x
	:: else -> SPOIL(stg[i]); stg[i] = x
	fi
}

/* What was staged is read from the disk: with what a life has used before. */
inline start(i)
{
	on[i] = true;
#ifdef M_STAGED_NOT_OPENED
	if
	:: cur[i] != 2 -> staged[i] = false
	:: else
	fi
#endif
}

inline write(i)			/* save_switch() */
{
	unwritten[i] = false; cur[i] = 2; staged[i] = false
}

inline make(f)
{
	made++;
	file[made] = f;
	bornin[made] = life[R];
	binding[made] = true;
#ifdef P_USED
	assert(!finished[I] || f != 1);
	assert(!finished[R] || f != 1);
#endif
	learn(I, made)
}

inline send(i, x)
{
#ifdef P_USED
	assert(!(finished[i] && file[x] == 1));
#endif
#ifdef P_LOST
	answer[2 * x + i] = now[i] != x && (!onway[2 * x + i] || answer[2 * x + i]);
#endif
	onway[2 * x + i] = true
}

inline receive(i, x)
{
	onway[2 * x + 1 - i] = false;
	if
	:: KNOWS(i, x) -> promote(i, x)
	:: else ->
#ifdef P_LOST
		assert(spoilt[x] || answer[2 * x + 1 - i]);
#endif
		skip
	fi
}

/* retire.c; the proof that repeat_proof() sends is the data that comes next. */
inline retire(i)
{
	old[i] = 0;
	if
	:: before[i] != 0 && file[before[i]] == 1 -> before[i] = 0
	:: else
	fi;
	finished[i] = true
}

/* Nothing is on the way for as long as that, either way, and who still sends in it is heard. */
#define LIVES(i, s) (s != 0 && file[s] == 1 && (onway[2 * s] || onway[2 * s + 1] || (on[1 - i] && now[1 - i] == s)))
#ifdef M_RETIRE_AT_ONCE
#define WAITED(i) false
#else
#define WAITED(i) (LIVES(i, old[i]) || LIVES(i, before[i]))
#endif
#ifdef M_RETIRE_UNWRITTEN
#define WRITTEN(i) true
#else
#define WRITTEN(i) !unwritten[i]
#endif
#define MAY_RETIRE(i) (on[i] && USES(i) == 2 && WRITTEN(i) && !finished[i] && !WAITED(i))

/* What moves when it is calm: each step of these takes something away that only the bounded ones bring. */
#define IS_TAKEN(s) (on[R] && bornin[s] == life[R] && HAS(R, file[s]) && now[R] != (s))
#define IS_PROOF(i) (on[0] && on[1] && now[i] != 0 && !onway[2 * now[i] + i] && (pend[1 - i] == now[i] || stg[1 - i] == now[i]))
#define ANY_OF(s) (binding[s] || onway[2 * (s)] || onway[2 * (s) + 1])
#if SESSIONS + CALM_TRIES > 4
#error QUIET looks at four sessions
#elif SESSIONS + CALM_TRIES > 3
#define FOURTH ANY_OF(4)
#else
#define FOURTH false
#endif
#define QUIET (!ANY_OF(1) && !ANY_OF(2) && !ANY_OF(3) && !FOURTH && !IS_PROOF(I) && !IS_PROOF(R))
#define CALM (calm && on[I] && on[R])
#define IS_COMMON (now[I] != 0 && now[I] == now[R] && file[now[I]] == 2)
#ifdef M_ASKED_ONCE
#define MAY_ASK (stg[I] == 0 && pend[I] == 0)
#else
#define MAY_ASK true
#endif
#define SETTLED (IS_COMMON && cur[I] == 2 && cur[R] == 2 && finished[I] && finished[R])

/* One of what is on the way in session x. */
inline deliver(x)
{
	if
	:: binding[x] ->
		binding[x] = false;
		if
		:: IS_TAKEN(x) -> learn(R, x); send(R, x)
		:: else
		fi
	:: onway[2 * x + I] -> receive(R, x)
	:: onway[2 * x + R] -> receive(I, x)
	fi
}

active proctype world()
{
	byte i, s;

	cur[I] = 1; cur[R] = 1; on[I] = true; on[R] = true; life[I] = 1; life[R] = 1;
	do
	/* people */
	:: atomic { !calm -> select(i : 0 .. 1); if :: on[i] && USES(i) == 1 && !staged[i] -> staged[i] = true :: else fi; i = 0 }
	:: atomic { !calm && backs < BACKS -> select(i : 0 .. 1);
		if
		:: on[i] && staged[i] && !unwritten[i] && cur[i] == 1 ->
			backs++; staged[i] = false; if :: stg[i] != 0 -> SPOIL(stg[i]); stg[i] = 0 :: else fi
		:: else
		fi; i = 0 }
	/* handshakes: of either file, while there is something to agree on */
	:: atomic { on[I] && on[R] && made < SESSIONS && HAS(I, 1) && HAS(R, 1) && USES(I) == 1 && USES(R) == 1 -> make(1) }
	:: atomic { !calm && on[I] && on[R] && made < SESSIONS && HAS(I, 2) && HAS(R, 2) -> make(2) }
	:: atomic { !calm && made > 0 -> select(s : 1 .. SESSIONS);
		if
		:: binding[s] && IS_TAKEN(s) -> binding[s] = false; learn(R, s); send(R, s)
		:: binding[s] && s != made -> binding[s] = false
		:: else
		fi; s = 0 }
	/* data */
	:: atomic { !calm -> select(i : 0 .. 1); if :: on[i] && now[i] != 0 && !onway[2 * now[i] + i] -> s = now[i]; send(i, s) :: else fi; i = 0; s = 0 }
	:: atomic { !calm -> select(s : 1 .. SESSIONS); select(i : 0 .. 1);
		if :: onway[2 * s + 1 - i] && on[i] -> receive(i, s) :: onway[2 * s + 1 - i] && !on[i] -> onway[2 * s + 1 - i] = false :: else fi;
		i = 0; s = 0 }
	/* disks */
	:: atomic { on[I] && unwritten[I] -> write(I) }
	:: atomic { on[R] && unwritten[R] -> write(R) }
	:: atomic { MAY_RETIRE(I) -> retire(I) }
	:: atomic { MAY_RETIRE(R) -> retire(R) }
	/* deaths */
	:: atomic { !calm && deaths < DEATHS -> select(i : 0 .. 1);
		if :: on[i] -> deaths++; on[i] = false; forget(i); if :: i == R -> life[R]++ :: else fi :: else fi; i = 0 }
	:: atomic { !on[I] -> start(I) }
	:: atomic { !on[R] -> start(R) }
#ifdef P_LIVE
	:: atomic { !calm && HAS(I, 2) && HAS(R, 2) -> calm = 1 }
	/* lost */
	:: atomic { !calm && made > 0 -> select(s : 1 .. SESSIONS); select(i : 0 .. 1); onway[2 * s + i] = false; s = 0; i = 0 }
	:: atomic { !calm && made > 0 -> select(s : 1 .. SESSIONS); binding[s] = false; s = 0 }

	/* a calm network; what is above without !calm goes on, too */
	:: atomic { CALM && ANY_OF(1) -> deliver(1) }
	:: atomic { CALM && ANY_OF(2) -> deliver(2) }
	:: atomic { CALM && ANY_OF(3) -> deliver(3) }
	:: atomic { CALM && FOURTH -> deliver(4) }
	:: atomic { CALM && IS_PROOF(I) -> send(I, now[I]) }
	:: atomic { CALM && IS_PROOF(R) -> send(R, now[R]) }
	:: atomic { CALM && QUIET && HAS(I, 2) && HAS(R, 2) && !IS_COMMON && MAY_ASK && made < SESSIONS + CALM_TRIES -> make(2) }
#else
	:: break
#endif
	od
}

#ifdef P_LIVE
ltl switches { (<> calm) -> <> [] SETTLED }
#endif
