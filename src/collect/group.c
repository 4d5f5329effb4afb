/* SPDX-License-Identifier: MIT */
/*
 * Groups of suspects are proved dead by a sum. Garbage that hangs together is proved dead
 * in one go, for the mutator runs between slices and tells nobody what it changes; so what
 * can be done before and after is done in slices, and what cannot is one pass over the
 * memory. Of a large group:
 *
 *   colour  a slice after another, the members of the group become grey; the marking
 *           is over, and grey says "member" from now on
 *   list    they are listed in the order of their addresses
 *   sum     in one go: the sum of the members' counts, less the references that they
 *           hold on one another. A count is no less than the references that members
 *           hold on its object; so if all of them together make up no more than that,
 *           each does, nothing outside refers to any member, and all are dead (the sum
 *           is the Sigma test of Bacon and Rajan, 2001). If not, or if one count cannot
 *           be trusted, some are alive, and verify.c finds out who.
 *
 * Small groups are taken together, some thousand objects at once, without the first two.
 *
 * Compared with verify.c this needs no table of gc_refs, nor a map from addresses to
 * numbers: whether a reference leads to a member is one bit, in a table that is a
 * hundredth of the size of the objects.
 *
 * The dead lose their bits, a word of the table at a time, and are in no listing then.
 * Where the host has nothing to do about any of them (no weak references, no
 * finalizers), nothing can lead to them any more: the mutator may run on, and the
 * references that the collector holds while it clears them are taken in slices as well.
 * Otherwise the steps of reclaim.c are taken here, for the few that need them.
 *
 * A member that is freed between two slices loses its grey bit (invariant 5), and is
 * none any more. Invariant 2: a sum that comes out even is a proof, for any set of
 * objects, because all counts and references are read at one safe point.
 */
#include "collect_internal.h"

#include "platform/os.h"

/* Objects that are looked at together, so that their cache misses overlap. */
#define BATCH 32u
_Static_assert(BATCH <= NEVE_MARK_BATCH, "what a host is handed at once");

bool nv_group_is_condemned(const neve_collector *c, const void *object)
{
    if (!c->cycle.group.is_condemned)
        return false;
    const nv_chunk *chunk = nv_chunk_find(c->heap, object);
    unsigned granule = nv_granule(object);
    return chunk != NULL && nv_bit_is_set(chunk->grey, granule);
}

/* ---- what is done in slices ---- */

static bool list_chunk(neve_collector *c, nv_chunk *chunk)
{
    nv_group *group = &c->cycle.group;
    if (!nv_vec_push(c->heap, &group->chunks, chunk))
        return false;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        for (uint64_t bits = chunk->grey[w]; bits != 0; bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (!nv_vec_push(c->heap, &group->members, object))
                return false;
        }
    return true;
}

/* ---- the sum ---- */

typedef struct sum {
    uint64_t counts;     /* of the members, less what the collector holds */
    uint64_t references; /* that members hold on one another */
    bool is_held;        /* a count is not to be trusted */
    bool has_dropped;    /* only the collector holds one of them */
    bool has_left;       /* one proved to be no member: the rest is worth nothing */
    bool has_failed;     /* no memory */
} sum;

/* Where the listing of members has got to. */
typedef struct place {
    size_t chunk;
    unsigned word;
    uint64_t bits; /* of this word, still to come */
} place;

static inline bool is_member(const neve_heap *heap, nv_group *group, const void *object)
{
    uintptr_t number = (uintptr_t)object >> NV_CHUNK_SHIFT;
    nv_near *near = &group->near[number % NV_NEAR_CHUNKS];
    if (NEVE_UNLIKELY(near->number != number)) {
        const nv_chunk *chunk = nv_chunk_find(heap, object);
        *near = (nv_near){number, chunk == NULL ? NULL : chunk->grey};
    }
    return near->grey != NULL && nv_bit_is_set(near->grey, nv_granule(object));
}

static int visit_member(void *object, void *arg)
{
    neve_collector *c = arg;
    c->cycle.visited++;
    c->cycle.group.references += is_member(c->heap, &c->cycle.group, object);
    return 0;
}

/* Lists the next members, at most BATCH, as candidates, and has their memory on its
 * way to the cache while the ones before are looked at. There is room for them: since
 * they were first listed they can only have become fewer. */
static size_t list_next(neve_collector *c, place *at, bool are_held, sum *s)
{
    const nv_group *group = &c->cycle.group;
    size_t n = 0;
    while (n < BATCH) {
        if (at->chunk == group->chunks.count)
            break;
        const nv_chunk *chunk = group->chunks.items[at->chunk];
        for (; at->bits != 0 && n < BATCH; at->bits &= at->bits - 1) {
            uintptr_t granule = (at->word - 1) * 64 + (unsigned)__builtin_ctzll(at->bits);
            char *object = (char *)(chunk->base + (granule << NV_GRANULE_SHIFT));
            __builtin_prefetch(object - 2 * NEVE_GRANULE); /* hosts have heads before objects */
            __builtin_prefetch(object + NEVE_GRANULE);
            c->candidates.items[c->candidates.count++] = object;
            n++;
        }
        if (at->bits != 0)
            break;
        if (at->word == NV_CHUNK_WORDS) {
            at->chunk++;
            at->word = 0;
            continue;
        }
        unsigned w = at->word++;
        at->bits = chunk->grey[w];
        if (at->bits == 0)
            continue;
        /* The dead that are held have lost their states. */
        uint64_t old = nv_old_bits(chunk, w);
        if (!are_held && (at->bits & ~old) != 0) {
            at->bits &= old;
            chunk->grey[w] = at->bits; /* the others left our care without being freed */
            s->has_left = true;
        }
    }
    return n;
}

/* Those of the next `n` that the host still tracks. */
static size_t take_tracked(neve_collector *c, void *const *listed, size_t n, void **objects, sum *s)
{
    size_t taken = 0;
    for (size_t i = 0; i < n; i++) {
        if (nv_is_tracked(c, listed[i])) {
            objects[taken++] = listed[i];
            continue;
        }
        unsigned granule = nv_granule(listed[i]);
        nv_chunk_find(c->heap, listed[i])->grey[granule / 64] &= ~nv_bit(granule);
        s->has_left = true;
    }
    return taken;
}

static void count_references(neve_collector *c, void *const *objects, size_t n)
{
    nv_group *group = &c->cycle.group;
    const neve_heap *heap = c->heap;
    neve_edges edges[BATCH];
    for (size_t i = 0; i < n; i++)
        edges[i].stride = 0;
    if (c->host->edges != NULL)
        c->host->edges(c->ctx, objects, n, edges);
    for (size_t i = 0; i < n; i++)
        if (edges[i].stride != 0)
            __builtin_prefetch(edges[i].items);
    size_t references = 0;
    for (size_t i = 0; i < n; i++) {
        if (edges[i].stride == 0) {
            size_t cursor = 0;
            c->cycle.visited = 0;
            do
                c->host->traverse(c->ctx, objects[i], visit_member, c, &cursor);
            while (cursor != 0);
            if (group->most < c->cycle.visited)
                group->most = c->cycle.visited;
            continue;
        }
        if (group->most < edges[i].count)
            group->most = edges[i].count;
        void *const *item = edges[i].items;
        for (size_t k = edges[i].count; k > 0; k--, item += edges[i].stride)
            references += is_member(heap, group, *item); /* (NULL lies in no chunk) */
        references += is_member(heap, group, edges[i].also);
    }
    group->references += references;
}

static bool note_special(neve_collector *c, void *const *objects, size_t n)
{
    const neve_host *host = c->host;
    nv_group *group = &c->cycle.group;
    void *special[BATCH];
    size_t found = 0;
    if (host->find_special != NULL) {
        found = host->find_special(c->ctx, objects, n, special, &group->has_finalizers);
    } else if (host->clear_weakrefs != NULL || host->finalize != NULL ||
               host->is_uncollectable != NULL) {
        memcpy(special, objects, n * sizeof *objects);
        found = n;
        group->has_finalizers |= host->finalize != NULL;
    }
    for (size_t i = 0; i < found; i++)
        if (!nv_vec_push(c->heap, &group->special, special[i]))
            return false;
    return true;
}

/* Adds the next `n` members. The collector holds `held` references on each. */
static void add(neve_collector *c, sum *s, void *const *objects, size_t n, uint32_t held)
{
    uint32_t counts[BATCH];
    c->host->read_counts(c->ctx, objects, n, counts);
    for (size_t i = 0; i < n; i++) {
        s->is_held |= counts[i] == NEVE_COUNT_HELD;
        s->has_dropped |= counts[i] <= held;
        s->counts += counts[i] - held;
    }
    s->has_failed |= !note_special(c, objects, n);
    count_references(c, objects, n);
}

static void begin_sum(nv_group *group)
{
    group->references = 0;
    group->special.count = 0;
    group->most = 0;
    group->has_finalizers = false;
    for (size_t i = 0; i < NV_NEAR_CHUNKS; i++)
        group->near[i] = (nv_near){UINTPTR_MAX, NULL};
}

/* Of a large group: the candidates are the members then, unless has_left is set. */
static sum sum_listed(neve_collector *c, uint32_t held)
{
    sum s = {0};
    place at = {0};
    begin_sum(&c->cycle.group);
    c->candidates.count = 0;
    for (size_t n = list_next(c, &at, held > 0, &s), next; n > 0; n = next) {
        void *const *listed = c->candidates.items + c->candidates.count - n;
        void *objects[BATCH];
        next = list_next(c, &at, held > 0, &s);
        /* The host need not track what is condemned. */
        if (held == 0)
            n = take_tracked(c, listed, n, objects, &s);
        else
            memcpy(objects, listed, n * sizeof *objects);
        add(c, &s, objects, n, held);
    }
    s.references = c->cycle.group.references;
    return s;
}

static sum sum_up(neve_collector *c, uint32_t held)
{
    const nv_vec *members = &c->candidates;
    if (!c->cycle.group.is_few)
        return sum_listed(c, held);
    sum s = {0};
    begin_sum(&c->cycle.group);
    for (size_t i = 0; i < members->count; i += BATCH) {
        size_t left = members->count - i, n = left < BATCH ? left : BATCH;
        for (size_t k = i + BATCH; k < i + 2 * BATCH && k < members->count; k++) {
            __builtin_prefetch((char *)members->items[k] - 2 * NEVE_GRANULE);
            __builtin_prefetch((char *)members->items[k] + NEVE_GRANULE);
        }
        add(c, &s, members->items + i, n, held);
    }
    s.references = c->cycle.group.references;
    return s;
}

/* Whether the sum proves that all are dead. */
static bool is_proof(neve_collector *c, const sum *s, uint32_t held)
{
    bool is_even = !s->is_held && !s->has_left && !s->has_failed && s->counts == s->references;
#if NEVE_DEBUG >= 2
    const nv_vec *members = &c->candidates;
    nv_verdict verdict;
    if (is_even && nv_verify(c, members->items, members->count, held, false, &verdict) == NEVE_OK)
        NV_ASSERT(verdict.dead + verdict.uncollectable == members->count);
#else
    (void)c;
    (void)held;
#endif
    return is_even;
}

static bool has_uncollectable(const neve_collector *c)
{
    const nv_vec *special = &c->cycle.group.special;
    for (size_t i = 0; i < special->count && c->host->is_uncollectable != NULL; i++)
        if (c->host->is_uncollectable(c->ctx, special->items[i]))
            return true;
    return false;
}

/* ---- the dead ---- */

/* clear_bits, where the members are few and lie anywhere. */
static void clear_bits_of_few(neve_collector *c, bool states, bool grey)
{
    const nv_vec *members = &c->candidates;
    nv_chunk *chunk = NULL;
    for (size_t i = 0; i < members->count; i++) {
        const void *object = members->items[i];
        unsigned granule = nv_granule(object);
        if (chunk == NULL || (uintptr_t)object - chunk->base >= NV_CHUNK_BYTES)
            chunk = nv_chunk_find(c->heap, object);
        uint64_t bit = nv_bit(granule), high = chunk->high[granule / 64] & bit;
        if (grey)
            chunk->grey[granule / 64] &= ~bit;
        if (!states)
            continue;
        c->heap->old_objects -= high != 0;
        chunk->high[granule / 64] ^= high;
        if ((nv_low_bits(chunk, granule / 64) & bit) != 0)
            chunk->low[granule / 64] &= ~bit;
    }
}

/* Takes bits from all members, a word of the table at a time. */
static void clear_bits(neve_collector *c, bool states, bool grey)
{
    if (c->cycle.group.is_few) {
        clear_bits_of_few(c, states, grey);
        return;
    }
    const nv_vec *chunks = &c->cycle.group.chunks;
    for (size_t i = 0; i < chunks->count; i++) {
        const nv_chunk *chunk = chunks->items[i];
        for (unsigned w = 0; w < NV_CHUNK_WORDS; w++) {
            uint64_t bits = chunk->grey[w];
            if (bits == 0)
                continue;
            if (grey)
                chunk->grey[w] = 0;
            if (!states)
                continue;
            c->heap->old_objects -= (size_t)__builtin_popcountll(chunk->high[w] & bits);
            chunk->high[w] &= ~bits;
            if ((nv_low_bits(chunk, w) & bits) != 0)
                chunk->low[w] &= ~bits;
        }
    }
}

/* Whether all members are still dead after code of the mutator has run. */
static bool is_dead_still(neve_collector *c)
{
    uint64_t before = nv_os_now_ns();
    sum s = sum_up(c, 1);
    bool is_dead = !s.has_dropped && is_proof(c, &s, 1);
    c->current.verify_ns += nv_os_now_ns() - before;
    return is_dead;
}

/* Weak references and finalizers of the dead. Returns how many are dead after that:
 * they come first. */
static size_t finish_special(neve_collector *c, bool can_revive, bool ran_code)
{
    const neve_host *host = c->host;
    nv_group *group = &c->cycle.group;
    nv_vec *members = &c->candidates, *special = &group->special;
    bool has_called = false;
    if (host->clear_weakrefs != NULL)
        c->current.collected += host->clear_weakrefs(c->ctx, special->items, special->count,
                                                     NEVE_WEAKREFS_BEFORE_FINALIZERS, &has_called);
    /* Callbacks come when the weak references are cleared, and reach no member, unless
     * some are left for finalizers. */
    ran_code |= has_called && can_revive;
    if (group->has_finalizers) {
        bool has_map = nv_verify_map(c, members->items, members->count) == NEVE_OK;
        nv_finalize(c, special->items, special->count, special->count, has_map ? members->count : 0,
                    &ran_code);
        nv_verify_finish(c);
    }
    bool is_dead = !ran_code || is_dead_still(c);
    if (is_dead && (ran_code || host->keeps_weakrefs) && host->clear_weakrefs != NULL)
        host->clear_weakrefs(c->ctx, special->items, special->count, NEVE_WEAKREFS_AFTER_FINALIZERS,
                             &ran_code);
    clear_bits(c, false, true);
    group->is_condemned = false;
    if (!is_dead)
        return nv_reclaim_settle(c, members->items, members->count, 2, true);
    c->current.collected += members->count;
    return members->count;
}

static void condemn_members(neve_collector *c)
{
    const neve_host *host = c->host;
    nv_group *group = &c->cycle.group;
    nv_vec *members = &c->candidates;
    /* Where code can reach members, or the host has to hide them itself, they have to
     * be held now. */
    bool can_revive = group->has_finalizers || (host->keeps_weakrefs && group->special.count > 0);
    bool is_held = can_revive || !host->condemns_late;
    if (group->is_few && group->special.count == 0 && host->condemn_plain != NULL &&
        host->condemn_plain(c->ctx, members->items, members->count)) {
        clear_bits(c, false, true);
        c->current.collected += members->count;
        host->discard(c->ctx, members->items, members->count, false);
        members->count = 0;
        return;
    }
    if (group->special.count == 0 && !is_held) {
        clear_bits(c, true, true);
        c->current.collected += members->count;
    } else {
        bool ran_code = false;
        clear_bits(c, true, false);
        group->is_condemned = true;
        if (is_held) {
            host->retain(c->ctx, members->items, members->count);
            if (host->condemn != NULL)
                host->condemn(c->ctx, members->items, members->count, &ran_code);
        }
        members->count = finish_special(c, can_revive, ran_code);
    }

    NV_ASSERT(c->later.items.count == 0);
    nv_vec dead = *members;
    *members = c->later.items;
    c->later.items = dead;
    c->later.held = is_held ? dead.count : 0;
    c->later.is_light = group->most <= NV_LIGHT;
}

/* By the sum over the candidates. False: they are for the ordinary verification. */
static bool judge(neve_collector *c, const sum *s, uint64_t start_ns)
{
    bool is_dead = is_proof(c, s, 0) && !has_uncollectable(c);
    uint64_t verified_ns = nv_os_now_ns();
    c->current.verify_ns += verified_ns - start_ns;
    if (!is_dead) {
        clear_bits(c, false, true);
        return false;
    }
    c->current.candidates += c->candidates.count;
    condemn_members(c);
    c->current.reclaim_ns += nv_os_now_ns() - verified_ns;
    return true;
}

static void verify_members(neve_collector *c)
{
    uint64_t start_ns = nv_os_now_ns();
    c->cycle.group.is_few = false;
    nv_vec members = c->cycle.group.members;
    c->cycle.group.members = c->candidates;
    c->candidates = members;
    sum s = sum_up(c, 0);
    while (s.has_left) /* what has left is no member now: once more will do */
        s = sum_up(c, 0);
    size_t n = c->candidates.count;
    if (c->cycle.stats.largest_group < n)
        c->cycle.stats.largest_group = n;
    (void)judge(c, &s, start_ns);
}

bool nv_group_verify_few(neve_collector *c)
{
    uint64_t start_ns = nv_os_now_ns();
    const nv_vec *members = &c->candidates;
    c->cycle.group.is_few = true;
    nv_chunk *chunk = NULL;
    for (size_t i = 0; i < members->count; i++) {
        const void *object = members->items[i];
        unsigned granule = nv_granule(object);
        if (chunk == NULL || (uintptr_t)object - chunk->base >= NV_CHUNK_BYTES)
            chunk = nv_chunk_find(c->heap, object);
        chunk->grey[granule / 64] |= nv_bit(granule);
    }
    sum s = sum_up(c, 0);
    return judge(c, &s, start_ns);
}

bool nv_group_next(neve_collector *c, neve_status *status)
{
    nv_group *group = &c->cycle.group;
    c->candidates.count = 0;
    switch (group->stage) {
    case NV_GROUP_NONE:
        break;
    case NV_GROUP_COLOUR:
        if (nv_filter_colour(c)) {
            group->members.count = group->chunks.count = 0;
            group->stage = NV_GROUP_LIST;
        }
        return false;
    case NV_GROUP_LIST: {
        nv_chunk *chunk = nv_mark_take_chunk(c);
        if (chunk == NULL)
            group->stage = NV_GROUP_SUM;
        else if (!list_chunk(c, chunk))
            *status = NEVE_ENOMEM; /* a part of the members is grey */
        return false;
    }
    case NV_GROUP_SUM:
        verify_members(c);
        break;
    }
    group->stage = NV_GROUP_NONE;
    return true;
}

void nv_group_drop(neve_collector *c)
{
    nv_group *group = &c->cycle.group;
    group->stage = NV_GROUP_NONE;
    nv_vec_trim(c, &group->chunks);
    nv_vec_trim(c, &group->members);
    nv_vec_trim(c, &group->special);
}
