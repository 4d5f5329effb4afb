/* SPDX-License-Identifier: MIT */
/*
 * A nominator for old garbage that needs no collection of its generation: possible roots.
 *
 * An object becomes garbage in a cycle only when a reference to something in the cycle is
 * given up while others are left. A program that knows which of its references can be the
 * last ones into a cycle says so when it gives them up; from each such object the
 * references are followed, a little way, with a trial deletion on the way (Bacon and Rajan,
 * "Concurrent Cycle Collection in Reference Counted Systems", 2001). If the object itself is
 * left without references from outside, the neighbourhood is nominated. Verification decides,
 * as ever (invariant 2); what this nominator misses waits for the collection of its
 * generation, as if nothing had been said.
 *
 * Where the trial deletion leaves no member of any neighbourhood a reference, and nothing was
 * cut off, it was a verification itself: all counts and all references were read, after the
 * last code of the mutator. So plain objects that refer to nobody else are not verified again.
 *
 *   - The collector holds a reference on what it was told of, so that no entry names a freed
 *     object. These references are given back before anything is looked at; what is listed
 *     as old afterwards is alive (invariant 5: freeing clears the bits).
 *   - Young objects are left to the young collection, which is about to come, and references
 *     to them are not followed.
 *   - Where next to nothing is found dead, batch after batch, most batches are given
 *     back unseen: a program that says it of every reference pays for little more than counting.
 *   - A neighbourhood of more than PER_ROOT objects is cut off there. Garbage that is larger is
 *     left over, and garbage that refers to the live graph costs no more than that.
 */
#include "collect_internal.h"

#define PER_ROOT 32u
/* Of one batch, at most; and so many entries in the table of what was seen. */
#define CANDIDATES 4096u
#define SLOTS 8192u
#define SLOTS_USED (SLOTS / 2)
/* A batch in which fewer than a part of the roots were in garbage is vain. */
#define YIELD_PART 16
#define VAIN_LEAST 2u
#define SKIP_MOST 64u

struct nv_explored {
    uint32_t slots[SLOTS];     /* index of a candidate plus one; 0: empty */
    uint32_t refs[CANDIDATES]; /* counts less the references seen */
    size_t used;               /* slots */
    size_t begin;              /* of this root's neighbourhood, in c->candidates */
    bool is_closed;            /* its members are plain, and refer to candidates alone */
};

bool nv_possible_is_due(const neve_collector *c)
{
    return c->possible.count == NV_POSSIBLE_ROOTS;
}

void neve_collector_possible_root(neve_collector *c, void *object)
{
    nv_possible_roots *possible = &c->possible;
    nv_state state = nv_state_get(c->heap, object);
    /* (What is not tracked is dying, mostly, and held by its disposal for a moment: nobody
     * could keep that from going.) */
    if (state == NV_STATE_YOUNG || state == NV_STATE_FROZEN || !c->is_enabled ||
        c->thresholds[0] == 0 || c->is_collecting || possible->count == NV_POSSIBLE_ROOTS ||
        !nv_is_tracked(c, object)) {
        c->host->release(c->ctx, &object, 1);
        return;
    }
    possible->items[possible->count++] = object;
    if (possible->count == NV_POSSIBLE_ROOTS)
        neve_breaker_set(c->breaker, NEVE_EVENT_COLLECT);
}

void nv_possible_give_back(neve_collector *c)
{
    nv_possible_roots *possible = &c->possible;
    /* One at a time: code that this runs may tell of others, and collect. */
    while (possible->count > 0) {
        void *object = possible->items[--possible->count];
        c->host->release(c->ctx, &object, 1);
    }
}

void nv_possible_drop(neve_collector *c)
{
    if (c->possible.explored != NULL)
        nv_heap_unmap(c->heap, c->possible.explored, sizeof *c->possible.explored);
    c->possible.explored = NULL;
}

/* ---- a neighbourhood ---- */

/* Where the object's entry is, or is to be made. An entry whose neighbourhood was given up
 * names some other candidate, or none: it is passed over. */
static uint32_t *slot_for(const neve_collector *c, const void *object)
{
    uint32_t *slots = c->possible.explored->slots;
    uint64_t hash = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(hash >> 32) % SLOTS;
    for (; slots[i] != 0; i = (i + 1) % SLOTS)
        if (slots[i] <= c->candidates.count && c->candidates.items[slots[i] - 1] == object)
            break;
    return &slots[i];
}

/* (Where the counts that are read next tell of the untracked, they need not be asked for.) */
static bool is_old(const neve_collector *c, void *object)
{
    nv_state state = nv_state_get(c->heap, object);
    return (state == NV_STATE_MIDDLE || state == NV_STATE_OLD) &&
           (c->host->held_if_untracked || nv_is_tracked(c, object));
}

/* `seen` references to the object, which has no entry yet, have been seen. */
static void add(neve_collector *c, uint32_t *slot, void *object, uint32_t seen)
{
    nv_explored *e = c->possible.explored;
    uint32_t count;
    c->host->read_counts(c->ctx, &object, 1, &count);
    e->refs[c->candidates.count] = count == NEVE_COUNT_HELD ? count : count - seen;
    c->candidates.items[c->candidates.count++] = object; /* reserved */
    *slot = (uint32_t)c->candidates.count;
    e->used++;
}

static int visit(void *object, void *arg)
{
    neve_collector *c = arg;
    nv_explored *e = c->possible.explored;
    __builtin_prefetch(object); /* its count is read next, mostly */
    uint32_t *slot = slot_for(c, object);
    if (*slot != 0) {
        uint32_t *refs = &e->refs[*slot - 1];
        if (*slot > e->begin && *refs != 0 && *refs != NEVE_COUNT_HELD)
            --*refs;
    } else if (c->candidates.count - e->begin < PER_ROOT && is_old(c, object)) {
        add(c, slot, object, 1);
    } else {
        e->is_closed = false;
    }
    return 0;
}

/* Appends the root and its neighbourhood to the candidates, if nothing else refers to the
 * root. */
static void explore(neve_collector *c, void *root)
{
    nv_explored *e = c->possible.explored;
    uint32_t *slot = slot_for(c, root);
    if (*slot != 0)
        return; /* in that of another */
    e->begin = c->candidates.count;
    e->is_closed = true;
    add(c, slot, root, 0);
    for (size_t i = e->begin; i < c->candidates.count; i++) {
        neve_edges edges = {.stride = 0};
        if (c->host->edges != NULL)
            c->host->edges(c->ctx, &c->candidates.items[i], 1, &edges);
        e->is_closed = e->is_closed && edges.stride != 0 && edges.is_plain;
        if (edges.stride == 0) {
            /* The first piece of a large object will do: it will not fit. */
            size_t cursor = 0;
            c->host->traverse(c->ctx, c->candidates.items[i], visit, c, &cursor);
            continue;
        }
        size_t count = edges.count;
        if (count > PER_ROOT * PER_ROOT) {
            count = PER_ROOT * PER_ROOT;
            e->is_closed = false;
        }
        for (size_t k = 0; k < count; k++)
            if (edges.items[k * edges.stride] != NULL)
                visit(edges.items[k * edges.stride], c);
        if (edges.also != NULL)
            visit(edges.also, c);
    }
    if (e->refs[e->begin] != 0) {
        c->candidates.count = e->begin;
        return;
    }
    for (size_t i = e->begin; i < c->candidates.count && e->is_closed; i++)
        e->is_closed = e->refs[i] == 0;
    c->possible.is_proved = c->possible.is_proved && e->is_closed;
}

/* Gives all references back. Those that are left to be explored come first: returns how
 * many they are. No code of the mutator runs from then on. */
static size_t take(neve_collector *c, void *roots[NV_POSSIBLE_ROOTS])
{
    nv_possible_roots *possible = &c->possible;
    size_t n = possible->count, left = 0;
    memcpy(roots, possible->items, n * sizeof *roots);
    possible->count = 0;
    c->host->release(c->ctx, roots, n);
    if (possible->skip > 0) {
        possible->skip--;
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        if (is_old(c, roots[i]))
            roots[left++] = roots[i];
    return left;
}

neve_status nv_possible_nominate(neve_collector *c)
{
    void *roots[NV_POSSIBLE_ROOTS];
    c->candidates.count = 0;
    size_t n = take(c, roots);
    c->possible.looked_at = n;
    if (n == 0)
        return NEVE_OK;
    nv_explored **explored = &c->possible.explored;
    if (*explored == NULL)
        *explored = nv_heap_map(c->heap, sizeof **explored);
    else
        memset((*explored)->slots, 0, sizeof(*explored)->slots);
    if (*explored == NULL || !nv_vec_reserve(c->heap, &c->candidates, CANDIDATES))
        return NEVE_ENOMEM;
    (*explored)->used = 0;
    c->possible.explored_count += n;
    c->possible.is_proved = c->host->discard != NULL;
    for (size_t i = 0; i < n; i++) {
        if (c->candidates.count + PER_ROOT > CANDIDATES ||
            (*explored)->used + PER_ROOT > SLOTS_USED)
            break;
        if (i + 4 < n)
            __builtin_prefetch(roots[i + 4]);
        explore(c, roots[i]);
    }
    return NEVE_OK;
}

void nv_possible_verified(neve_collector *c, size_t dead)
{
    nv_possible_roots *possible = &c->possible;
    possible->collected += dead;
    if (possible->looked_at == 0)
        return;
    if (dead >= possible->looked_at / YIELD_PART + 1) {
        possible->vain = 0;
        return;
    }
    possible->vain++;
    if (possible->vain >= VAIN_LEAST) {
        unsigned doublings = possible->vain - VAIN_LEAST;
        possible->skip = doublings < 6 ? 1u << doublings : SKIP_MOST;
    }
}
