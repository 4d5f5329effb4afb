/* SPDX-License-Identifier: MIT */
/*
 * A model of the incremental cycle: one mutator, one collector, a few addresses.
 *
 * One process takes one step after the other, each indivisible: any step of the
 * mutator or the next slice of the collector. So spin explores every interleaving,
 * for runs of any length, over any number of cycles; only the sizes below are bounded.
 * It checks invariants 2, 3 and 5 of the protocol as assertions, which carry their
 * numbers as names (holds). docs/model.md says what is modelled and what is not;
 * run_model.py lists the configurations, the seeded faults (FAULT_...), and situations
 * that must occur for the check to mean anything (WITNESS_...). It fails if a fault
 * goes unnoticed or a situation does not occur.
 *
 * A set of addresses is a byte, bit a for address a. Address 0 is no object (NULL).
 */

#ifndef OBJECTS
#define OBJECTS 3       /* addresses, at most 6 */
#endif
#ifndef SLOTS
#define SLOTS 1         /* references in each object, 1 or 2 */
#endif
/* Further switches: WEAK (a weak reference), LISTING (the mutator can list all objects),
 * FINALIZERS (how many objects at once may have one), KEEPS_WEAKREFS (they are left for
 * finalizers to use), FREE_LIST (the host keeps freed objects and hands them out again
 * without a word to the collector), GROUPS (suspects are verified group by group), SNAPSHOT
 * (a child marks, on a copy of the memory, or fails to). */

#define BIT(a) (1 << (a))
#define IN(set, a) (((set) >> (a)) & 1)
#define SLOT(a, s) slot[(a) * SLOTS + (s)]

/* ---- The mutator's objects. */

byte count[OBJECTS + 1];            /* reference counts */
byte slot[(OBJECTS + 1) * SLOTS];   /* references; those of one object are kept in order */
byte tracked;                       /* live objects; the host tracks all of them */
byte finalizable;                   /* has a finalizer that has not run */
byte known;                         /* a variable that is one of the known roots */
byte unknown;                       /* one that is not, such as a variable of C code */
byte argument;                      /* what the finalizer that runs was called with */
byte weak;                          /* the referent of a weak reference */

/* ---- The collector's side tables. */

byte old, white, grey;              /* bits per address; not old: young */
byte stack;                         /* room for one address: the rest get grey bits */
bit stale;                          /* only for an assertion: that address has been freed since */
/* gc_refs of the filter, and ZERO, since references may be subtracted before the count is
 * added; stale numbers stay. */
#define ZERO 16
byte refs[OBJECTS + 1] = ZERO;
#ifdef GROUPS
byte group[OBJECTS + 1];            /* the lowest address of its group; stale numbers stay */
#endif
#ifdef SNAPSHOT
byte report;                        /* what was old and not reached when the child was made */
bit has_child;
#ifdef WITNESS_REUSED
byte fresh;                         /* allocated since the child was made */
#endif
#endif
byte dying;                         /* found dead, while finalizers run; one reference is held */
byte condemned;                     /* the queue of those to clear */
byte held;                          /* of the dying and the queue: one reference is held */
byte kept;                          /* of the queue: cleared, something still refers to them */

#define IDLE 0
#define WHITEN 1
#define MARK 2
#define GROUP 3
#define UNWHITEN 4
#define GROUP_AGAIN 5
#define VERIFY 6
#define FINALIZE 7
#define CLEAR 8
#define AWAIT 9
#define TAKE 10
byte phase;
byte at;                            /* how far a phase that goes by addresses has got */

/* Only for assertions: what was garbage when the cycle began, has not been
 * reclaimed since, and has not been revived. */
byte doomed;

/* ---- What no state depends on: scratch of the steps, and names for assertions. */

hidden byte item, edge, target, chosen, falling, reach_set, so_far, candidates, dead, other;
hidden byte trial_refs[OBJECTS + 1];
hidden byte is_stale;
hidden byte invariant_2, invariant_3, invariant_5, counts_are_right, memory_is_valid;
hidden byte witness;

/* The checker prints the expression, and with it the name. */
#define holds(name, condition) assert((condition) || name)

#define SUSPECTS (white & old & tracked)

/* reachable := all that the mutator can reach through its variables. */
inline reach() {
    reach_set = (BIT(known) | BIT(unknown) | BIT(argument)) & ~1;
    reach_closure();
}

inline reach_closure() {
    so_far = 0;
    do
    :: reach_set == so_far -> break
    :: else ->
        so_far = reach_set;
        for (item : 1 .. OBJECTS) {
            if
            :: IN(reach_set, item) ->
                for (edge : 0 .. SLOTS - 1) { reach_set = (reach_set | BIT(SLOT(item, edge))) & ~1 }
            :: else
            fi
        }
    od
}

/* Something other than a reference gave the mutator `a`: it is revived, with all it reaches. */
inline revive(a) {
    reach_set = BIT(a);
    reach_closure();
    doomed = doomed & ~reach_set;
}

/* Counts equal references, the collector's own included. */
inline check_counts() {
    for (item : 1 .. OBJECTS) {
        other = (known == item) + (unknown == item) + (argument == item);
#ifndef FAULT_NO_HOLD
        other = other + IN(held, item);
#endif
        for (target : 1 .. OBJECTS) {
            for (edge : 0 .. SLOTS - 1) { other = other + (SLOT(target, edge) == item) }
        }
        holds(counts_are_right, count[item] == other);
        holds(counts_are_right, IN(tracked, item) == (other > 0));
    }
}

inline check_tables() {
#ifndef FREE_LIST
    holds(invariant_5, ((old | white | grey) & ~tracked) == 0);
#endif
    holds(invariant_5, ((old | white | grey) & (condemned | dying)) == 0)
}

/* The block of `a` goes back to the heap: its bits are cleared. The interpreter's own
 * free lists do not tell, and the bits stay: then the object is only no longer tracked. */
inline free_block(a) {
    holds(memory_is_valid, IN(tracked, a));
    holds(invariant_5, !IN(condemned | dying, a));
    tracked = tracked & ~BIT(a);
    finalizable = finalizable & ~BIT(a);
    doomed = doomed & ~BIT(a);
    if
    :: weak == a -> weak = 0
    :: else
    fi;
#ifndef FREE_LIST
#ifndef FAULT_FREE_KEEPS_OLD
    old = old & ~BIT(a);
#endif
#ifndef FAULT_FREE_KEEPS_WHITE
    white = white & ~BIT(a);
#endif
#ifndef FAULT_FREE_KEEPS_GREY
    grey = grey & ~BIT(a);
#endif
#endif
    if
    :: stack == a -> stale = 1
    :: else
    fi
}

/* One reference to `a` less. At zero it is freed, and with it what only it referred to. */
inline release(a) {
    holds(memory_is_valid, count[a] > 0);
    count[a]--;
    falling = 0;
    if
    :: count[a] == 0 -> falling = BIT(a)
    :: else
    fi;
    do
    :: falling == 0 -> break
    :: else ->
        chosen = 1;
        do
        :: IN(falling, chosen) -> break
        :: else -> chosen++
        od;
        falling = falling & ~BIT(chosen);
        free_block(chosen);
        for (edge : 0 .. SLOTS - 1) {
            target = SLOT(chosen, edge);
            SLOT(chosen, edge) = 0;
            if
            :: target != 0 ->
                count[target]--;
                if
                :: count[target] == 0 -> falling = falling | BIT(target)
                :: else
                fi
            :: else
            fi
        }
    od;
    skip    /* A step that is indivisible must not end in a loop. */
}

/* The order of an object's slots means nothing: one order instead of two. */
inline sort_slots(a) {
#if SLOTS == 2
    if
    :: SLOT(a, 0) < SLOT(a, 1) ->
        target = SLOT(a, 0);
        SLOT(a, 0) = SLOT(a, 1);
        SLOT(a, 1) = target
    :: else
    fi
#else
    skip
#endif
}

/* ---- Steps of the mutator. It runs at any time, in a finalizer that the collector
 * calls, but not in the rest of an indivisible step. A variable is emptied before it
 * is set anew, which loses nothing: in between, any other step may come. */

#ifdef FAULT_YOUNG_AT_BEGIN
#define AGES_MATTER true
#else
#define AGES_MATTER (phase >= WHITEN && phase <= UNWHITEN || phase >= AWAIT)
#endif

#define RUNS (phase != FINALIZE || argument != 0)

/* What the mutator gets must not have been given up. */
inline take(variable, a) {
    holds(invariant_2, IN(tracked, a) && !IN(condemned, a));
    count[a]++;
    variable = a;
}

#define ALLOCATE(a) \
    :: d_step { RUNS && known == 0 && !IN(tracked, a) -> create(a) }
#ifdef FINALIZERS
#define ALLOCATE_FINALIZABLE(a) \
    :: d_step { RUNS && known == 0 && !IN(tracked, a) && may_be_finalizable -> \
                create(a); finalizable = finalizable | BIT(a) }
#else
#define ALLOCATE_FINALIZABLE(a)
#endif
#if FINALIZERS > 1
#define may_be_finalizable true
#else
#define may_be_finalizable (finalizable == 0)
#endif

inline create(a) {
#ifndef FREE_LIST
    holds(invariant_5, !IN(old | white | grey, a));
#endif
    holds(memory_is_valid, count[a] == 0);
    tracked = tracked | BIT(a);
#ifdef WITNESS_REUSED
    fresh = fresh | (has_child << a);
#endif
    count[a] = 1;
    known = a;
    if
    :: !AGES_MATTER -> old = old | BIT(a)
    :: else
    fi
}

/* A young collection promotes what survives it. Between whitening and the end of the
 * filter the step for one object stands for that. When all suspects are known and until
 * the next cycle begins, which promotes all, nothing depends on who is young: then all
 * are old, which saves states. */
#define PROMOTE(a) \
    :: d_step { AGES_MATTER && IN(tracked & ~(old | condemned | dying), a) -> \
                old = old | BIT(a) }

/* Some function lists all objects, those that are garbage too; not the hidden ones. */
#ifdef FAULT_NOT_HIDDEN
#define LISTED tracked
#else
#define LISTED (tracked & ~(condemned | dying))
#endif
#ifdef LISTING
#define LIST(a) \
    :: d_step { RUNS && known == 0 && IN(LISTED, a) -> revive(a); take(known, a) }
#else
#define LIST(a)
#endif

#define EACH_OBJECT(STEP) STEP(1) STEP(2) STEP(3) EACH_MORE(STEP)
#if OBJECTS == 2
#undef EACH_OBJECT
#define EACH_OBJECT(STEP) STEP(1) STEP(2)
#elif OBJECTS == 3
#define EACH_MORE(STEP)
#elif OBJECTS == 4
#define EACH_MORE(STEP) STEP(4)
#elif OBJECTS == 5
#define EACH_MORE(STEP) STEP(4) STEP(5)
#else
#define EACH_MORE(STEP) STEP(4) STEP(5) STEP(6)
#endif

#define COPY(from, to) \
    :: d_step { RUNS && from != 0 && to == 0 -> take(to, from) }
#define DROP(variable) \
    :: d_step { RUNS && variable != 0 -> item = variable; variable = 0; release(item) }
#define LOAD(from, number, to) \
    :: d_step { RUNS && from != 0 && to == 0 && SLOT(from, number) != 0 -> \
                item = SLOT(from, number); take(to, item) }
#define STORE(from, to, number) \
    :: d_step { RUNS && from != 0 && to != 0 && SLOT(to, number) == 0 -> \
                count[from]++; SLOT(to, number) = from; sort_slots(to) }
#define EMPTY(variable, number) \
    :: d_step { RUNS && variable != 0 && SLOT(variable, number) != 0 -> \
                item = SLOT(variable, number); SLOT(variable, number) = 0; \
                sort_slots(variable); release(item) }
#if SLOTS == 2
#define EACH_LOAD(from, to) LOAD(from, 0, to) LOAD(from, 1, to)
/* An empty slot is the last one. */
#define EACH_STORE(from, to) STORE(from, to, 1)
#define EACH_EMPTY(variable) EMPTY(variable, 0) EMPTY(variable, 1)
#else
#define EACH_LOAD(from, to) LOAD(from, 0, to)
#define EACH_STORE(from, to) STORE(from, to, 0)
#define EACH_EMPTY(variable) EMPTY(variable, 0)
#endif

/* ---- Slices of the collector. */

/* An edge to `a`. */
inline mark(a) {
    if
    :: a != 0 && IN(white, a) ->
        white = white & ~BIT(a);
        push(a)
    :: else
    fi
}

inline push(a) {
    if
    :: stack == 0 -> stack = a
    :: else -> grey = grey | BIT(a)
    fi
}

/* Pops one grey object and traverses it, unless it has been freed meanwhile. */
inline mark_next() {
    if
    :: stack != 0 ->
        chosen = stack;
        stack = 0;
        is_stale = stale;
        stale = 0
    :: else ->
        chosen = 1;
        do
        :: IN(grey, chosen) -> break
        :: else -> chosen++
        od;
        grey = grey & ~BIT(chosen);
        is_stale = 0;
#ifdef WITNESS_GREY
        holds(witness, false);
#endif
    fi;
    if
#ifndef FAULT_POP_WITHOUT_TEST
    :: !IN(old & tracked, chosen) -> skip
#endif
    :: else ->
        holds(memory_is_valid, IN(tracked, chosen));
#ifdef WITNESS_STALE
        holds(witness, !is_stale);
#endif
        for (edge : 0 .. SLOTS - 1) {
            target = SLOT(chosen, edge);
            mark(target)
        }
    fi
}

#ifdef SNAPSHOT
/* The child, which is alone with its copy: all at once. It follows what is old. */
inline make_child() {
    reach_set = BIT(known) & old;
    so_far = 0;
    do
    :: reach_set == so_far -> break
    :: else ->
        so_far = reach_set;
        for (item : 1 .. OBJECTS) {
            if
            :: IN(reach_set, item) ->
                for (edge : 0 .. SLOTS - 1) { reach_set = reach_set | (BIT(SLOT(item, edge)) & old) }
            :: else
            fi
        }
    od;
    report = old & ~reach_set;
    has_child = 1
}

inline drop_report() {
    report = 0;
#ifdef WITNESS_REUSED
    fresh = 0;
#endif
    has_child = 0
}
#endif

/* dead := those of `candidates` that nothing outside leads to; exact. The collector
 * holds `own` references on each. */
inline trial_deletion(own) {
    for (item : 1 .. OBJECTS) { trial_refs[item] = (IN(candidates, item) -> count[item] - own : 0) }
    for (item : 1 .. OBJECTS) {
        if
        :: IN(candidates, item) ->
            for (edge : 0 .. SLOTS - 1) {
                target = SLOT(item, edge);
                if
                :: target != 0 && IN(candidates, target) ->
                    holds(counts_are_right, trial_refs[target] > 0);
                    trial_refs[target]--
                :: else
                fi
            }
        :: else
        fi
    }
#ifdef FAULT_TRUST_FILTER
    for (item : 1 .. OBJECTS) { trial_refs[item] = (own == 0 -> refs[item] - ZERO : trial_refs[item]) }
#endif
    reach_set = 0;
    for (item : 1 .. OBJECTS) { reach_set = reach_set | ((IN(candidates, item) && trial_refs[item] > 0) << item) }
#ifndef FAULT_NO_RESCUE
    reach_closure();
#endif
    dead = candidates & ~reach_set;
#ifdef FAULT_TRUST_MARKS
    dead = (own == 0 -> candidates : dead);
#endif
}

inline clear_weak() {
    if
    :: weak != 0 && IN(dead, weak) -> weak = 0
    :: else
    fi
}

/* The dead are given up: from here on nothing may lead to them. */
inline condemn() {
    reach();
#ifdef WITNESS_DOOMED
    holds(witness, (dead & doomed) == 0);
#endif
    holds(invariant_2, (dead & reach_set) == 0);
    condemned = condemned | dead;
}

/* The collector takes a reference, if `is_one`. */
inline hold(a, is_one) {
#ifndef FAULT_NO_HOLD
    count[a] = count[a] + is_one;
#endif
    held = held | (is_one << a)
}

/* Verifies `candidates` and begins to reclaim the dead. */
inline verify() {
    check_counts();
    check_tables();
    trial_deletion(0);
#ifdef WITNESS_FALSE_SUSPECT
    holds(witness, dead == candidates);
#endif
    old = old & ~dead;
    white = white & ~dead;
    grey = grey & ~dead;
#if !defined(KEEPS_WEAKREFS) && !defined(FAULT_NO_FIRST_CLEAR)
    clear_weak();
#endif
    if
    :: (dead & finalizable) != 0 ->
        for (item : 1 .. OBJECTS) { hold(item, IN(dead, item)) }
        dying = dead;
        phase = FINALIZE
    :: else ->
        /* No code runs that could free any of them: they are held later. */
#if defined(KEEPS_WEAKREFS) && !defined(FAULT_NO_SECOND_CLEAR)
        clear_weak();
#endif
        condemn()
    fi
}

/* When the finalizers have run: what they revived becomes old again. */
inline verify_again() {
    candidates = dying;
#ifdef FAULT_NO_SECOND_VERIFY
    dead = dying;
#else
    check_counts();
    trial_deletion(1);
#endif
    other = dying & ~dead;
#ifdef WITNESS_REVIVED
    holds(witness, other == 0);
#endif
#ifdef WITNESS_WEAK_AGAIN
    holds(witness, weak == 0 || !IN(dead, weak));
#endif
    dying = 0;
    held = held & ~other;
    old = old | other;
    for (item : 1 .. OBJECTS) { count[item] = count[item] - IN(other, item) }
#ifndef FAULT_NO_SECOND_CLEAR
    clear_weak();
#endif
    condemn();
    phase = VERIFY;
}

/* Holds the first object of the queue that is not held. All are, before any is cleared. */
inline hold_next() {
    other = 1;
    do
    :: IN(condemned & ~held, other) -> break
    :: else -> other++
    od;
    hold(other, 1);
#ifdef WITNESS_HELD_LATER
    holds(witness, known == 0);
#endif
}

/* Clears the first object of the queue. */
inline clear_next() {
    other = 1;
    do
    :: IN(condemned & ~kept, other) -> break
    :: else -> other++
    od;
    holds(memory_is_valid, IN(tracked, other));
#ifdef FAULT_HOLD_ONE_BY_ONE
    hold(other, !IN(held, other));
#endif
    item = other;
    clear_slot(other, 0);
#if SLOTS == 2
    clear_slot(other, 0);
#endif
#ifdef FAULT_NO_HOLD
    condemned = condemned & ~BIT(other);
    held = held & ~BIT(other);
#else
    if
    :: count[other] > 1 -> kept = kept | BIT(other)
    :: else ->
        condemned = condemned & ~BIT(other);
        held = held & ~BIT(other);
        release(other)
    fi
#endif
}

inline clear_slot(a, number) {
    if
    :: SLOT(a, number) != 0 ->
        item = SLOT(a, number);
        SLOT(a, number) = 0;
        sort_slots(a);
        release(item)
    :: else
    fi
}

/* Releases what was kept: nothing refers to it any more. */
inline release_kept() {
    for (other : 1 .. OBJECTS) {
        if
        :: IN(kept, other) ->
#ifdef WITNESS_KEPT
            holds(witness, false);
#endif
            holds(invariant_2, count[other] == 1);
            kept = kept & ~BIT(other);
            condemned = condemned & ~BIT(other);
            held = held & ~BIT(other);
            release(other)
        :: else
        fi
    }
}

/* The tables are given back. The ghost of invariant 3 is judged when the queue is empty. */
inline drop_tables() {
    white = 0;
    grey = 0;
#ifdef SNAPSHOT
    drop_report();
#endif
    stack = 0;
    stale = 0;
    at = 0;
#ifndef FAULT_YOUNG_AT_BEGIN
    old = old | (tracked & ~condemned);
#endif
    for (item : 1 .. OBJECTS) {
        refs[item] = ZERO;
#ifdef GROUPS
        group[item] = 0
#endif
    }
}

#ifdef GROUPS
/* The suspect `at` and those that it refers to are in one group. */
inline join_groups() {
    if
    :: IN(SUSPECTS, at) ->
        if
        :: group[at] == 0 -> group[at] = at
        :: else
        fi;
#ifndef FAULT_NO_EDGES_IN_GROUPS
        for (edge : 0 .. SLOTS - 1) {
            target = SLOT(at, edge);
            if
            :: target != 0 && IN(SUSPECTS, target) ->
                if
                :: group[target] == 0 -> group[target] = group[at]
                :: else ->
                    /* Two groups are one: the lower number stays. */
                    chosen = (group[target] < group[at] -> group[target] : group[at]);
                    other = (group[target] < group[at] -> group[at] : group[target]);
                    for (item : 1 .. OBJECTS) { group[item] = (group[item] == other -> chosen : group[item]) }
                fi
            :: else
            fi
        }
#endif
    :: else
    fi
}
#endif

/* Nobody asks for ages until the next cycle begins; nor for what the filter has counted. */
inline all_suspects_known() {
#ifndef FAULT_YOUNG_AT_BEGIN
    old = old | (tracked & ~condemned);
#endif
#ifndef FAULT_TRUST_FILTER
    for (item : 1 .. OBJECTS) { refs[item] = ZERO }
#endif
}

#ifdef FAULT_HOLD_ONE_BY_ONE
#define MAY_CLEAR true
#else
#define MAY_CLEAR ((condemned & ~held) == 0)
#endif

active proctype cycle() {
    do
    /* The mutator. */
    EACH_OBJECT(ALLOCATE)
    EACH_OBJECT(ALLOCATE_FINALIZABLE)
    EACH_OBJECT(PROMOTE)
    EACH_OBJECT(LIST)
    COPY(known, unknown)
    COPY(unknown, known)
    DROP(known)
    DROP(unknown)
    EACH_LOAD(known, unknown)
    EACH_LOAD(unknown, known)
    EACH_STORE(unknown, known)
    EACH_STORE(known, unknown)
    EACH_EMPTY(known)
    EACH_EMPTY(unknown)
#ifdef WEAK
    :: d_step { RUNS && known != 0 && weak != known -> weak = known }
    :: d_step { RUNS && known == 0 && weak != 0 -> revive(weak); take(known, weak) }
#endif
#ifdef FINALIZERS
    /* What only a finalizer can do: it has a reference to an object found dead. */
    :: d_step { argument != 0 && known == 0 -> revive(argument); take(known, argument) }
    :: d_step { argument != 0 && known == 0 && SLOT(argument, 0) != 0 ->
                item = SLOT(argument, 0); revive(item); item = SLOT(argument, 0); take(known, item) }
    EACH_STORE(known, argument)
    EACH_EMPTY(argument)
#ifdef WEAK
    :: d_step { argument != 0 && weak != argument -> weak = argument }
#endif
#endif

    /* 0: all survivors of a young collection are old. */
    :: d_step { phase == IDLE ->
        check_counts();
#ifndef FAULT_YOUNG_AT_BEGIN
        old = old | tracked;
#endif
        reach();
        doomed = tracked & ~(reach_set | condemned);
#ifdef FAULT_BEGIN_UNDRAINED
        old = old & ~condemned;
#endif
#ifdef ALL_SUSPECT
        white = old;
        phase = VERIFY;
#else
#ifdef SNAPSHOT
        phase = AWAIT;
#else
        phase = WHITEN;
#endif
#endif
        at = 1 }

#ifdef SNAPSHOT
    /* 0a: it may be made late, and anything may be the matter with it at any time. */
    :: d_step { phase == AWAIT && !has_child ->
        make_child() }
    :: d_step { phase == AWAIT && has_child ->
        phase = TAKE }
    :: d_step { phase == AWAIT ->
        drop_report();
        phase = WHITEN }
    :: d_step { phase == TAKE ->
#ifdef WITNESS_REUSED
        holds(witness, !IN(report & old & fresh, at));
#endif
#ifdef FAULT_TAKE_STALE
        white = white | (report & BIT(at));
#else
        white = white | (report & old & BIT(at));
#endif
        at++;
        if
        :: at > OBJECTS ->
            drop_report();
            phase = GROUP;
            at = 1
        :: else
        fi }
#endif

    /* 1: a chunk holds one address. */
    :: d_step { phase == WHITEN ->
        white = (white & ~BIT(at)) | (old & BIT(at));
        at++;
        if
        :: at > OBJECTS ->
            phase = MARK;
            at = 0
        :: else
        fi }

    /* 2: the roots may be visited any number of times, even none. */
    :: d_step { (phase == MARK || phase == UNWHITEN) && (stack != 0 || grey != 0) ->
        check_tables();
        mark_next() }
    :: d_step { phase == MARK && IN(white & ~1, known) ->
        mark(known) }
    :: d_step { phase == MARK && stack == 0 && grey == 0 ->
        phase = GROUP;
        at = 1 }

    /* 3: the filter: the count and the references of one suspect after the other. */
    :: d_step { phase == GROUP ->
        check_tables();
        if
        :: IN(SUSPECTS, at) ->
            refs[at] = refs[at] + count[at];
            for (edge : 0 .. SLOTS - 1) {
                target = SLOT(at, edge);
                if
                :: target != 0 && IN(SUSPECTS, target) -> refs[target]--
                :: else
                fi
            }
        :: else
        fi;
#ifdef GROUPS
        join_groups();
#endif
        at++;
        if
        :: at > OBJECTS ->
            phase = UNWHITEN;
            at = 1
        :: else
        fi }
    :: d_step { phase == UNWHITEN && (at <= OBJECTS || (stack == 0 && grey == 0)) ->
        check_tables();
        if
        :: at > OBJECTS ->
            all_suspects_known();
            phase = VERIFY;
            at = 1
        :: else ->
            if
            :: IN(SUSPECTS, at) && refs[at] != ZERO ->
                white = white & ~BIT(at);
                push(at)
            :: else
            fi;
            at++
        fi }

#ifdef GROUPS
    /* 4: what was rescued may have made groups large: then those are grouped without it. */
    :: d_step { phase == UNWHITEN && at > OBJECTS && stack == 0 && grey == 0 ->
        check_tables();
        for (item : 1 .. OBJECTS) { group[item] = 0 }
        all_suspects_known();
        phase = GROUP_AGAIN;
        at = 1 }
    :: d_step { phase == GROUP_AGAIN ->
        check_tables();
        join_groups();
        at++;
        if
        :: at > OBJECTS ->
            phase = VERIFY;
            at = 1
        :: else
        fi }
#endif

    /* 5: a group, or all that are left, in one go. */
#ifdef GROUPS
    :: d_step { phase == VERIFY && at <= OBJECTS ->
        candidates = 0;
        for (item : 1 .. OBJECTS) {
            candidates = candidates | ((IN(SUSPECTS, item) && group[item] == at) << item)
        }
        at++;
        verify() }
#endif
    :: d_step { phase == VERIFY && at <= OBJECTS ->
        candidates = SUSPECTS;
#ifdef GROUPS
        for (item : 1 .. OBJECTS) {
            candidates = (group[item] >= at -> candidates : candidates & ~BIT(item))
        }
#endif
        at = OBJECTS + 1;
        verify() }
#ifdef FINALIZERS
    :: d_step { phase == FINALIZE && argument != 0 ->
        item = argument;
        argument = 0;
        release(item) }
    :: d_step { phase == FINALIZE && argument == 0 && (dying & finalizable) != 0 ->
        item = 1;
        do
        :: IN(dying & finalizable, item) -> break
        :: else -> item++
        od;
        finalizable = finalizable & ~BIT(item);
        count[item]++;
        argument = item }
    :: d_step { phase == FINALIZE && argument == 0 && (dying & finalizable) == 0 ->
        verify_again() }
#endif
    :: d_step { phase == VERIFY && at > OBJECTS ->
        drop_tables();
        phase = CLEAR }

    /* 6 and 7. */
#ifndef FAULT_HOLD_ONE_BY_ONE
    :: d_step { phase == CLEAR && (condemned & ~held) != 0 ->
        hold_next() }
#endif
    :: d_step { phase == CLEAR && (condemned & ~kept) != 0 && MAY_CLEAR ->
        clear_next() }
    :: d_step { phase == CLEAR && (condemned & ~kept) == 0 ->
        release_kept();
        check_counts();
        check_tables();
        holds(invariant_3, (doomed & tracked) == 0);
        doomed = 0;
        phase = IDLE }

    /* An explicit collection, a freeze, a fork. */
    :: d_step { phase >= WHITEN && phase <= VERIFY || phase >= AWAIT ->
        drop_tables();
        doomed = 0;
#ifdef FAULT_BEGIN_UNDRAINED
        phase = IDLE
#else
        phase = CLEAR
#endif
        }
    od
}
