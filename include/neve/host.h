/* SPDX-License-Identifier: MIT */
/*
 * The contract for those who teach Neve a new object model.
 *
 * The collector knows objects only through a host descriptor: a table of
 * functions that count, traverse, finalize and clear objects of the host.
 * Every reclamation is: nominate candidates; verify them by trial deletion
 * over the counts that `read_counts` and the edges that `traverse` report
 * (Bacon and Rajan, "Concurrent Cycle Collection in Reference Counted
 * Systems", 2001, restricted to a set of candidates as CPython does);
 * reclaim what was proved dead.
 *
 * What makes this sound, and what the host must therefore promise:
 *   - `traverse` may leave references out (the object behind one then merely
 *     survives), but never reports a reference that is not counted, nor one
 *     reference twice;
 *   - `read_counts` never reports less than the true count; an object whose
 *     count cannot be trusted (immortal, saturated) reports NEVE_COUNT_HELD;
 *   - neither changes any object, allocates from the heap, nor runs code of
 *     the mutator;
 *   - two candidates lie at least 32 bytes apart, aligned to NEVE_GRANULE.
 *
 * Thread state: all functions run in the thread that called the collector,
 * with the heap's lock held, and the mutator stopped, but for `condemn`,
 * `finalize`, `clear_weakrefs`, `clear`, `discard`, `release` and `report_uncollectable`: these run the mutator's code, which
 * may do anything except run a nested collection (it is refused). In the snapshot mode
 * `visit_roots`, `mark` and `traverse` also run in a child process, on a copy of the
 * memory, where the other threads are not and the locks that they held are never
 * released.
 */
#ifndef NEVE_HOST_H
#define NEVE_HOST_H

#include "base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct neve_collector neve_collector;

/* "This object may be referred to from anywhere: never a candidate for death." */
#define NEVE_COUNT_HELD UINT32_MAX

#define NEVE_GENERATIONS 3 /* young 0, middle 1, old 2; the permanent one is apart */

/* Called by the host for each reference that an object holds. Returns 0; any
 * other value must end the traversal at once and be handed on. `object` is
 * never NULL and may be any object of the host, a leaf too. The signature
 * equals that of CPython's visitproc. */
typedef int (*neve_visit_fn)(void *object, void *arg);

/* Calls `visit` for each of the `n` items that is not NULL; much faster than a
 * loop over visit(item, arg) where `visit` is one of the collector's own. */
NEVE_API int neve_visit_items(void *const *items, size_t n, neve_visit_fn visit, void *arg);

/* Where a host puts the objects of its young generations. */
typedef struct neve_gather neve_gather;
/* Adds one object. False: stop gathering; it was not added (there is no memory, or
 * these are enough for one collection: then the survivors of those that were
 * gathered go to generation 2, and the others wait where they are). */
NEVE_API bool neve_gather_add(neve_gather *into, void *object);
/* What was added so far is the middle generation, what follows is young. Where a host does
 * not say so, its middle generation is never passed over, even if nothing dies in it. */
NEVE_API void neve_gather_young(neve_gather *into);

/* References that lie in an array, `stride` pointers apart; some may be NULL. */
typedef struct neve_edges {
    void *const *items;
    size_t count;
    size_t stride;
    void *also; /* one more, or NULL */
    /* For hosts with `discard`: nothing has to be seen to before the object goes; not even
     * code of the host's runs. */
    bool is_plain;
} neve_edges;

/* For neve_host.mark: an object is marked by marking what it refers to. */
#define NEVE_MARK_BATCH 128u
typedef struct neve_marker {
    size_t fresh; /* objects newly reached since the marking began */
    size_t piece; /* larger objects, in references, are to be deferred */
    /* Some of the batch may have been reached in an earlier slice, and freed since: objects
     * that are not tracked any more are not to be marked. */
    bool may_be_stale;
} neve_marker;
/* A neve_visit_fn; `marker` is its argument. */
NEVE_API int neve_mark_visit(void *object, void *marker);
/* The same for `n` objects (some may be NULL), faster. */
NEVE_API void neve_mark_items(neve_marker *marker, void *const *items, size_t n);
/* The same for every `stride`th of an array: `n` of them. */
NEVE_API void neve_mark_strided(neve_marker *marker, void *const *items, size_t n, size_t stride);
/* The same for several arrays at once. */
typedef struct neve_span {
    void *const *items;
    size_t count;
} neve_span;
NEVE_API void neve_mark_spans(neve_marker *marker, const neve_span *spans, size_t n);
/* `object` shall be given to `traverse`, in pieces, later. */
NEVE_API void neve_mark_defer(neve_marker *marker, void *object);
/* Whether the collector's tables hold `object` as old or permanent. */
NEVE_API bool neve_mark_is_known(const neve_marker *marker, const void *object);
/* `object` was marked, it refers to no object that is known, and it may be one
 * of those that need not be tracked: it is given to `untrack` at the end of the
 * collection, unless it is permanent. */
NEVE_API void neve_mark_untrackable(neve_marker *marker, void *object);

/* When `clear_weakrefs` is called. */
typedef enum neve_weakref_pass {
    /* Before any finalizer: clear the weak references to the condemned, then
     * call the callbacks of those that are not condemned themselves. */
    NEVE_WEAKREFS_BEFORE_FINALIZERS,
    /* After the finalizers, for what is still condemned: clear whatever a
     * finalizer made since, and whatever the first pass left, without a
     * callback. Not called if no code ran, but for hosts that set
     * `keeps_weakrefs`. */
    NEVE_WEAKREFS_AFTER_FINALIZERS,
} neve_weakref_pass;

/* Why objects that were found unreachable live on. */
typedef enum neve_uncollectable {
    /* is_uncollectable said so of them, or of an object that reaches them. */
    NEVE_UNCOLLECTABLE_FINALIZER,
    /* They were cleared, and something refers to them still: nothing broke
     * their cycle. */
    NEVE_UNCOLLECTABLE_UNCLEARED,
} neve_uncollectable;

typedef struct neve_host {
    size_t struct_size; /* sizeof(neve_host) of the host's build */
    const char *name;   /* for messages */

    /* Required. `ctx` is the host's own, `objects` has `n` entries. */

    /* counts[i] := reference count of objects[i]. */
    void (*read_counts)(void *ctx, void *const *objects, size_t n, uint32_t *counts);
    /* Visits the objects that `object` refers to. *cursor is 0 at first; a
     * host that traverses a large object in pieces leaves in it where to go on
     * and is called again until it leaves 0. A piece is some thousand edges. */
    void (*traverse)(void *ctx, void *object, neve_visit_fn visit, void *arg, size_t *cursor);
    /* One more reference to each; one less. release may free. */
    void (*retain)(void *ctx, void *const *objects, size_t n);
    void (*release)(void *ctx, void *const *objects, size_t n);
    /* Drops the references that each object holds. The collector holds one
     * on each, so none is freed here. Objects that cannot be cleared are left. */
    void (*clear)(void *ctx, void *const *objects, size_t n);
    /* The name of the object's type, for reports. */
    const char *(*type_name)(void *ctx, void *object);

    /* Optional: NULL where the object model has no such thing. */

    /* Whether this live block, known as old, still is an object under the
     * collector. NULL: always. Called on memory that the heap has not freed. */
    bool (*is_tracked)(void *ctx, void *object);
    /* read_counts answers NEVE_COUNT_HELD for objects that are not tracked: then a full
     * collection need not ask is_tracked of each first. */
    bool held_if_untracked;
    /* Visits objects that are certainly alive. What only they reach need not
     * be verified in a full collection. A host that knows none gives NULL. */
    void (*visit_roots)(void *ctx, neve_visit_fn visit, void *arg);
    /* A collection of generations 0 .. generation begins, or a freeze (3), or a
     * slice of a cycle, which moves no generation as a whole. May be NULL. */
    void (*begin)(void *ctx, int generation, bool is_slice);
    /* Adds the tracked objects of generations 0 .. generation (0 or 1), the oldest
     * first, until neve_gather_add says stop. NULL: the collector reads them off
     * the heap (see NEVE_DOMAIN_OBJECT). */
    void (*gather)(void *ctx, int generation, neve_gather *into);
    /* These survived a collection, no code has run since: the host may stop
     * tracking objects that can be in no cycle. Returns how many remain, moved
     * to the front in order. `full`: in a collection of all generations. */
    size_t (*untrack)(void *ctx, void **objects, size_t n, bool full);
    /* Marks what each of these objects refers to: what `traverse` would report.
     * A host can have the memory of one object on its way to the cache while it
     * looks at another. `n` is at most NEVE_MARK_BATCH. NULL: the collector
     * calls `traverse` for each. */
    void (*mark)(void *ctx, void *const *objects, size_t n, neve_marker *marker);
    /* For each object: the array that holds all that `traverse` would report, but
     * for one reference maybe, or a stride of 0 where there is no such array. `n` is at most
     * NEVE_MARK_BATCH. NULL: the collector calls `traverse` for each. */
    void (*edges)(void *ctx, void *const *objects, size_t n, neve_edges *edges);
    /* These belong to generation 1 or 2 now, or to the permanent one (3). */
    void (*promote)(void *ctx, void *const *objects, size_t n, int generation);
    /* These were condemned and live on, in a generation that `promote` has been told of:
     * whatever `condemn` did is undone. May be NULL. */
    void (*revive)(void *ctx, void *const *objects, size_t n);
    /* As `condemn`, for objects that were proved dead and on which the collector holds no
     * reference. True: none of them has a finalizer, weak references or anything else that
     * has to be seen to before it goes, and `discard` follows at once. False: they go the
     * ordinary way, which begins with `condemn`. NULL: as if false. */
    bool (*condemn_plain)(void *ctx, void *const *objects, size_t n);
    /* Drops the references that these, which only refer to one another, hold on others, and
     * frees all of them. Code of the mutator that this sets off may run before they are
     * freed. `is_closed`: they were proved dead, condemn_plain was not called, all have been
     * told of as plain by `edges`, and there are no references on others: only to free them
     * is left. NULL if condemn_plain is. */
    void (*discard)(void *ctx, void *const *objects, size_t n, bool is_closed);
    /* These were proved dead: take them out of every listing of objects. The
     * collector holds a reference on each by now. *ran_code as below. */
    void (*condemn)(void *ctx, void *const *objects, size_t n, bool *ran_code);
    /* Old objects are in no listing but neve_collector_walk's, which leaves the dead
     * out: for these `condemn` may be called in a later slice. */
    bool condemns_late;
    /* Copies to `special` those of the objects about which clear_weakrefs or finalize
     * have anything to do, or which is_uncollectable tells of; returns how many they
     * are. Sets *has_finalizers if finalize has. `n` is at most NEVE_MARK_BATCH. NULL:
     * all of them, if there is any of these three functions. */
    size_t (*find_special)(void *ctx, void *const *objects, size_t n, void **special,
                           bool *has_finalizers);
    /* See neve_weakref_pass; neve_collector_is_condemned answers for any
     * object. No code of the mutator runs before all that this pass clears are
     * cleared. Returns how many weak references died with their callbacks. Sets
     * *ran_code if any code of the mutator ran: only then is there need to
     * verify the objects again. */
    size_t (*clear_weakrefs)(void *ctx, void *const *objects, size_t n, neve_weakref_pass pass,
                             bool *ran_code);
    /* The first pass of clear_weakrefs leaves weak references for finalizers to
     * use: the second is called in any case. */
    bool keeps_weakrefs;
    /* Visits the weak references to `object` that have callbacks, as far as these
     * are objects of the host's: they are verified together with it, so that the
     * callback of a dead one is not called. May be NULL. */
    void (*visit_weakrefs)(void *ctx, void *object, neve_visit_fn visit, void *arg);
    /* Runs finalizers, each once in the life of its object; *ran_code likewise. */
    void (*finalize)(void *ctx, void *const *objects, size_t n, bool *ran_code);
    /* Whether the object must not be reclaimed in a cycle, nor what it reaches. */
    bool (*is_uncollectable)(void *ctx, void *object);
    /* These were found unreachable and were not reclaimed; they are old again.
     * Returns how many of them the statistics shall count as uncollectable
     * rather than as collected. May retain them; must not release any. */
    size_t (*report_uncollectable)(void *ctx, void *const *objects, size_t n,
                                   neve_uncollectable why);
    /* How many bytes the program holds outside of the heap, for hosts whose large blocks
     * lie there: the incremental mode paces by them as by the heap's own. Cheap: it is
     * asked in every slice. NULL: none. */
    size_t (*held_bytes)(void *ctx);
} neve_host;

/* Only during a collection, from the host's functions and what they call:
 * whether `object` is in the set that is being reclaimed. */
NEVE_API bool neve_collector_is_condemned(const neve_collector *collector, const void *object);

#ifdef __cplusplus
}
#endif
#endif
