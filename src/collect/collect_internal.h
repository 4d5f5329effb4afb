/* SPDX-License-Identifier: MIT */
/*
 * The collector's structures, for its own files and for layers above it.
 *
 * One collection runs through these files in this order:
 *
 *   collector.c  a safe point finds that a threshold was crossed, or somebody
 *                asks; decides which generations; statistics and listeners
 *   nominate.c   a nominator (begin / step / finish) fills `candidates`
 *   population.c which objects there are, of which generation
 *   mark.c       the full nominator's marking from the host's roots
 *   verify.c     trial deletion: which candidates are dead
 *   reclaim.c    weak references, finalizers, verification again, clearing
 *
 * In all modes possible_roots.c nominates what programs say may have become garbage.
 * In the generational mode young.c says which young collections need not verify.
 *
 * In the incremental mode the old generation is collected by cycles instead:
 *
 *   pace.c       when a cycle begins, and how long its slices are
 *   cycle.c      its phases: marking, filtering, verifying, reclaiming
 *   filter.c     from what the marking left white to groups of likely garbage
 *   group.c      a group that is large: verified by one sum
 *   snapshot.c   snapshot mode: the marking, in a child, on a copy of the memory
 *
 * Generations of objects, as the side table's states show them:
 *
 *   from       event                                   to
 *   (new)      allocation                              young
 *   young      survives a collection of 0              middle
 *   young,     survives a collection of 1 or 2         old
 *   middle
 *   any        found dead, or freed                    (young: no bits)
 *   any        freeze                                  permanent
 *   permanent  unfreeze                                old
 *
 * Hosts that gather their young objects themselves keep the middle generation
 * themselves too: their objects go from young to old in the table.
 *
 * Invariants (numbers are the design's): 1, no file here writes to an object
 * but through the host's functions; 2, only verify.c decides what is dead; 5,
 * an object that a vector names is alive as long as the vector is used, since
 * either no code of the mutator runs meanwhile, or the collector has retained
 * it (reclaim.c).
 */
#ifndef NV_COLLECT_INTERNAL_H
#define NV_COLLECT_INTERNAL_H

#include "heap/heap_internal.h"
#include "neve/collect.h"

/* A growable array of objects, in mappings of its own: a collection may have
 * to hold millions of entries for some milliseconds. */
typedef struct nv_vec {
    void **items;
    size_t count;
    size_t capacity;
} nv_vec;

/* What vectors and tables keep for the next collection once collections have shown that they
 * come to need it: enough for the middle generation, or each of these would ask the system
 * for its memory anew, one page fault after another. */
#define NV_VEC_KEEP_BYTES ((size_t)256 << 10)

/* ---- vec.c ---- */

/* As much as this collector's tables keep by now. */
size_t nv_vec_keep_bytes(const neve_collector *c);
bool nv_vec_reserve(neve_heap *heap, nv_vec *vec, size_t capacity);
/* The same where all of it is about to be filled. */
bool nv_vec_reserve_all(neve_heap *heap, nv_vec *vec, size_t capacity);
/* These bytes of a mapping of its own are about to be written: if they are many, the system
 * gives memory for them at once. */
void nv_table_populate(void *table, size_t bytes);
void nv_vec_trim(const neve_collector *c, nv_vec *vec); /* empties; frees if large */
void nv_vec_destroy(neve_heap *heap, nv_vec *vec);

static inline bool nv_vec_push(neve_heap *heap, nv_vec *vec, void *item)
{
    if (NEVE_UNLIKELY(vec->count == vec->capacity) && !nv_vec_reserve(heap, vec, vec->capacity + 1))
        return false;
    vec->items[vec->count++] = item;
    return true;
}

/* Where candidates' numbers are found by address: a hash table up to
 * NV_HASH_CANDIDATES of them (young collections touch few pages that way), the
 * index tables of the chunks beyond. */
#define NV_HASH_CANDIDATES 32768u
#define NV_BUCKET 8u
typedef struct nv_bucket {
    uint16_t tags[NV_BUCKET];    /* of candidates' addresses: see verify.c */
    uint16_t numbers[NV_BUCKET]; /* ... plus one; 0: empty, and so are those behind it */
} nv_bucket;
typedef struct nv_candidate_map {
    nv_bucket *buckets;  /* hash table */
    size_t bucket_bytes; /* mapped */
    uint32_t mask;       /* buckets in use - 1; 0: the index tables are used */
    unsigned shift;      /* 64 less the bits of mask */
    uint32_t count;
    void *const *objects;
} nv_candidate_map;

/* How many grey objects the marking keeps on its stack; more go to the grey
 * bits, and are traversed in the order of their addresses. */
#define NV_MARK_STACK 1024u

/* Condemned objects. The collector holds a reference on those of entries [0, held),
 * and on all before the first is cleared. Entries [0, kept) were cleared and are
 * referred to still; [at, count) are to be cleared. When none is, passes over
 * [first, end) of the kept ones release what got free. */
typedef struct nv_queue {
    nv_vec items;
    size_t held;
    size_t at, kept;
    size_t first, end;
    size_t read, write; /* in the pass that is under way */
    size_t released;    /* in it, or in the last one */
    unsigned passes;
    bool is_passing;
    bool is_light; /* nobody in it holds more than NV_LIGHT references */
} nv_queue;
#define NV_LIGHT 64u

/* What a cycle of the incremental mode is doing (see cycle.c), in this order. */
typedef enum nv_phase {
    NV_CYCLE_IDLE,
    NV_CYCLE_SNAPSHOT,     /* a child marks; if it fails, the next two phases do */
    NV_CYCLE_TAKE,         /* chunk by chunk: what it did not reach is white; then numbered */
    NV_CYCLE_WHITEN,       /* chunk by chunk: old objects become white */
    NV_CYCLE_MARK,         /* what the roots reach is not white any more */
    NV_CYCLE_NUMBER,       /* the suspects, those that are white still, get numbers */
    NV_CYCLE_GROUP,        /* and are united with those that they refer to; gc_refs := their counts,
                          less the references that suspects hold on one another */
    NV_CYCLE_RESCUE,       /* who has references left, and what they reach, is not white any more */
    NV_CYCLE_UNTANGLE,     /* large groups that some of these are in: who belongs to them */
    NV_CYCLE_SEVER,        /* is a group of its own */
    NV_CYCLE_GROUP_AGAIN,  /* and they are united without them */
    NV_CYCLE_VERIFY,       /* group by group: exactly; and reclaimed */
    NV_CYCLE_END_SUSPECTS, /* tables go back: of the suspects */
    NV_CYCLE_END_GROUPS,
    NV_CYCLE_END_MARKS,
} nv_phase;

/* A large group of suspects that is being verified (see group.c). */
typedef enum nv_group_stage {
    NV_GROUP_NONE,
    NV_GROUP_COLOUR, /* members become grey instead of white */
    NV_GROUP_LIST,   /* `members` is filled with them, in the order of addresses */
    NV_GROUP_SUM,    /* one go: are they dead? */
} nv_group_stage;

/* Where the grey bits of chunks are that references have led to, found by the chunk's
 * number; NULL: it has none. */
#define NV_NEAR_CHUNKS 64u
typedef struct nv_near {
    uintptr_t number;
    const uint64_t *grey;
} nv_near;

typedef struct nv_group {
    nv_group_stage stage;
    uint32_t first, next; /* suspects: where its ring was entered; the next one to colour */
    nv_vec chunks;        /* that members lie in */
    nv_vec members;       /* those that are grey still are members */
    nv_vec special;       /* the host has something to do about these before they are cleared */
    bool is_few;          /* the members are c->candidates, and `chunks` is not used */
    bool has_finalizers;  /* of special ones */
    bool is_condemned;    /* the grey ones are: for neve_collector_is_condemned */
    size_t references;    /* to members, that visit_member has seen */
    size_t most;          /* references that one of them holds, to whatever */
    nv_near near[NV_NEAR_CHUNKS];
} nv_group;

/* What is known about a suspect, by its number: see filter.c. */
typedef struct nv_link {
    uint32_t parent; /* in the forest of groups */
    uint32_t ring;   /* the next of the same group, plus one; 0: itself */
    uint32_t refs;   /* gc_refs */
} nv_link;

/* A group of more is verified by itself (group.c), and nothing alive shall be in it. */
#define NV_LARGE_GROUP 2048u

/* What the child of a snapshot shares with the collector: see snapshot.c. */
typedef struct nv_report nv_report;

typedef struct nv_snapshot {
    int child;          /* to be reaped; 0: there is none */
    int owner;          /* the process whose child it is: a fork makes another */
    nv_report *report;  /* NULL: none is awaited, nor being read */
    size_t bytes;       /* of it */
    size_t read;        /* entries of it that have been taken */
    size_t least;       /* of fewer old objects no snapshot is made */
    uint64_t end_ns;    /* when it is given up */
    size_t promoted;    /* in this cycle when it was begun */
    uint64_t slack_ns;  /* that it has, whatever its size */
    unsigned failures;  /* one after the other */
    unsigned skip;      /* so many cycles mark in slices: the last ones have failed */
    unsigned held_back; /* for tests: so many looks find the child at work */
} nv_snapshot;

typedef struct nv_cycle {
    nv_phase phase;
    bool is_snapshot;   /* nothing was marked in slices */
    bool has_rescanned; /* the roots, at the end of the marking */
    bool is_tangled;    /* something alive is in a large group */
    uintptr_t chunk;    /* where a scan over the chunks goes on */
    unsigned word;
    nv_vec suspects;       /* by number */
    nv_link *links;        /* likewise */
    size_t link_bytes;     /* mapped */
    size_t released_bytes; /* of these, when the cycle ends */
    size_t next;           /* number of the suspect to go on with */
    size_t cursor;         /* in its references */
    size_t visited;        /* references, in this quantum of the filter */
    nv_group group;
    nv_slab *slab; /* whose mark tables go back next */

    uint64_t spent_ns; /* by the slices of this cycle so far */
    uint64_t start_ns;
    neve_collection sum; /* of this cycle */
    size_t nominated, alive;
    size_t large_above; /* NV_LARGE_GROUP */

    /* Pacing: see pace.c. */
    size_t low;        /* least old population since the last cycle ended */
    size_t population; /* old objects when this cycle began */
    size_t goal;       /* promotions until it ought to have ended */
    size_t promoted;   /* so far */
    size_t reachable;  /* of the population when the last cycle began */
    size_t reachable_before;
    size_t pace;            /* promotions per young collection, averaged, * 16 */
    uint64_t young_ns;      /* which these take, averaged */
    uint64_t program_ns;    /* which the program runs from one to the next, averaged */
    uint64_t ran_ns;        /* since the last one, between the stops so far */
    uint64_t stopped_ns;    /* when the last stop ended */
    unsigned stops;         /* until the next young collection, with that after the last */
    unsigned stops_left;    /* of these, slices alone */
    uint64_t slice_ns;      /* which each may take */
    uint64_t expected_ns;   /* to be spent, all in all */
    uint64_t ns_per_object; /* what the last cycle took, in 1/16 ns, and the one before */
    uint64_t ns_per_object_before;
    uint64_t end_ns;      /* when the last one ended */
    size_t middle;        /* objects in the middle generation, at most */
    unsigned vain;        /* times in a row that nearly all of it survived */
    unsigned bypass;      /* so many young collections still make their survivors old */
    size_t unpaid;        /* promotions that the next slice has to pay for */
    uint32_t quiet_count; /* the young count and ... */
    size_t quiet_old;     /* ... the old population when the last cycle ended */
    /* The same for bytes held. */
    size_t held, low_held; /* when somebody looked last; the least since the last cycle ended */
    size_t held_alarm;     /* so many make a young collection due; 0: none do */
    size_t held_start;     /* when this cycle began */
    size_t held_goal;      /* growth until it ought to have ended */
    size_t quiet_held;     /* when the last one ended */
    unsigned futile;       /* cycles in a row that bytes began and that found nothing */
    bool is_for_bytes;     /* bytes began this cycle */
    size_t large_alarm;    /* heap->large_bytes at held_alarm; SIZE_MAX: bytes do not matter */
    bool is_wanted;        /* by neve_step */
    size_t changes;        /* promotions since the last cycle began */
    size_t candidate_cost; /* of verifying one, in 1/16 ns, averaged */

    neve_cycle_stats stats;
} nv_cycle;

/* Young sets that go to the middle generation unverified: see young.c. */
typedef struct nv_young {
    unsigned vain;   /* verified young sets in a row in which nobody was dead */
    unsigned turn;   /* of those that might be passed on, this one */
    bool has_passed; /* some objects of the middle generation were never verified */
    size_t held;     /* bytes, when there were none */
} nv_young;

/* Objects that may have become garbage: see possible_roots.c. */
#define NV_POSSIBLE_ROOTS 256u
typedef struct nv_explored nv_explored;
typedef struct nv_possible_roots {
    void *items[NV_POSSIBLE_ROOTS]; /* the collector holds a reference on each */
    size_t count;
    nv_explored *explored; /* NULL: not made yet */
    size_t looked_at;      /* of the last batch */
    bool is_proved;        /* ... all nominated are dead and closed: see nv_verdict */
    unsigned vain;         /* batches in a row in which next to nothing was dead */
    unsigned skip;         /* so many batches are given back unseen */
    uint64_t explored_count, collected;
} nv_possible_roots;

struct neve_gather {
    neve_collector *collector;
    nv_vec *into;
    bool failed;
};

struct neve_collector {
    neve_marker marker; /* first: hosts are handed its address */
    neve_heap *heap;
    const neve_host *host;
    void *ctx;
    neve_eval_breaker *breaker;
    neve_eval_breaker own_breaker;
    neve_listener listener;

    uint32_t thresholds[NEVE_GENERATIONS];
    uint32_t counts[NEVE_GENERATIONS]; /* 0: allocations less deallocations; then collections */
    size_t long_lived_total, long_lived_pending;
    bool is_enabled, is_collecting, is_stressed;
    neve_mode mode;
    uint32_t pause_us;
    nv_young passing;
    nv_cycle cycle;
    nv_snapshot snapshot;
    nv_possible_roots possible;
    size_t gather_limit;             /* as many young objects are enough for one collection */
    size_t gathered_pools;           /* where the list of touched pools was left */
    bool is_partial;                 /* some young objects were not gathered */
    size_t middle_begin, middle_end; /* which of those gathered are the middle generation */
    size_t survivors;                /* of the collection, or of a batch of a slice */
    size_t fresh;                    /* of a full one: the last candidates, in the host's order */

    nv_vec young;       /* gathered */
    nv_vec candidates;  /* nominated; after verification the dead come first */
    nv_vec untrackable; /* see neve_mark_untrackable */
    nv_vec deferred;    /* see neve_mark_defer */
    nv_vec stack;       /* of the rescue; in full_finish a scratch list */
    nv_vec finals;      /* the dead that have finalizers: see finalize.c */
    nv_queue now;       /* condemned by a collection, which clears them itself */
    nv_queue later;     /* condemned by a cycle: cleared in slices */
    uint32_t *refs;     /* gc_refs of the candidates */
    size_t refs_bytes;
    uint16_t *only; /* behind gc_refs, where few are verified: the only candidate that each
                     * refers to, by number, or 0; NULL where they are many */
    nv_candidate_map map;
    uint32_t verify_own;   /* number of the candidate that is being traversed, plus one */
    uint32_t verify_flags; /* and its flags so far */
    bool verify_is_closed; /* if all are dead: see nv_verdict */
    size_t verify_alive;   /* candidates rescued so far */
    size_t verify_open;    /* to be rescued until it is certain that all are alive */
    uint32_t given_back;   /* times that large tables of a verification were given back */
    bool map_is_live;      /* the map tells exactly the condemned: for is_condemned */

    void *mark_stack[NV_MARK_STACK];
    size_t mark_depth, mark_room; /* entries; how many there may be just now */
    size_t mark_stale;            /* so many entries are of earlier slices */
    bool mark_is_sliced;
    nv_chunk *grey_first, *grey_last; /* chunks with grey bits, a queue */
    nv_chunk *grey_chunk;             /* the one that is being swept, up to grey_word */
    unsigned grey_word;
    bool has_frozen;        /* there were permanent objects when the marking began */
    bool reads_frozen;      /* permanent objects are still to be read, */
    uintptr_t frozen_chunk; /* from this chunk on (0: from the first), */
    unsigned frozen_word;   /* and in it from here on */
    size_t mark_edges;      /* charged by the marking since its last step */
    void *mark_object;      /* traversed in part */
    size_t mark_cursor;
    size_t marked;
    size_t old, frozen; /* objects when the marking began, white the former */

    neve_collection current;
    neve_generation_stats stats[NEVE_GENERATIONS];
    uint64_t failed;
};

/* ---- population.c ---- */

/* Fills `into` with the tracked objects of generations 0 .. generation (<= 1), or
 * with about c->gather_limit of them, and then sets c->is_partial. */
neve_status nv_gather(neve_collector *c, int generation, nv_vec *into);
/* These pools' objects have been given a generation: forget who was touched. */
void nv_touched_reset(neve_collector *c, int generation);
/* The same for those alone that nv_gather came to. */
void nv_touched_take(neve_collector *c, int generation);
bool nv_is_tracked(const neve_collector *c, void *object);
/* Moves objects to generation 1, 2 or 3 (permanent), for the host as well. For
 * want of memory for a table some may stay in a younger one: they are moved to
 * the end. Returns how many went where they should. */
size_t nv_promote(neve_collector *c, void **objects, size_t n, int generation);
/* Moves all young and middle objects to the old generation, in the tables alone: for
 * hosts that neither gather nor are told. Those that the host does not track are among
 * them; whoever lists old objects asks. */
void nv_promote_unseen(neve_collector *c);
/* Old and permanent objects, by counting bits. */
void nv_count_states(const neve_heap *heap, size_t *old, size_t *frozen);
/* Whether the state bits in this word of the chunk are those of objects: in
 * pools of raw buffers they mean something else (heap/fork.c). */
bool nv_holds_objects(const nv_chunk *chunk, unsigned word);

/* ---- nominate.c ---- */

typedef struct nv_nominator {
    const char *name;
    /* Begins to look for candidates in generations 0 .. generation. */
    neve_status (*begin)(neve_collector *c, int generation);
    /* Goes on for about `budget` edges; true when there is nothing left to do. */
    bool (*step)(neve_collector *c, size_t budget);
    /* Fills c->candidates. */
    neve_status (*finish)(neve_collector *c, int generation);
} nv_nominator;

extern const nv_nominator nv_nominate_generation; /* generations 0 .. 1, all of them */
extern const nv_nominator nv_nominate_full;       /* all, less what a marking reaches */

/* ---- mark.c ---- */

/* Colours everything old white; then what the host's roots and permanent objects refer to
 * becomes grey. In slices: prepare, then every chunk. */
void nv_mark_begin(neve_collector *c);
void nv_mark_prepare(neve_collector *c, bool is_sliced);
void nv_mark_whiten(neve_collector *c, nv_chunk *chunk);
void nv_mark_roots(neve_collector *c);
/* A slice begins: what has been noted so far may have been freed. */
void nv_mark_resume(neve_collector *c);
bool nv_mark_step(neve_collector *c, size_t budget);
/* Makes a white object grey. */
void nv_mark_from(neve_collector *c, void *object);
/* White old objects, in address order, appended to `into`. */
neve_status nv_mark_suspects(neve_collector *c, nv_vec *into);
void nv_mark_finish(neve_collector *c);
bool nv_mark_is_white(const neve_collector *c, const void *object);
void nv_mark_blacken(neve_collector *c, const void *object);
/* No granule of the words [first, end) is white or grey from now on. */
void nv_mark_clear(nv_chunk *chunk, unsigned first, unsigned end);
/* When the marking is over grey bits can serve others: sets that of a white object; and takes
 * a chunk with some out of the queue (NULL: there is none). */
void nv_mark_turn_grey(neve_collector *c, nv_chunk *chunk, const void *object);
nv_chunk *nv_mark_take_chunk(neve_collector *c);

/* ---- possible_roots.c ---- */

/* Gives the references on the possible roots back, which may run code of the mutator. */
void nv_possible_give_back(neve_collector *c);
/* A safe point: whether there are enough of them to be looked at. */
bool nv_possible_is_due(const neve_collector *c);
/* Gives them back, and fills c->candidates with what some of them may leave as garbage. */
neve_status nv_possible_nominate(neve_collector *c);
/* So many of these candidates were dead. */
void nv_possible_verified(neve_collector *c, size_t dead);
void nv_possible_drop(neve_collector *c);

/* ---- verify.c ---- */

typedef struct nv_verdict {
    size_t dead;          /* objects[0 .. dead) */
    size_t uncollectable; /* the next so many */
    bool is_closed;       /* all are dead and plain, and refer to one another alone */
} nv_verdict;

/* Trial deletion over the `n` objects, on each of which the collector itself
 * holds `held` references. Reorders them: the dead, then the uncollectable,
 * then the rest, each in their previous order. The map of candidates is left
 * holding the dead if `keep_map`. NEVE_ENOMEM: nothing is known. */
neve_status nv_verify(neve_collector *c, void **objects, size_t n, uint32_t held, bool keep_map,
                      nv_verdict *verdict);
/* Only makes the map of candidates, and room for c->refs. */
neve_status nv_verify_map(neve_collector *c, void **objects, size_t n);
/* After nv_verify of c->candidates: how many of those that were [begin, end) are dead. */
size_t nv_verify_count_dead(const neve_collector *c, const nv_verdict *verdict, size_t begin,
                            size_t end);
/* Drops the map and what the verification had mapped. */
void nv_verify_finish(neve_collector *c);
uint32_t nv_candidate_number(const neve_collector *c, const void *object); /* 0: none */
/* How many references the object holds, or at least `enough`: what verifying it takes, and
 * what clearing it takes. */
size_t nv_count_references(neve_collector *c, void *const *objects, size_t n, size_t enough);
/* How many of the first of them, one at least, hold that many together. */
size_t nv_count_holders(neve_collector *c, void *const *objects, size_t n, size_t enough);

/* ---- finalize.c ---- */

/* Runs the finalizers of the objects; of the first `to_sort` those of holders come first, if
 * the map of candidates consists of the dead, which are `condemned` many; 0: it does not. */
void nv_finalize(neve_collector *c, void *const *objects, size_t n, size_t to_sort,
                 size_t condemned, bool *ran_code);

/* ---- reclaim.c ---- */

/* Takes the dead candidates [0 .. verdict->dead) through weak references, finalizers and
 * the second verification, and puts what is still dead into the queue, which is
 * empty and has room for them. The last `in_order` come in an order of the host's. */
void nv_reclaim_begin(neve_collector *c, nv_queue *queue, const nv_verdict *verdict,
                      size_t in_order, int to_generation);
/* After finalizers and callbacks, for `n` objects that were dead and that the
 * collector holds: gives those back that are not any more. The dead come first;
 * returns how many they are. `ran_code`: or else all are dead still. */
size_t nv_reclaim_settle(neve_collector *c, void **objects, size_t n, int to_generation,
                         bool ran_code);
/* Clears about `budget` condemned objects; true when none is left. */
bool nv_reclaim_step(neve_collector *c, nv_queue *queue, size_t budget);
/* Clears all that are left, of both queues. */
void nv_reclaim_drain(neve_collector *c);

/* ---- collector.c ---- */

/* Gives back all memory that is kept for the next collections. Between collections
 * only, or at the end of one; a cycle may be under way. */
void nv_tables_drop(neve_collector *c);
#define NV_SLICE 3 /* in place of a generation: candidates of a cycle */
/* Verifies c->candidates, unless all are proved to be dead and closed (nv_verdict), and reclaims
 * the dead: for collections and for slices. */
neve_status nv_collect_candidates(neve_collector *c, nv_queue *queue, int generation,
                                  bool is_proved);

/* ---- filter.c: what a cycle does between marking and verifying ---- */

/* Each goes on with the phase of that name, a little; true: it is over. NEVE_ENOMEM
 * in *status: the cycle has to be abandoned. */
bool nv_filter_number(neve_collector *c, neve_status *status);
bool nv_filter_group(neve_collector *c);
bool nv_filter_rescue(neve_collector *c);
bool nv_filter_untangle(neve_collector *c);
bool nv_filter_sever(neve_collector *c);
bool nv_filter_group_again(neve_collector *c);
/* Moves the groups that come next, of about `n` suspects in all, to c->candidates; or
 * begins with a large one, or has seen enough that is no suspect any more: then there are no
 * candidates. False: nothing is left. */
bool nv_filter_take(neve_collector *c, size_t n, size_t references);
/* Makes some more suspects of the large group grey; true: all are. */
bool nv_filter_colour(neve_collector *c);

/* ---- group.c ---- */

/* Verifies c->candidates, which are whole groups, and condemns them if they are all dead. False:
 * some may be alive, and they are to be verified in the ordinary way. */
bool nv_group_verify_few(neve_collector *c);
/* Goes on with a large group; true: that was all. If c->candidates has any then,
 * some of them are alive, and they are to be verified in the ordinary way. NEVE_ENOMEM
 * in *status: the cycle has to be abandoned. */
bool nv_group_next(neve_collector *c, neve_status *status);
bool nv_group_is_condemned(const neve_collector *c, const void *object);
void nv_group_drop(neve_collector *c);

/* ---- cycle.c ---- */

void nv_cycle_begin(neve_collector *c);
/* Goes on until the clock shows `deadline_ns`, or the cycle ends. */
void nv_cycle_run(neve_collector *c, uint64_t deadline_ns);
void nv_cycle_abandon(neve_collector *c);
/* Gives back what is kept from one cycle to the next. */
void nv_cycle_drop(neve_collector *c);
/* So many objects that an earlier slice counted as collected turned out to be
 * uncollectable. */
void nv_cycle_take_back(neve_collector *c, size_t collected);

/* ---- snapshot.c ---- */

void nv_snapshot_init(neve_collector *c);
/* Whether the cycle that begins shall try one. */
bool nv_snapshot_is_due(neve_collector *c);
typedef enum nv_outcome {
    NV_SNAPSHOT_AWAITED,
    NV_SNAPSHOT_READY,
    NV_SNAPSHOT_FAILED, /* and forgotten */
} nv_outcome;
/* Begins it, or looks how it is getting on. */
nv_outcome nv_snapshot_step(neve_collector *c);
/* Makes white what of this chunk is old and the child did not reach. Chunk by chunk,
 * in address order, after the snapshot got ready and nv_mark_prepare. */
void nv_snapshot_take(neve_collector *c, nv_chunk *chunk);
void nv_snapshot_taken(neve_collector *c);
/* Ends one that is awaited: what it finds is not wanted any more. */
void nv_snapshot_abandon(neve_collector *c);
/* Reaps the child of one that is over, if it has ended; `waits`: ends it. */
void nv_snapshot_reap(neve_collector *c, bool waits);

/* ---- pace.c ---- */

/* The collector has been made, or its mode was set. */
void nv_pace_start(neve_collector *c);
/* The oldest generation that an automatic collection is to take in, where
 * `generation` is due by its threshold; sets c->gather_limit. */
int nv_pace_generation(neve_collector *c, int generation);
/* After that collection, which took `spent_ns` of processor time: begins a cycle where
 * one is due, and runs a slice of it. */
void nv_pace_slice(neve_collector *c, int generation, uint64_t spent_ns);
/* At each automatic stop first: for how long a slice may run that comes between two young
 * collections; 0: a young collection is due. */
uint64_t nv_pace_stop(neve_collector *c);
/* At its end: after how many allocations the next one is due; 0: as always. */
uint32_t nv_pace_next_after(neve_collector *c, bool was_slice);
/* `n` objects went to the next generation, or, where c->is_partial, to the old one. */
void nv_pace_promoted(neve_collector *c, int generation, size_t n);
/* Whether what a collection of the middle generation would verify now is young, and about to
 * get old. */
bool nv_pace_passes_over_middle(const neve_collector *c);
/* Of the middle generation so many objects were left and were found dead. */
void nv_pace_middle(neve_collector *c, size_t left, size_t dead);
/* The cycle found `dead` objects. */
void nv_pace_cycle_ended(neve_collector *c, uint64_t dead, uint64_t now_ns);
/* Whether there can be garbage that the last cycle did not see. */
bool nv_pace_has_changed(neve_collector *c);
/* A full collection has verified everything. */
void nv_pace_all_collected(neve_collector *c);

/* Bytes held, by the heap and by what the host tells. */
size_t nv_pace_held(neve_collector *c);

/* ---- young.c ---- */

/* Whether this automatic collection does without verification. */
bool nv_young_passes(neve_collector *c, int generation);
/* It did. */
void nv_young_passed(neve_collector *c);
/* A collection that did verify found so many dead. */
void nv_young_verified(neve_collector *c, int generation, bool is_explicit, size_t dead);
/* In the child of a fork. */
void nv_young_after_fork(neve_collector *c);

/* ---- options.c ---- */

/* What `given` states (NULL: nothing), zeros for the rest. NEVE_EINVAL. */
neve_status nv_collector_options_read(neve_collector_options *into,
                                      const neve_collector_options *given, char *message,
                                      size_t size);

/* ---- check.c ---- */

/* In builds with NEVE_DEBUG >= 2: aborts with the finding if a check fails. */
void nv_collector_assert_sound(neve_collector *c);

#endif
