/*
 * Storing pairings, and what recovers them: daemons/pairingd/session.c and peers.c, daemons/pskd/
 * tunnels.c and identity_client.c. Two devices that may be paired already pair up to RUNS times
 * more. Each run begins where both have sent their identities in the open channel: that its ends
 * are each other, and nobody else, is what pairing.pml shows.
 *
 * The relay loses and delays what it likes; a line ends, a deadline comes, a disk refuses, and
 * either pairingd or pskd dies, as often as they like and at any point between two durable steps.
 * Tunnels prove themselves on each side apart, by a packet that may have been sent long ago.
 *
 * Then it becomes calm: nobody dies any more, tunnels carry, and no person begins anew. The relay
 * may still deliver or not, since a deadline may be short. P_LIVE says that whatever happened, and
 * in whatever order the rest is done, it comes to rest and stays so: no run goes on, both have the
 * same pairing active or neither has one, its tunnel is the one that both have, and what is
 * unconfirmed on one side is not known to the other. There is no assumption of fairness beyond
 * that: no step of the calm can be repeated for ever.
 *
 * The bounds: RUNS; MAX_PREPARED for PEERS_PREPARED_MAX. Left out: names; forgetting and renaming by
 * command; backups; two runs at once; a root that pskd cannot take (max_tunnels, a full disk: it is
 * offered again); tunnels that a person takes down.
 *
 * -DM_NAME breaks it on purpose; -DP_NAME leaves only that property in.
 */
#ifndef RUNS
#define RUNS 2
#endif
#ifndef MAX_PREPARED
#define MAX_PREPARED 2
#endif

#if !defined(P_RECOVER) && !defined(P_EARLIER) && !defined(P_BOUND) && !defined(P_LIVE)
#define P_RECOVER
#define P_EARLIER
#define P_BOUND
#endif

/* Pairings are numbered on both sides in the order in which they were begun; sets of them are bits. */
#define EARLIER 1
#define BIT(r) (1 << (r))
#define LOWEST(v) ((v) & (0 - (v)))
#define FEWER(v) ((v) & ((v) - 1))	/* without the lowest */
#if MAX_PREPARED == 1
#define IS_FULL(v) ((v) != 0)
#define IS_OVER(v) (FEWER(v) != 0)
#elif MAX_PREPARED == 2
#define IS_FULL(v) (FEWER(v) != 0)
#define IS_OVER(v) (FEWER(FEWER(v)) != 0)
#else
#define IS_FULL(v) (FEWER(FEWER(v)) != 0)
#define IS_OVER(v) (FEWER(FEWER(FEWER(v))) != 0)
#endif

/* ---- pairingd: a run, in memory ---- */

byte made = EARLIER;		/* the newest that was begun */
bit going[2];			/* one goes on */
bit unsaid[2];			/* "prepared" has not left */
bit gotid[2], gotprep[2];	/* the peer's identity and "prepared" came */
bit stored[2];
/* what the relay holds of this run, for the other */
bit saidprep[2], saidabort[2];

/* ---- pairingd: peers.c ---- */

byte prep[2];			/* prepared rows */
byte act[2];			/* the active one, 0: none */
byte wait[2];			/* rows whose root was not moved */

/* ---- pskd ---- */

byte tun[2];			/* tunnels, durable */
byte base[2];			/* the one that is not a successor, 0: none */
byte up[2];			/* proven since this start */

/* ghosts */
byte held[2];			/* stored, and not lost for another reason than a newer one that is active */
byte met;			/* both had it at once: packets of it may be anywhere */
byte proven[2];			/* ever */
bit worked;			/* of one tunnel on both sides */
bit calm;

#define ROWS(d) (prep[d] | (act[d] != 0 -> BIT(act[d]) : 0))
#define HAS(v, r) (((v) & BIT(r)) != 0)
#define BASEBIT(d) (base[d] != 0 -> BIT(base[d]) : 0)

inline looks_fine()
{
	met = (met | (tun[0] & tun[1])) & (tun[0] | tun[1]);
#ifdef P_EARLIER
	/* Nobody who withholds messages takes a tunnel away that has worked: one is there, or its roots are. */
	assert(!worked || ((tun[0] | wait[0]) & (tun[1] | wait[1])) != 0)
#else
	skip
#endif
}

/* ---- peers.c ---- */

inline store(d)			/* peers_store() */
{
#ifdef M_REPLACED_LOST
	held[d] = held[d] & ~prep[d]; prep[d] = 0;
#endif
#ifdef M_FULL_REPLACES
	if
	:: IS_FULL(prep[d]) -> held[d] = held[d] & ~LOWEST(prep[d]); prep[d] = FEWER(prep[d])
	:: else
	fi;
#endif
	prep[d] = prep[d] | BIT(made);
	wait[d] = (wait[d] & ROWS(d)) | BIT(made);
	held[d] = held[d] | BIT(made);
	stored[d] = 1;
#ifdef P_BOUND
	/* Each takes room, and a tunnel in pskd. */
	assert(!IS_OVER(prep[d]))
#endif
}

inline activate(d, r)		/* peers_activate(), of one that is prepared */
{
#ifdef P_RECOVER
	/* Who shows "active" has a peer that has stored it. */
	assert(HAS(held[1 - d], r));
#endif
	act[d] = r;
#ifdef M_NEWER_LOST
	held[d] = held[d] & ~(prep[d] & ~BIT(r));
	prep[d] = 0;
#else
	prep[d] = prep[d] & ~(BIT(r + 1) - 1);
#endif
	wait[d] = wait[d] & ROWS(d)
}

inline remove_prepared(d, r)	/* peers_remove_prepared(); on_forgotten() of tunnels.c, or the next list */
{
	prep[d] = prep[d] & ~BIT(r);
	wait[d] = wait[d] & ROWS(d);
	held[d] = held[d] & ~BIT(r)
}

/* ---- a run: session.c, pairing_machine.c, pairing_receive.c ---- */

inline begin_runs()
{
	made++;
	going[0] = 1; going[1] = 1; unsaid[0] = 1; unsaid[1] = 1;
	gotid[0] = 0; gotid[1] = 0; gotprep[0] = 0; gotprep[1] = 0; stored[0] = 0; stored[1] = 0;
	saidprep[0] = 0; saidprep[1] = 0; saidabort[0] = 0; saidabort[1] = 0
}

inline over(d)
{
	going[d] = 0; unsaid[d] = 0; gotid[d] = 0; gotprep[d] = 0; stored[d] = 0
}

/* The line, the deadline, a stranger's packet, or pairingd dies: silence. */
inline end_run(d)
{
#ifdef M_TAKE_BACK
	if
	:: stored[d] && !unsaid[d] -> remove_prepared(d, made)
	:: else
	fi;
#endif
	over(d)
}

#ifdef M_FULL_REPLACES
#define MAY_STORE(d) (going[d] && gotid[d] && !stored[d])
#elif defined(M_UNBOUND)
#define MAY_STORE(d) (going[d] && gotid[d] && !stored[d])
#else
#define MAY_STORE(d) (going[d] && gotid[d] && !stored[d] && !IS_FULL(prep[d]))	/* PEERS_E_FULL */
#endif
#ifdef M_PREPARED_EARLY
#define MAY_SAY(d) (going[d] && gotid[d] && unsaid[d])
#else
#define MAY_SAY(d) (going[d] && stored[d] && unsaid[d])
#endif
#ifdef M_ACTIVE_EARLY
#define MAY_ACTIVATE(d) (going[d] && stored[d] && !unsaid[d])
#else
#define MAY_ACTIVATE(d) (going[d] && stored[d] && !unsaid[d] && gotprep[d])
#endif

/* ---- tunnels.c ---- */

inline take(d)			/* on_root(), identity_root_stored(), root_stored(): the oldest first */
{
	r = 1;
	do
	:: !HAS(wait[d], r) -> r++
	:: else -> break
	od;
	wait[d] = wait[d] & ~BIT(r);
#if defined(M_EARLIER_DROPPED)
	tun[d] = 0; base[d] = 0;
#elif defined(M_ONE_SUCCESSOR)
	tun[d] = BASEBIT(d);
#endif
	tun[d] = tun[d] | BIT(r);
	base[d] = (base[d] == 0 -> r : base[d]);
	up[d] = up[d] & tun[d];
	r = 0;
	looks_fine()
}

/* What no pairing holds up: on_listed(), on_forgotten(). A peer's base stays while the peer has a row. */
#define UNLISTED(d) (tun[d] & (255 - ROWS(d)) & (ROWS(d) != 0 -> 255 - BASEBIT(d) : 255))

inline drop(d)
{
	tun[d] = tun[d] - UNLISTED(d);
	up[d] = up[d] & tun[d];
	if
	:: base[d] != 0 && !HAS(tun[d], base[d]) -> base[d] = 0
	:: else
	fi;
	looks_fine()
}

inline succeed(d, r)
{
	tun[d] = tun[d] & ~BASEBIT(d);
	up[d] = up[d] & tun[d];
	base[d] = r;
	looks_fine()
}

/* A packet of the peer was authenticated there: on_proven(). */
#define IS_NEWS(d, r) (HAS(prep[d], r) || (act[d] == r && base[d] != r))
#define MAY_PROVE(d, r) (IS_NEWS(d, r) && HAS(tun[d], r) && !HAS(up[d], r) && (calm -> HAS(tun[1 - d], r) : HAS(met, r)))

inline prove(d, r)
{
	up[d] = up[d] | BIT(r);
	proven[d] = proven[d] | BIT(r);
#ifdef M_SUCCEED_UNASKED
	/* before pairingd has said that this one is not older than the other */
	if
	:: r != base[d] -> succeed(d, r)
	:: else
	fi
#endif
}

/* tunnel_tell_seen(), again at each start and connection until it was answered; peer_seen() */
#if defined(M_NO_RECOVERY)
#define MAY_TELL(d, r) 0
#elif defined(M_TOLD_ONCE)
byte told[2];
#define MAY_TELL(d, r) (HAS(up[d] & prep[d], r) && !HAS(told[d], r))
#else
#define MAY_TELL(d, r) HAS(up[d] & prep[d], r)
#endif
/* IDENTITY_OK came back: on_seen() */
#if defined(M_SUCCEED_UNASKED) || defined(M_NO_RECOVERY)
#define MAY_SUCCEED(d, r) 0
#else
#define MAY_SUCCEED(d, r) (act[d] == r && base[d] != r && HAS(up[d], r))
#endif

/* What cannot matter any more is forgotten: fewer states. */
inline tidy()
{
	worked = worked || (proven[0] & proven[1]) != 0 ||
		 (act[0] != 0 && act[0] == act[1] && base[0] == act[0] && base[1] == act[1]);
	proven[0] = (worked -> 0 : proven[0]); proven[1] = (worked -> 0 : proven[1]);
	held[0] = held[0] & (ROWS(1) | (going[1] -> BIT(made) : 0));
	held[1] = held[1] & (ROWS(0) | (going[0] -> BIT(made) : 0));
	up[0] = up[0] & (prep[0] | (act[0] != 0 && act[0] != base[0] -> BIT(act[0]) : 0));
	up[1] = up[1] & (prep[1] | (act[1] != 0 && act[1] != base[1] -> BIT(act[1]) : 0));
	saidprep[0] = saidprep[0] && going[1]; saidabort[0] = saidabort[0] && going[1];
	saidprep[1] = saidprep[1] && going[0]; saidabort[1] = saidabort[1] && going[0];
	/* spin -k model.pml.trail -DP_… tells the story */
	printf("%d calm %d: prep %d %d act %d %d wait %d %d tun %d %d base %d %d up %d %d met %d going %d %d worked %d\n", made, calm,
	       prep[0], prep[1], act[0], act[1], wait[0], wait[1], tun[0], tun[1], base[0], base[1], up[0], up[1], met, going[0], going[1], worked)
}

#define MAY_R(d, r) (MAY_PROVE(d, r) || MAY_TELL(d, r) || MAY_SUCCEED(d, r))
#define MAY_ANY(d) (going[d] || wait[d] || UNLISTED(d) || MAY_R(d, 1) || MAY_R(d, 2) || MAY_R(d, 3) || MAY_R(d, 4))

/* One step of one device. y: the other. */
inline step(d, y)
{
	if
	/* the relay delivers */
	:: going[d] && !gotid[d] -> gotid[d] = 1
	:: going[d] && gotid[d] && !gotprep[d] && saidprep[y] -> gotprep[d] = 1
	/* a sealed abort stands where "prepared" would: on_abort() */
	:: going[d] && gotid[d] && !gotprep[d] && saidabort[y] ->
		if
		:: stored[d] && !unsaid[d] -> remove_prepared(d, made)
		:: else
		fi;
		over(d)
#ifdef M_ABORT_IN_CLEAR
	:: !calm && going[d] && stored[d] && !unsaid[d] -> remove_prepared(d, made); over(d)
#endif
	/* PAIRING_DO_STORE: durable, or refused, which is said */
	:: MAY_STORE(d) -> store(d)
	:: going[d] && unsaid[d] && !stored[d] -> saidabort[d] = 1; over(d)
	:: MAY_SAY(d) -> unsaid[d] = 0; saidprep[d] = 1
	/* PAIRING_DO_ACTIVATE: durable, or not; the tunnel may have been first, or a newer one */
	:: MAY_ACTIVATE(d) ->
		if
		:: HAS(prep[d], made) -> activate(d, made)
		:: true
		fi;
		over(d)
	:: going[d] -> end_run(d)

	/* pskd */
	:: wait[d] != 0 -> take(d)
#ifdef M_ROOT_ONCE
	:: !calm && wait[d] != 0 -> wait[d] = 0
#endif
	:: UNLISTED(d) != 0 -> drop(d)
	:: MAY_R(d, 1) -> r = 1
	:: MAY_R(d, 2) -> r = 2
	:: MAY_R(d, 3) -> r = 3
	:: MAY_R(d, 4) -> r = 4
	fi;
	if
	:: r == 0
	:: r != 0 && MAY_PROVE(d, r) -> prove(d, r)
	:: r != 0 && MAY_TELL(d, r) -> activate(d, r)
#ifdef M_TOLD_ONCE
	:: !calm && r != 0 && MAY_TELL(d, r) -> told[d] = told[d] | BIT(r)
#endif
	:: r != 0 && MAY_SUCCEED(d, r) -> succeed(d, r)
	fi;
	r = 0;
	tidy()
}

active proctype world()
{
	byte r;

	atomic {
		if
		:: true
		:: act[0] = EARLIER; act[1] = EARLIER; base[0] = EARLIER; base[1] = EARLIER;
			tun[0] = BIT(EARLIER); tun[1] = BIT(EARLIER); met = BIT(EARLIER);
			held[0] = BIT(EARLIER); held[1] = BIT(EARLIER);
			worked = 1
		fi
	}

	do
	:: atomic { !calm -> calm = 1 }

	/* two people */
	:: atomic { !calm && !going[0] && !going[1] && made <= RUNS -> begin_runs() }

	:: atomic { MAY_ANY(0) -> step(0, 1) }
	:: atomic { MAY_ANY(1) -> step(1, 0) }

	/* pskd dies, with what it had proven */
	:: atomic { !calm && up[0] -> up[0] = 0 }
	:: atomic { !calm && up[1] -> up[1] = 0 }
	od
}

#ifdef P_LIVE
#define AT_REST (!going[0] && !going[1] && act[0] == act[1] && (prep[0] & prep[1]) == 0 && \
		 (act[0] == 0 || (base[0] == act[0] && base[1] == act[0])))
ltl recovers { (<> calm) -> <> [] AT_REST }
#endif
