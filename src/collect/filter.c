/* SPDX-License-Identifier: MIT */
/*
 * What a cycle does between marking and verifying. The suspects are the old objects
 * that the marking did not reach: garbage, and some live ones that were missed for
 * want of a root or because the mutator moved a reference. A union-find joins them
 * to groups that can be verified one by one. Live ones can make groups large that
 * hang on them; then a trial deletion in slices sorts them out, and what is left is
 * grouped again.
 *
 * The set of suspects is no list: an object is one while its white bit is set and
 * its state is old. So a suspect that is freed is none from then on (invariant 5),
 * nor is what comes to lie at its address. Each suspect has a slot in its chunk's
 * table: for its number plus one, and in the trial deletion for gc_refs.
 *
 * The mutator runs between slices, so counts and references are of different
 * times, and the outcome may be wrong in both directions. Both are harmless:
 *   - a live object that looks dead is verified, at a cost;
 *   - a dead one that looks alive waits for the next cycle. This cannot happen to
 *     what was dead when the cycle began: its count and all references to it, which
 *     come from suspects, stay as they are, so that its gc_refs come to zero; and
 *     nothing that has been alive since refers to it (invariant 3).
 */
#include "collect_internal.h"

/* A traversal asks how much it has done after so many references. */
#define PIECE 1024u
#define BATCH NV_CYCLE_BATCH
/* So many objects, if they hold fewer references than a piece. */
#define OBJECTS 32u
#define REFS_HELD UINT32_MAX
#define LINK_ROOT 0x80000000u

/* The slot of a suspect, or NULL. */
static inline uint32_t *slot_of(const neve_collector *c, const void *object)
{
    uintptr_t entry = nv_entry_find(c->heap, object);
    if (entry == 0)
        return NULL;
    const nv_chunk *chunk = nv_entry_chunk(entry);
    unsigned granule = nv_granule(object);
    if (!nv_bit_is_set(chunk->white, granule))
        return NULL;
    return nv_index_slot(entry, chunk->suspects, object);
}

static inline bool is_suspect(const neve_collector *c, const void *object)
{
    return nv_mark_is_white(c, object) && nv_state_get(c->heap, object) == NV_STATE_OLD;
}

/* The next suspects, in address order, of one chunk at most: none may be found
 * there. False: that was the last chunk. */
static bool take_suspects(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    cycle->count = cycle->at = cycle->cursor = 0;
    nv_chunk *chunk = nv_chunk_next(c->heap, cycle->chunk);
    if (chunk == NULL)
        return false;
    if (chunk->base != cycle->chunk) {
        cycle->chunk = chunk->base;
        cycle->word = 0;
    }
    unsigned w = cycle->word;
    for (; w < NV_CHUNK_WORDS && cycle->count + 64 <= BATCH; w++) {
        uint64_t bits = chunk->white[w];
        if (bits == 0)
            continue;
        for (bits &= nv_old_bits(chunk, w); bits != 0; bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            __builtin_prefetch(object);
            cycle->batch[cycle->count++] = object;
        }
    }
    cycle->word = w;
    if (w == NV_CHUNK_WORDS) {
        cycle->chunk = chunk->base + NV_CHUNK_BYTES;
        cycle->word = 0;
    }
    return true;
}

static void rewind_suspects(nv_cycle *cycle)
{
    cycle->chunk = 0;
    cycle->word = 0;
    cycle->count = cycle->at = cycle->cursor = 0;
}

/* Goes on with the references of `object`, from cycle->cursor: a piece of them.
 * True: that was the last. */
static bool visit_piece(neve_collector *c, void *object, const neve_edges *edges,
                        neve_visit_fn visit)
{
    nv_cycle *cycle = &c->cycle;
    if (edges->stride == 0) {
        c->host->traverse(c->ctx, object, visit, c, &cycle->cursor);
        return cycle->cursor == 0;
    }
    /* It may have shrunk since the last slice. */
    size_t at = cycle->cursor < edges->count ? cycle->cursor : edges->count;
    size_t end = edges->count - at > PIECE ? at + PIECE : edges->count;
    for (size_t i = at; i < end; i++)
        if (edges->items[i * edges->stride] != NULL)
            visit(edges->items[i * edges->stride], c);
    cycle->cursor = end < edges->count ? end : 0;
    if (cycle->cursor != 0)
        return false;
    if (edges->also != NULL)
        visit(edges->also, c);
    return true;
}

/* The next of the objects up to `end` that are suspects still and that the host tracks, and
 * where their references lie: a few at once, so that their cache misses overlap. Returns
 * the index of the first that was not looked at. */
typedef struct few {
    size_t count;
    size_t index[OBJECTS];
    void *objects[OBJECTS];
    neve_edges edges[OBJECTS];
} few;

static size_t take_few(neve_collector *c, void *const *objects, size_t at, size_t end, few *taken)
{
    taken->count = 0;
    if (end - at > OBJECTS)
        end = at + OBJECTS;
    for (size_t i = at; i < end; i++) {
        __builtin_prefetch((char *)objects[i] - NEVE_GRANULE); /* hosts have heads before objects */
        __builtin_prefetch((char *)objects[i] + NEVE_GRANULE);
    }
    /* One may have died since it was noted, or have left our care without being freed. */
    for (size_t i = at; i < end; i++) {
        if (!is_suspect(c, objects[i]) || !nv_is_tracked(c, objects[i]))
            continue;
        taken->index[taken->count] = i;
        taken->objects[taken->count++] = objects[i];
    }
    if (c->host->edges != NULL)
        c->host->edges(c->ctx, taken->objects, taken->count, taken->edges);
    else
        for (size_t i = 0; i < taken->count; i++)
            taken->edges[i].stride = 0;
    for (size_t i = 0; i < taken->count; i++)
        if (taken->edges[i].stride != 0)
            __builtin_prefetch(taken->edges[i].items);
    return end;
}

/* The scan goes on with the object of that index. What was visited in part, if it is another
 * one, is gone, or has become another object. */
static void go_to(nv_cycle *cycle, size_t *at, size_t index)
{
    if (*at != index)
        cycle->cursor = 0;
    *at = index;
}

/* ---- gc_refs of the suspects ---- */

bool nv_filter_count(neve_collector *c, neve_status *status)
{
    nv_cycle *cycle = &c->cycle;
    if (!take_suspects(c)) {
        rewind_suspects(cycle);
        return true;
    }
    size_t n = 0;
    for (size_t i = 0; i < cycle->count; i++) {
        void *object = cycle->batch[i];
        if (nv_is_tracked(c, object)) {
            cycle->batch[n++] = object;
        } else {
            neve_collector_forget(c, object); /* it left our care without being freed */
        }
    }
    uint32_t counts[BATCH];
    c->host->read_counts(c->ctx, cycle->batch, n, counts);
    for (size_t i = 0; i < n; i++) {
        void *object = cycle->batch[i];
        uint32_t *slot = nv_suspect_ensure(c->heap, nv_chunk_find(c->heap, object), object);
        if (slot == NULL) {
            *status = NEVE_ENOMEM;
            return true;
        }
        *slot = counts[i] == NEVE_COUNT_HELD ? REFS_HELD : counts[i];
    }
    cycle->counted += n;
    return false;
}

static int visit_subtract(void *object, void *arg)
{
    neve_collector *c = arg;
    c->cycle.visited++;
    uint32_t *slot = slot_of(c, object);
    if (slot != NULL && *slot != 0 && *slot != REFS_HELD)
        --*slot;
    return 0;
}

bool nv_filter_subtract(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    if (cycle->at == cycle->count && !take_suspects(c)) {
        rewind_suspects(cycle);
        return true;
    }
    few next;
    size_t end = take_few(c, cycle->batch, cycle->at, cycle->count, &next);
    cycle->visited = 0;
    for (size_t i = 0; i < next.count; i++) {
        go_to(cycle, &cycle->at, next.index[i]);
        if (!visit_piece(c, next.objects[i], &next.edges[i], visit_subtract))
            return false;
        cycle->at++;
        if (cycle->visited >= PIECE)
            return false;
    }
    go_to(cycle, &cycle->at, end);
    return false;
}

bool nv_filter_rescue(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    if (!nv_mark_step(c, PIECE))
        return false;
    if (!take_suspects(c)) {
        rewind_suspects(cycle);
        cycle->is_filtered = true;
        cycle->nominated = cycle->counted;
        cycle->suspects.count = 0;
        return true;
    }
    for (size_t i = 0; i < cycle->count; i++) {
        const uint32_t *slot = slot_of(c, cycle->batch[i]);
        if ((slot == NULL || *slot != 0) && nv_is_tracked(c, cycle->batch[i]))
            nv_mark_from(c, cycle->batch[i]);
    }
    cycle->count = 0;
    return false;
}

/* ---- groups ---- */

/* Room for `n` links of each kind, all of them zero. */
static bool make_links(neve_collector *c, size_t n)
{
    nv_cycle *cycle = &c->cycle;
    size_t bytes = (n * sizeof(uint32_t) + 65535) & ~(size_t)65535;
    nv_heap_unmap(c->heap, cycle->parent, cycle->link_bytes);
    nv_heap_unmap(c->heap, cycle->ring, cycle->link_bytes);
    cycle->link_bytes = bytes;
    cycle->parent = nv_heap_map(c->heap, bytes);
    cycle->ring = nv_heap_map(c->heap, bytes);
    return cycle->parent != NULL && cycle->ring != NULL;
}

bool nv_filter_number(neve_collector *c, neve_status *status)
{
    nv_cycle *cycle = &c->cycle;
    if (!take_suspects(c)) {
        rewind_suspects(cycle);
        cycle->next = 0;
        cycle->largest = 1;
        if (!cycle->is_filtered)
            cycle->nominated = cycle->suspects.count;
        if (cycle->suspects.count > 0 && !make_links(c, cycle->suspects.count))
            *status = NEVE_ENOMEM;
        return true;
    }
    for (size_t i = 0; i < cycle->count; i++) {
        void *object = cycle->batch[i];
        if (!nv_is_tracked(c, object)) {
            neve_collector_forget(c, object); /* it left our care without being freed */
            continue;
        }
        uint32_t *slot = nv_suspect_ensure(c->heap, nv_chunk_find(c->heap, object), object);
        if (slot == NULL || cycle->suspects.count >= LINK_ROOT ||
            !nv_vec_push(c->heap, &cycle->suspects, object)) {
            *status = NEVE_ENOMEM;
            return true;
        }
        *slot = (uint32_t)cycle->suspects.count;
    }
    return false;
}

/* An entry of `parent` is a number plus one; or LINK_ROOT and the size of the group,
 * of which 0 is short for 1. */
static uint32_t root_of(nv_cycle *cycle, uint32_t i)
{
    for (;;) {
        uint32_t parent = cycle->parent[i];
        if (parent == 0 || (parent & LINK_ROOT) != 0)
            return i;
        uint32_t next = cycle->parent[parent - 1];
        if (next == 0 || (next & LINK_ROOT) != 0)
            return parent - 1;
        cycle->parent[i] = next;
        i = next - 1;
    }
}

static uint32_t size_of(const nv_cycle *cycle, uint32_t root)
{
    return cycle->parent[root] == 0 ? 1 : cycle->parent[root] & ~LINK_ROOT;
}

static uint32_t after(const nv_cycle *cycle, uint32_t i)
{
    return cycle->ring[i] == 0 ? i : cycle->ring[i] - 1;
}

/* Joins two groups: their trees (Tarjan's union-find, by size, halving paths), and
 * their rings, of which two become one by exchanging two links. */
static void join(nv_cycle *cycle, uint32_t a, uint32_t b)
{
    uint32_t large = root_of(cycle, a), small = root_of(cycle, b);
    if (large == small)
        return;
    if (size_of(cycle, large) < size_of(cycle, small)) {
        uint32_t other = large;
        large = small;
        small = other;
    }
    uint32_t size = size_of(cycle, large) + size_of(cycle, small);
    cycle->parent[small] = large + 1;
    cycle->parent[large] = LINK_ROOT | size;
    if (cycle->largest < size)
        cycle->largest = size;
    uint32_t next = after(cycle, large);
    cycle->ring[large] = after(cycle, small) + 1;
    cycle->ring[small] = next + 1;
}

static int visit_join(void *object, void *arg)
{
    neve_collector *c = arg;
    c->cycle.visited++;
    const uint32_t *slot = slot_of(c, object);
    NV_ASSERT(slot == NULL || *slot <= c->cycle.suspects.count);
    if (slot != NULL && *slot != 0)
        join(&c->cycle, (uint32_t)c->cycle.next, *slot - 1);
    return 0;
}

bool nv_filter_group(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    if (cycle->next == cycle->suspects.count) {
        cycle->next = 0;
        return true;
    }
    few next;
    size_t end = take_few(c, cycle->suspects.items, cycle->next, cycle->suspects.count, &next);
    cycle->visited = 0;
    for (size_t i = 0; i < next.count; i++) {
        go_to(cycle, &cycle->next, next.index[i]);
        if (cycle->cursor == 0 && c->host->visit_weakrefs != NULL)
            c->host->visit_weakrefs(c->ctx, next.objects[i], visit_join, c);
        if (!visit_piece(c, next.objects[i], &next.edges[i], visit_join))
            return false;
        cycle->next++;
        if (cycle->visited >= PIECE)
            return false;
    }
    go_to(cycle, &cycle->next, end);
    return false;
}

bool nv_filter_colour(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    nv_group *group = &cycle->group;
    for (unsigned done = 0; done < BATCH; done++) {
        void *object = cycle->suspects.items[group->next];
        if (is_suspect(c, object)) {
            nv_mark_blacken(c, object);
            nv_mark_make_grey(c, object);
        }
        group->next = after(cycle, group->next);
        if (group->next == group->first)
            return true;
    }
    return false;
}

bool nv_filter_take(neve_collector *c, size_t n, size_t references)
{
    nv_cycle *cycle = &c->cycle;
    size_t held = 0; /* references, by those that were taken */
    c->candidates.count = 0;
    for (; cycle->next < cycle->suspects.count && c->candidates.count < n && held < references;
         cycle->next++) {
        uint32_t first = (uint32_t)cycle->next;
        if (!is_suspect(c, cycle->suspects.items[first]))
            continue; /* of a group that was taken already, or dead by its count */
        if (size_of(cycle, root_of(cycle, first)) > cycle->filter_above) {
            if (c->candidates.count > 0)
                return true;
            cycle->group.stage = NV_GROUP_COLOUR;
            cycle->group.first = cycle->group.next = first;
            cycle->next++;
            return true;
        }
        size_t before = c->candidates.count;
        uint32_t i = first;
        do {
            void *object = cycle->suspects.items[i];
            i = after(cycle, i);
            if (!is_suspect(c, object))
                continue;
            nv_mark_blacken(c, object);
            if (!nv_is_tracked(c, object))
                continue;
            held += nv_count_references(c, object, references);
            /* Without memory it stays old, and the next cycle finds it. */
            if (!nv_vec_push(c->heap, &c->candidates, object))
                c->failed++;
        } while (i != first);
        size_t size = c->candidates.count - before;
        if (cycle->stats.largest_group < size)
            cycle->stats.largest_group = size;
    }
    return c->candidates.count > 0;
}
