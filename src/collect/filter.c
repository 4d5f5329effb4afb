/* SPDX-License-Identifier: MIT */
/*
 * What a cycle does between marking and verifying. The suspects are the old objects
 * that the marking did not reach: garbage, and some live ones that were missed for
 * want of a root or because the mutator moved a reference. One pass over their
 * references does two things:
 *
 *   - a union-find joins them to groups that can be verified one by one;
 *   - a trial deletion (gc_refs: counts less the references that suspects hold on one
 *     another) tells which look alive: these, and what they reach, leave.
 *
 * What is alive can make groups large that hang on it. Then the large ones are taken apart
 * and grouped again, without what has left.
 *
 * The set of suspects is no list: an object is one while its white bit is set and
 * its state is old. So a suspect that is freed is none from then on (invariant 5),
 * nor is what comes to lie at its address. They are numbered in the order of their
 * addresses, so that a bit for each and a number for each word of bits tell all numbers.
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
/* So many objects at once. */
#define OBJECTS 32u
/* So many suspects are numbered, so many numbers looked at, in one quantum. */
#define NUMBERED 128u
#define SCANNED 1024u
#define LINK_ROOT 0x80000000u

/* gc_refs of a suspect: two flags, and above them its count less the references that were
 * subtracted, modulo 2^30. */
#define REFS_HELD 1u    /* its count is not to be trusted */
#define REFS_TANGLED 2u /* of a large group that something alive is in: it is to be grouped again */
#define REFS_ONE 4u

/* What is not a suspect. */
#define NO_NUMBER UINT32_MAX

static inline unsigned count_bits(uint64_t bits)
{
    /* The instruction is missing from the oldest processors of some architectures. */
    bits -= bits >> 1 & 0x5555555555555555u;
    bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
    bits = (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)(bits * 0x0101010101010101u >> 56);
}

/* The number of a suspect. Those of a chunk were numbered in the order of their addresses. */
static inline uint32_t number_of(const neve_collector *c, const void *object)
{
    const nv_chunk *chunk = nv_chunk_find(c->heap, object);
    if (chunk == NULL)
        return NO_NUMBER;
    unsigned granule = nv_granule(object), w = granule / 64;
    uint64_t bit = nv_bit(granule);
    if ((chunk->white[w] & bit) == 0)
        return NO_NUMBER;
    const nv_numbered *numbered = chunk->numbered;
    NV_ASSERT((numbered->bits[w] & bit) != 0);
    return numbered->first[w] + count_bits(numbered->bits[w] & (bit - 1));
}

static inline bool is_suspect_in(const nv_chunk *chunk, const void *object)
{
    return nv_bit_is_set(chunk->white, nv_granule(object)) &&
           nv_state_in(chunk, object) == NV_STATE_OLD;
}

static inline bool is_suspect(const neve_collector *c, const void *object)
{
    const nv_chunk *chunk = nv_chunk_find(c->heap, object);
    return chunk != NULL && is_suspect_in(chunk, object);
}

/* ---- numbers ---- */

/* Room for `n` links, all of them zero. */
static bool make_links(neve_collector *c, size_t n)
{
    nv_cycle *cycle = &c->cycle;
    size_t bytes = n * sizeof *cycle->links;
    if (bytes <= cycle->link_bytes) {
        memset(cycle->links, 0, bytes);
        return true;
    }
    nv_heap_unmap(c->heap, cycle->links, cycle->link_bytes);
    cycle->link_bytes = (bytes + 65535) & ~(size_t)65535;
    cycle->links = nv_heap_map(c->heap, cycle->link_bytes);
    if (cycle->links == NULL)
        cycle->link_bytes = 0;
    return cycle->links != NULL;
}

bool nv_filter_number(neve_collector *c, neve_status *status)
{
    nv_cycle *cycle = &c->cycle;
    nv_chunk *chunk = nv_chunk_next(c->heap, cycle->chunk);
    if (chunk == NULL) {
        cycle->next = cycle->cursor = 0;
        cycle->nominated = cycle->suspects.count;
        if (cycle->nominated > 0 && !make_links(c, cycle->nominated))
            *status = NEVE_ENOMEM;
        return true;
    }
    if (chunk->base != cycle->chunk) {
        cycle->chunk = chunk->base;
        cycle->word = 0;
    }
    size_t enough = cycle->suspects.count + NUMBERED;
    unsigned w = cycle->word;
    for (; w < NV_CHUNK_WORDS && cycle->suspects.count < enough; w++) {
        uint64_t bits = chunk->white[w];
        if (bits != 0)
            bits &= nv_old_bits(chunk, w);
        if (bits == 0)
            continue;
        nv_numbered *numbered = nv_numbered_ensure(c->heap, chunk);
        if (numbered == NULL || cycle->suspects.count >= LINK_ROOT - 64) {
            *status = NEVE_ENOMEM;
            return true;
        }
        numbered->bits[w] = bits;
        numbered->first[w] = (uint32_t)cycle->suspects.count;
        for (; bits != 0; bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (!nv_vec_push(c->heap, &cycle->suspects, object)) {
                *status = NEVE_ENOMEM;
                return true;
            }
        }
    }
    cycle->word = w;
    if (w == NV_CHUNK_WORDS) {
        cycle->chunk = chunk->base + NV_CHUNK_BYTES;
        cycle->word = 0;
    }
    return false;
}

/* ---- a forest of groups ---- */

/* `parent` is a number plus one; or LINK_ROOT and the size of the group, of which 0 is short
 * for 1. */
static uint32_t root_of(nv_cycle *cycle, uint32_t i)
{
    nv_link *links = cycle->links;
    for (;;) {
        uint32_t parent = links[i].parent;
        if (parent == 0 || (parent & LINK_ROOT) != 0)
            return i;
        uint32_t next = links[parent - 1].parent;
        if (next == 0 || (next & LINK_ROOT) != 0)
            return parent - 1;
        links[i].parent = next;
        i = next - 1;
    }
}

static uint32_t size_of(const nv_cycle *cycle, uint32_t root)
{
    uint32_t parent = cycle->links[root].parent;
    return parent == 0 ? 1 : parent & ~LINK_ROOT;
}

static uint32_t after(const nv_cycle *cycle, uint32_t i)
{
    uint32_t next = cycle->links[i].ring;
    return next == 0 ? i : next - 1;
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
    uint32_t next = after(cycle, large);
    cycle->links[small].parent = large + 1;
    cycle->links[large].parent = LINK_ROOT | size;
    cycle->links[large].ring = after(cycle, small) + 1;
    cycle->links[small].ring = next + 1;
}

/* ---- references ---- */

/* A reference of the suspect at cycle->next. `subtracts` and `visit` below are constants where
 * these are inlined. */
static inline void meet(neve_collector *c, const void *object, bool subtracts)
{
    nv_cycle *cycle = &c->cycle;
    uint32_t number = number_of(c, object);
    if (number == NO_NUMBER)
        return;
    NV_ASSERT(number < cycle->suspects.count && cycle->suspects.items[number] == object);
    if (subtracts)
        cycle->links[number].refs -= REFS_ONE;
    join(cycle, (uint32_t)cycle->next, number);
}

static int visit_join(void *object, void *arg)
{
    neve_collector *c = arg;
    c->cycle.visited++;
    meet(c, object, false);
    return 0;
}

static int visit_subtract(void *object, void *arg)
{
    neve_collector *c = arg;
    c->cycle.visited++;
    meet(c, object, true);
    return 0;
}

/* Goes on with the references of `object`, from cycle->cursor: a piece of them.
 * True: that was the last. */
static inline __attribute__((always_inline)) bool
visit_piece(neve_collector *c, void *object, const neve_edges *edges, bool subtracts)
{
    nv_cycle *cycle = &c->cycle;
    if (edges->stride == 0) {
        c->host->traverse(c->ctx, object, subtracts ? visit_subtract : visit_join, c,
                          &cycle->cursor);
        return cycle->cursor == 0;
    }
    /* It may have shrunk since the last slice. */
    size_t at = cycle->cursor < edges->count ? cycle->cursor : edges->count;
    size_t end = edges->count - at > PIECE ? at + PIECE : edges->count;
    cycle->visited += end - at;
    for (; at < end; at++)
        if (edges->items[at * edges->stride] != NULL)
            meet(c, edges->items[at * edges->stride], subtracts);
    cycle->cursor = end < edges->count ? end : 0;
    if (cycle->cursor != 0)
        return false;
    if (edges->also != NULL)
        meet(c, edges->also, subtracts);
    return true;
}

/* The next suspects that are some still and that the host tracks, and where their references
 * lie: a few at once, so that their cache misses overlap. Returns the number behind the last
 * that was looked at. */
typedef struct few {
    size_t count;
    size_t numbers[OBJECTS];
    void *objects[OBJECTS];
    neve_edges edges[OBJECTS];
} few;

static size_t take_few(neve_collector *c, few *taken, bool is_first)
{
    nv_cycle *cycle = &c->cycle;
    size_t first = cycle->next, end = cycle->suspects.count;
    void *const *objects = cycle->suspects.items;
    if (end - first > OBJECTS)
        end = first + OBJECTS;
    taken->count = 0;
    const nv_chunk *chunk = NULL; /* neighbours have neighbouring numbers */
    for (size_t i = first; i < end; i++) {
        if (!is_first && (cycle->links[i].refs & REFS_TANGLED) == 0)
            continue;
        if (chunk == NULL || (uintptr_t)objects[i] - chunk->base >= NV_CHUNK_BYTES)
            chunk = nv_chunk_find(c->heap, objects[i]);
        if (chunk == NULL || !is_suspect_in(chunk, objects[i]))
            continue;
        __builtin_prefetch((char *)objects[i] - NEVE_GRANULE); /* hosts have heads before objects */
        __builtin_prefetch((char *)objects[i] + NEVE_GRANULE);
        taken->numbers[taken->count] = i;
        taken->objects[taken->count++] = objects[i];
    }
    size_t found = taken->count;
    taken->count = 0;
    for (size_t i = 0; i < found; i++) {
        if (!nv_is_tracked(c, taken->objects[i])) {
            neve_collector_forget(c, taken->objects[i]); /* it left our care without being freed */
            cycle->nominated--;
            continue;
        }
        taken->numbers[taken->count] = taken->numbers[i];
        taken->objects[taken->count++] = taken->objects[i];
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

/* The scan goes on with that number. What was visited in part, if it is another one, is gone. */
static void go_to(nv_cycle *cycle, size_t number)
{
    if (cycle->next != number)
        cycle->cursor = 0;
    cycle->next = number;
}

static inline __attribute__((always_inline)) bool group_next(neve_collector *c, bool is_first)
{
    nv_cycle *cycle = &c->cycle;
    cycle->visited = 0;
    while (cycle->visited < PIECE) {
        if (cycle->next == cycle->suspects.count) {
            cycle->next = cycle->cursor = 0;
            return true;
        }
        few next;
        uint32_t counts[OBJECTS];
        size_t end = take_few(c, &next, is_first);
        if (is_first)
            c->host->read_counts(c->ctx, next.objects, next.count, counts);
        cycle->visited += end - cycle->next;
        for (size_t i = 0; i < next.count; i++) {
            go_to(cycle, next.numbers[i]);
            if (cycle->cursor == 0) { /* else its first piece has been visited */
                nv_link *own = &cycle->links[cycle->next];
                if (is_first && counts[i] == NEVE_COUNT_HELD)
                    own->refs |= REFS_HELD;
                else if (is_first)
                    own->refs += counts[i] * REFS_ONE;
                if (c->host->visit_weakrefs != NULL)
                    c->host->visit_weakrefs(c->ctx, next.objects[i], visit_join, c);
            }
            if (!visit_piece(c, next.objects[i], &next.edges[i], is_first))
                return false;
            cycle->next++;
            if (cycle->visited >= PIECE)
                return false;
        }
        go_to(cycle, end);
    }
    return false;
}

bool nv_filter_group(neve_collector *c)
{
    return group_next(c, true);
}

/* ---- what is alive ---- */

bool nv_filter_rescue(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    if (!nv_mark_step(c, PIECE))
        return false;
    if (cycle->next == cycle->suspects.count) {
        cycle->next = 0;
        return true;
    }
    size_t n = cycle->suspects.count, end = n - cycle->next < SCANNED ? n : cycle->next + SCANNED;
    for (size_t i = cycle->next; i < end; i++) {
        void *object = cycle->suspects.items[i];
        if ((cycle->links[i].refs & ~REFS_TANGLED) == 0 || !is_suspect(c, object) ||
            !nv_is_tracked(c, object))
            continue;
        uint32_t root = root_of(cycle, (uint32_t)i);
        if (size_of(cycle, root) > cycle->large_above) {
            cycle->links[root].refs |= REFS_TANGLED;
            cycle->is_tangled = true;
        }
        nv_mark_from(c, object);
    }
    cycle->next = end;
    return false;
}

/* Has all members of the groups that are tangled say so. */
bool nv_filter_untangle(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    size_t n = cycle->suspects.count, end = n - cycle->next < SCANNED ? n : cycle->next + SCANNED;
    for (size_t i = cycle->next; i < end; i++) {
        uint32_t root = root_of(cycle, (uint32_t)i);
        cycle->links[i].refs |= cycle->links[root].refs & REFS_TANGLED;
    }
    cycle->next = end < n ? end : 0;
    return end == n;
}

/* They are groups of their own. */
bool nv_filter_sever(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    size_t n = cycle->suspects.count, end = n - cycle->next < SCANNED ? n : cycle->next + SCANNED;
    for (size_t i = cycle->next; i < end; i++)
        if ((cycle->links[i].refs & REFS_TANGLED) != 0)
            cycle->links[i].parent = cycle->links[i].ring = 0;
    cycle->next = end < n ? end : 0;
    return end == n;
}

bool nv_filter_group_again(neve_collector *c)
{
    return group_next(c, false);
}

/* ---- taking groups ---- */

bool nv_filter_colour(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    nv_group *group = &cycle->group;
    nv_chunk *chunk = NULL;
    for (unsigned done = 0; done < NUMBERED; done++) {
        void *object = cycle->suspects.items[group->next];
        if (chunk == NULL || (uintptr_t)object - chunk->base >= NV_CHUNK_BYTES)
            chunk = nv_chunk_find(c->heap, object);
        if (chunk != NULL && is_suspect_in(chunk, object))
            nv_mark_turn_grey(c, chunk, object);
        group->next = after(cycle, group->next);
        if (group->next == group->first)
            return true;
    }
    return false;
}

/* Takes a group of which the suspect `first` is a member. */
static void take_group(neve_collector *c, uint32_t first)
{
    nv_cycle *cycle = &c->cycle;
    size_t before = c->candidates.count;
    nv_chunk *chunk = NULL;
    uint32_t i = first;
    do {
        void *object = cycle->suspects.items[i];
        i = after(cycle, i);
        if (chunk == NULL || (uintptr_t)object - chunk->base >= NV_CHUNK_BYTES)
            chunk = nv_chunk_find(c->heap, object);
        if (chunk == NULL || !is_suspect_in(chunk, object))
            continue;
        chunk->white[nv_granule(object) / 64] &= ~nv_bit(nv_granule(object));
        if (!nv_is_tracked(c, object))
            continue;
        /* Without memory it stays old, and the next cycle finds it. */
        if (!nv_vec_push(c->heap, &c->candidates, object))
            c->failed++;
    } while (i != first);
    size_t size = c->candidates.count - before;
    if (cycle->stats.largest_group < size)
        cycle->stats.largest_group = size;
}

bool nv_filter_take(neve_collector *c, size_t n, size_t references)
{
    nv_cycle *cycle = &c->cycle;
    size_t held = 0; /* references, by those that were taken */
    size_t count = cycle->suspects.count;
    size_t end = count - cycle->next < SCANNED ? count : cycle->next + SCANNED;
    c->candidates.count = 0;
    for (; cycle->next < end && c->candidates.count < n && held < references; cycle->next++) {
        uint32_t first = (uint32_t)cycle->next;
        if (!is_suspect(c, cycle->suspects.items[first]))
            continue; /* of a group that was taken already, or dead by its count */
        if (size_of(cycle, root_of(cycle, first)) > cycle->large_above) {
            if (c->candidates.count == 0) {
                cycle->group.stage = NV_GROUP_COLOUR;
                cycle->group.first = cycle->group.next = first;
                cycle->next++;
            }
            return true;
        }
        size_t before = c->candidates.count;
        take_group(c, first);
        held += nv_count_references(c, c->candidates.items + before, c->candidates.count - before,
                                    references);
    }
    return cycle->next < count || c->candidates.count > 0;
}
