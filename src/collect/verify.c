/* SPDX-License-Identifier: MIT */
/*
 * Verification: exact trial deletion restricted to a set of candidates, in one
 * go, with the mutator stopped (invariant 2).
 *
 *   1. gc_refs := reference count, for each candidate
 *   2. subtract every reference that a candidate holds on a candidate
 *   3. whoever is left with references is held from outside: rescue it, and
 *      all candidates that it reaches
 *   4. the rest refers only to itself: dead
 *
 * Step 3 seldom has to go all the way. What is dead is referred to by the dead
 * alone, each by one at least; a finite set like that holds a cycle; and a cycle has
 * a reference that leads ahead: to an object with the number of the referrer or a
 * higher one, whatever the order of the numbers. So once all that hold a reference
 * ahead are rescued, nobody is dead. Young objects are numbered by age, and
 * most refer to older ones only: they were made of them.
 *
 * As in CPython's collector, but with gc_refs in a vector by candidate number,
 * and the number found through a map keyed by address, so that no object is
 * written and non-candidates are not even read.
 *
 * A reference that `traverse` does not report leaves gc_refs above zero: the
 * object survives. One reported too often would make a live object look dead:
 * where gc_refs would fall below zero, the object is taken as held from
 * outside, and debug builds stop with the types' names.
 */
#include "collect_internal.h"

#include <stdio.h>

#include "platform/os.h"

/* gc_refs of a candidate: four flags, and above them its count less what was subtracted,
 * modulo 2^28. So the counts may be added while the references are subtracted: each
 * object is read once. What ends up in the upper half of the range is negative.
 *
 * Whoever lacks REFS_EDGES after that need not be traversed again when it is rescued; most
 * containers hold leaves only. */
#define REFS_EDGES 1u   /* refers to candidates */
#define REFS_AHEAD 2u   /* ... and to one ahead */
#define REFS_HELD 4u    /* held from outside, whatever the count */
#define REFS_REACHED 8u /* held from outside, rescued: nothing else is set */
#define REFS_UNCOLLECTABLE (REFS_REACHED | REFS_HELD)
#define REFS_ONE 16u
#define REFS_MAX (((uint32_t)1 << 27) - 1) /* of counts; higher ones are not to be trusted */

/* In c->only: the candidate refers to several, or it is not known to how many. */
#define SEVERAL 0u

static inline bool is_dead(uint32_t refs)
{
    return refs < REFS_HELD;
}

/* ---- the map from addresses to numbers ---- */

/* The hash table has buckets of eight, which are looked at as a whole: whether one of them has
 * the tag of an address takes no branch, and these would go now this way, now that. Tags are the
 * low bits of the granule's number: objects of one bucket are seldom a multiple of 1 MiB apart. */
_Static_assert(NV_HASH_CANDIDATES < UINT16_MAX, "numbers fit into a bucket");
typedef uint16_t tags __attribute__((vector_size(NV_BUCKET * sizeof(uint16_t))));

/* The high bits of the product are those that all bits of the address went into. */
static inline uint64_t hash_of(const void *object)
{
    return (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u;
}

static inline uint32_t hash_place(const nv_candidate_map *map, uint64_t hash)
{
    return (uint32_t)(hash >> map->shift);
}

static inline uint16_t tag_of(const void *object)
{
    return (uint16_t)((uintptr_t)object >> NV_GRANULE_SHIFT);
}

/* How many entries are in use. */
static inline unsigned bucket_used(const nv_bucket *bucket)
{
    const uint64_t ones = 0x0001000100010001u;
    tags numbers;
    memcpy(&numbers, bucket->numbers, sizeof numbers);
    tags used = (tags)(numbers != 0);
    uint64_t halves[2];
    memcpy(halves, &used, sizeof halves);
    return (unsigned)(((halves[0] & ones) + (halves[1] & ones)) * ones >> 48);
}

/* Fills the table with objects [0, n), which are different. */
static void hash_fill(const nv_candidate_map *map, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const void *object = map->objects[k];
        uint32_t i = hash_place(map, hash_of(object));
        unsigned used;
        while (NEVE_UNLIKELY((used = bucket_used(&map->buckets[i])) == NV_BUCKET))
            i = (i + 1) & map->mask;
        map->buckets[i].tags[used] = tag_of(object);
        map->buckets[i].numbers[used] = (uint16_t)(k + 1);
    }
}

/* The same tag is there, but of another object, or there are several. */
static __attribute__((noinline)) uint32_t hash_find_slowly(const nv_candidate_map *map,
                                                           const void *object, uint32_t i)
{
    for (;; i = (i + 1) & map->mask) {
        const nv_bucket *bucket = &map->buckets[i];
        for (unsigned at = 0; at < NV_BUCKET; at++) {
            uint32_t number = bucket->numbers[at];
            if (number == 0)
                return 0;
            if (map->objects[number - 1] == object)
                return number;
        }
    }
}

static inline uint32_t hash_find(const nv_candidate_map *map, const void *object)
{
    uint32_t i = hash_place(map, hash_of(object));
    uint16_t tag = tag_of(object);
    for (;; i = (i + 1) & map->mask) {
        const nv_bucket *bucket = &map->buckets[i];
        tags all, numbers;
        memcpy(&all, bucket->tags, sizeof all);
        memcpy(&numbers, bucket->numbers, sizeof numbers);
        tags found = (tags)(all == tag) & numbers; /* all others are 0 */
        uint64_t halves[2];
        memcpy(halves, &found, sizeof halves);
        uint64_t number = halves[0] | halves[1];
        number |= number >> 32;
        number = (number | number >> 16) & UINT16_MAX;
        if (number != 0) {
            if (number <= map->count && map->objects[number - 1] == object)
                return (uint32_t)number;
            return hash_find_slowly(map, object, i);
        }
        if (NEVE_LIKELY(bucket->numbers[NV_BUCKET - 1] == 0))
            return 0;
    }
}

static inline uint32_t index_find(const neve_collector *c, const void *object)
{
    uintptr_t entry = nv_entry_find(c->heap, object);
    if (entry == 0)
        return 0;
    const uint32_t *slot = nv_index_slot(entry, nv_entry_chunk(entry)->index, object);
    if (slot == NULL)
        return 0;
    uint32_t number = *slot;
    if (NEVE_UNLIKELY(!nv_entry_is_arena(entry)) && number != 0 &&
        c->map.objects[number - 1] != object)
        return 0; /* a leaf in the same 32 bytes as a candidate's head */
    return number;
}

uint32_t nv_candidate_number(const neve_collector *c, const void *object)
{
    if (c->map.objects == NULL)
        return 0;
    if (c->map.mask == 0) {
        /* The mutator may run: a pool that held no candidate that lives on may
         * have become one of another size. */
        uint32_t number = index_find(c, object);
        return number != 0 && c->map.objects[number - 1] == object ? number : 0;
    }
    return hash_find(&c->map, object);
}

/* The slots of the pool that the last address lay in: neighbours are found without a walk
 * through the tables. */
typedef struct near_slots {
    uintptr_t place;
    uint32_t *first; /* NULL: no candidate lies there */
    uint32_t inverse;
} near_slots;
#define NOWHERE ((near_slots){.place = UINTPTR_MAX})

static inline bool is_near(const near_slots *near, const void *object)
{
    return (uintptr_t)object >> NV_POOL_SHIFT == near->place;
}

static inline uint32_t *near_slot(const near_slots *near, const void *object)
{
    return near->first + nv_block_number((uintptr_t)object & (NV_POOL_BYTES - 1), near->inverse);
}

/* Goes to the pool of an object, if it lies in one. */
static void go_near(const neve_collector *c, near_slots *near, const void *object)
{
    uintptr_t entry = nv_entry_find(c->heap, object);
    *near = NOWHERE;
    if (!nv_entry_is_arena(entry))
        return;
    nv_index *index = nv_entry_chunk(entry)->index;
    near->place = (uintptr_t)object >> NV_POOL_SHIFT;
    unsigned number = (unsigned)(near->place % NV_POOLS);
    if (index == NULL || index->pools[number].first == 0)
        return;
    near->first = &index->slots[index->pools[number].first];
    near->inverse = index->pools[number].inverse;
}

/* index_find, for whoever looks at neighbours one after the other. */
static inline uint32_t near_find(const neve_collector *c, near_slots *near, const void *object)
{
    if (NEVE_UNLIKELY(!is_near(near, object))) {
        go_near(c, near, object);
        if (!is_near(near, object))
            return index_find(c, object);
    }
    return near->first == NULL ? 0 : *near_slot(near, object);
}

static bool index_fill(neve_collector *c, void *const *objects, size_t n)
{
    near_slots near = NOWHERE;
    for (size_t i = 0; i < n; i++) {
        uint32_t *slot;
        if (is_near(&near, objects[i])) {
            slot = near_slot(&near, objects[i]);
        } else {
            slot = nv_index_ensure(c->heap, objects[i]);
            if (slot == NULL)
                return false;
            go_near(c, &near, objects[i]);
        }
        *slot = (uint32_t)i + 1;
    }
    return true;
}

#define HASH_UNGATHERED 4096u

static bool map_build(neve_collector *c, void *const *objects, size_t n)
{
    nv_candidate_map *map = &c->map;
    map->objects = objects;
    map->mask = 0;
    /* What was read off the heap, pool by pool, has its neighbours' slots at hand. */
    if (n <= (c->host->gather == NULL ? HASH_UNGATHERED : NV_HASH_CANDIDATES)) {
        /* At most 5/8 full: a collection of the middle generation at the default
         * thresholds, of 7,700 candidates and some, still has 64 KiB. */
        size_t buckets = 8;
        unsigned bits = 3;
        while (buckets * NV_BUCKET * 5 < n * 8) {
            buckets *= 2;
            bits++;
        }
        size_t bytes = buckets * sizeof *map->buckets;
        if (map->bucket_bytes < bytes) {
            nv_heap_unmap(c->heap, map->buckets, map->bucket_bytes);
            size_t wanted = bytes < 4096 ? 4096 : bytes;
            map->buckets = nv_heap_map(c->heap, wanted);
            map->bucket_bytes = map->buckets == NULL ? 0 : wanted;
            if (map->buckets == NULL)
                return false;
        } else {
            memset(map->buckets, 0, bytes);
        }
        map->mask = (uint32_t)buckets - 1;
        map->shift = 64 - bits;
        map->count = (uint32_t)n;
        hash_fill(map, n);
        return true;
    }
    return index_fill(c, objects, n);
}

/* The map shall hold objects[0 .. dead) only, of those [0 .. n) that it was made of
 * and that have been put into another order since. */
static void map_narrow(neve_collector *c, void *const *objects, size_t n, size_t dead)
{
    if (c->map.mask != 0) {
        memset(c->map.buckets, 0, (c->map.mask + (size_t)1) * sizeof *c->map.buckets);
        hash_fill(&c->map, dead);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uintptr_t entry = nv_entry_find(c->heap, objects[i]);
        *nv_index_slot(entry, nv_entry_chunk(entry)->index, objects[i]) =
            i < dead ? (uint32_t)i + 1 : 0;
    }
}

void nv_verify_finish(neve_collector *c)
{
    neve_heap *heap = c->heap;
    c->map.objects = NULL;
    c->map_is_live = false;
    nv_index_drop(heap);
    size_t keep_bytes = nv_vec_keep_bytes(c);
    if (c->map.bucket_bytes > keep_bytes) {
        nv_heap_unmap(heap, c->map.buckets, c->map.bucket_bytes);
        c->map.buckets = NULL;
        c->map.bucket_bytes = 0;
        c->given_back += c->given_back < UINT32_MAX;
    }
    if (c->refs_bytes > keep_bytes) {
        nv_heap_unmap(heap, c->refs, c->refs_bytes);
        c->refs = NULL;
        c->refs_bytes = 0;
    }
    nv_vec_trim(c, &c->stack);
}

/* ---- trial deletion ---- */

/* Traverse has reported more references to one of these than its count has. It survives. */
static void report_too_many(neve_collector *c, void *const *objects, size_t n)
{
#if NEVE_DEBUG >= 1
    for (size_t i = 0; i < n; i++) {
        if ((c->refs[i] & REFS_HELD) != 0 || c->refs[i] / REFS_ONE <= REFS_MAX)
            continue;
        char message[256];
        snprintf(message, sizeof message,
                 "%s: more references to an object of type '%s' were reported by traverse than "
                 "its count has",
                 c->host->name, c->host->type_name(c->ctx, objects[i]));
        nv_corrupt(c->heap, message);
    }
#else
    (void)c;
    (void)objects;
    (void)n;
#endif
}

/* A reference from candidate `own` to candidate `number`. Returns the flags that this
 * makes for `own`. */
static inline uint32_t subtract(uint32_t *refs, uint32_t own, uint32_t number)
{
    refs[number - 1] -= REFS_ONE;
    return number < own ? REFS_EDGES : REFS_EDGES | REFS_AHEAD;
}

/* Marks a candidate as reached, with those that it leads to one by one, and queues the first
 * of these that refers to several. */
static inline void reach(neve_collector *c, uint32_t number, void *object)
{
    for (;;) {
        uint32_t refs = c->refs[number - 1];
        c->refs[number - 1] = REFS_REACHED;
        c->verify_alive++;
        c->verify_open -= (refs & REFS_AHEAD) != 0;
        if ((refs & REFS_EDGES) == 0)
            return;
        number = c->only == NULL ? SEVERAL : c->only[number - 1];
        if (number == SEVERAL)
            break;
        if (c->refs[number - 1] == REFS_REACHED)
            return;
        object = c->map.objects[number - 1];
    }
    c->stack.items[c->stack.count++] = object; /* reserved: each is pushed once */
}

static inline void rescue(neve_collector *c, uint32_t number, void *object)
{
    if (number != 0 && c->refs[number - 1] != REFS_REACHED)
        reach(c, number, object);
}

static inline void visit_subtract(neve_collector *c, uint32_t number)
{
    if (number != 0)
        c->verify_flags |= subtract(c->refs, c->verify_own, number);
}

/* Each visitor twice, for the two kinds of map: this is the innermost loop. */
static int visit_subtract_hash(void *object, void *arg)
{
    neve_collector *c = arg;
    visit_subtract(c, hash_find(&c->map, object));
    return 0;
}
static int visit_subtract_index(void *object, void *arg)
{
    neve_collector *c = arg;
    visit_subtract(c, index_find(c, object));
    return 0;
}
static int visit_rescue_hash(void *object, void *arg)
{
    neve_collector *c = arg;
    rescue(c, hash_find(&c->map, object), object);
    return 0;
}
static int visit_rescue_index(void *object, void *arg)
{
    neve_collector *c = arg;
    rescue(c, index_find(c, object), object);
    return 0;
}

int neve_visit_items(void *const *items, size_t n, neve_visit_fn visit, void *arg)
{
    if (visit == neve_mark_visit) {
        neve_mark_items(arg, items, n);
    } else if (visit == visit_subtract_hash) {
        for (size_t i = 0; i < n; i++)
            if (items[i] != NULL)
                visit_subtract_hash(items[i], arg);
    } else if (visit == visit_rescue_hash) {
        for (size_t i = 0; i < n; i++)
            if (items[i] != NULL)
                visit_rescue_hash(items[i], arg);
    } else {
        for (size_t i = 0; i < n; i++) {
            int result = items[i] == NULL ? 0 : visit(items[i], arg);
            if (result != 0)
                return result;
        }
    }
    return 0;
}

static void traverse_whole(neve_collector *c, void *object, neve_visit_fn visit)
{
    size_t cursor = 0;
    do
        c->host->traverse(c->ctx, object, visit, c, &cursor);
    while (cursor != 0);
}

/* What follows is done for batches: the host tells where the references of
 * most objects lie, so that each costs no call. `by_hash` is a constant where
 * these are inlined. */
#define VERIFY_BATCH 32u

static void edges_of(neve_collector *c, void *const *objects, size_t n, neve_edges *edges)
{
    if (c->host->edges != NULL) {
        c->host->edges(c->ctx, objects, n, edges);
        return;
    }
    for (size_t i = 0; i < n; i++)
        edges[i].stride = 0;
}

static int visit_count(void *object, void *arg)
{
    (void)object;
    ++*(size_t *)arg;
    return 0;
}

static size_t count_edges(neve_collector *c, void *object, const neve_edges *edges, size_t enough)
{
    if (edges->stride != 0)
        return edges->count + (edges->also != NULL);
    size_t n = 0, cursor = 0;
    do
        c->host->traverse(c->ctx, object, visit_count, &n, &cursor);
    while (cursor != 0 && n < enough);
    return n;
}

size_t nv_count_references(neve_collector *c, void *const *objects, size_t n, size_t enough)
{
    size_t references = 0;
    for (size_t i = 0; i < n && references < enough; i += VERIFY_BATCH) {
        neve_edges edges[VERIFY_BATCH];
        size_t m = n - i < VERIFY_BATCH ? n - i : VERIFY_BATCH;
        edges_of(c, objects + i, m, edges);
        for (size_t k = 0; k < m; k++)
            references += count_edges(c, objects[i + k], &edges[k], enough);
    }
    return references;
}

size_t nv_count_holders(neve_collector *c, void *const *objects, size_t n, size_t enough)
{
    size_t references = 0, i = 0;
    while (i < n) {
        neve_edges edges[VERIFY_BATCH];
        size_t m = n - i < VERIFY_BATCH ? n - i : VERIFY_BATCH;
        edges_of(c, objects + i, m, edges);
        for (size_t k = 0; k < m; k++, i++) {
            if (i > 0 && references >= enough)
                return i;
            references += count_edges(c, objects[i], &edges[k], enough);
        }
    }
    return n;
}

/* Adds the counts of a batch, of which `own` is the number of the first, less `held`
 * references of the collector's. Those that may be dead go to `doubtful`, with their places in the
 * batch: what the others refer to is held by them. Returns how many they are. */
static size_t add_counts(neve_collector *c, void *const *objects, size_t n, uint32_t own,
                         uint32_t held, void **doubtful, uint8_t *places)
{
    uint32_t counts[VERIFY_BATCH];
    size_t found = 0;
    c->host->read_counts(c->ctx, objects, n, counts);
    for (size_t i = 0; i < n; i++) {
        uint32_t *refs = &c->refs[own - 1 + i];
        if (counts[i] > REFS_MAX) {
            *refs |= REFS_HELD;
            continue;
        }
        *refs += (counts[i] < held ? counts[i] : counts[i] - held) * REFS_ONE;
        doubtful[found] = objects[i];
        places[found++] = (uint8_t)i;
    }
    return found;
}

/* Adds the candidates' counts to gc_refs, which are 0 before, subtracts what they refer to,
 * and flags those that refer to others. Returns how many refer to one ahead. Sets
 * c->verify_is_closed if those that may be dead are plain, and refer to candidates alone. */
static inline __attribute__((always_inline)) size_t
subtract_all(neve_collector *c, void *const *all, size_t n, uint32_t held, bool by_hash)
{
    const nv_candidate_map map = c->map;
    uint32_t *refs = c->refs;
    uint16_t *only = c->only;
    size_t ahead = 0;
    bool leads_out = false, is_plain = c->host->discard != NULL;
    near_slots near = NOWHERE;
    for (size_t first = 0; first < n; first += VERIFY_BATCH) {
        neve_edges edges[VERIFY_BATCH];
        void *objects[VERIFY_BATCH];
        uint8_t places[VERIFY_BATCH];
        size_t m = n - first < VERIFY_BATCH ? n - first : VERIFY_BATCH;
        m = add_counts(c, all + first, m, (uint32_t)first + 1, held, objects, places);
        edges_of(c, objects, m, edges);
        for (size_t i = 0; i < m; i++) {
            uint32_t own = (uint32_t)first + places[i] + 1, flags = 0, leads_to = SEVERAL;
            if (edges[i].stride == 0) {
                is_plain = false;
                c->verify_own = own;
                c->verify_flags = 0;
                traverse_whole(c, objects[i], by_hash ? visit_subtract_hash : visit_subtract_index);
                flags = c->verify_flags;
            } else {
                is_plain = is_plain && edges[i].is_plain;
                void *const *item = edges[i].items;
                for (size_t k = edges[i].count; k > 0; k--, item += edges[i].stride) {
                    if (*item == NULL)
                        continue;
                    uint32_t number = by_hash ? hash_find(&map, *item) : near_find(c, &near, *item);
                    if (number != 0) {
                        leads_to = flags == 0 ? number : SEVERAL;
                        flags |= subtract(refs, own, number);
                    } else {
                        leads_out = true;
                    }
                }
                void *also = edges[i].also;
                if (also != NULL) {
                    uint32_t number = by_hash ? hash_find(&map, also) : near_find(c, &near, also);
                    if (number != 0) {
                        leads_to = flags == 0 ? number : SEVERAL;
                        flags |= subtract(refs, own, number);
                    } else {
                        leads_out = true;
                    }
                }
            }
            if (flags != 0) {
                refs[own - 1] |= flags;
                if (by_hash)
                    only[own - 1] = (uint16_t)leads_to;
                ahead += (flags & REFS_AHEAD) != 0;
            }
        }
    }
    c->verify_is_closed = is_plain && !leads_out;
    return ahead;
}

/* Rescues what the candidates on the stack reach, until nobody is open any more. */
static inline __attribute__((always_inline)) void rescue_reached(neve_collector *c, bool by_hash)
{
    const nv_candidate_map map = c->map;
    near_slots near = NOWHERE;
    while (c->stack.count > 0 && c->verify_open > 0) {
        neve_edges edges[VERIFY_BATCH];
        void *objects[VERIFY_BATCH]; /* others are pushed in their place */
        size_t m = c->stack.count < VERIFY_BATCH ? c->stack.count : VERIFY_BATCH;
        c->stack.count -= m;
        memcpy(objects, c->stack.items + c->stack.count, m * sizeof *objects);
        edges_of(c, objects, m, edges);
        for (size_t i = 0; i < m; i++) {
            if (edges[i].stride == 0) {
                traverse_whole(c, objects[i], by_hash ? visit_rescue_hash : visit_rescue_index);
                continue;
            }
            void *const *item = edges[i].items;
            for (size_t k = edges[i].count; k > 0; k--, item += edges[i].stride)
                if (*item != NULL)
                    rescue(c, by_hash ? hash_find(&map, *item) : near_find(c, &near, *item), *item);
            void *also = edges[i].also;
            if (also != NULL)
                rescue(c, by_hash ? hash_find(&map, also) : near_find(c, &near, also), also);
        }
    }
}

/* Returns how many of the candidates are alive. It is certain that all are as soon
 * as the `ahead` that refer to one ahead are rescued (SIZE_MAX: not even then). */
static inline __attribute__((always_inline)) size_t
rescue_all(neve_collector *c, void *const *objects, size_t n, size_t ahead, bool by_hash)
{
    uint32_t *refs = c->refs;
    c->verify_alive = 0;
    c->verify_open = ahead;
    /* Mostly these are held from outside themselves: older objects that were given
     * something new. */
    if (ahead != SIZE_MAX && ahead != 0) {
        for (size_t i = 0; i < n; i++)
            if ((refs[i] & REFS_AHEAD) != 0 && !is_dead(refs[i]))
                reach(c, (uint32_t)i + 1, objects[i]);
        rescue_reached(c, by_hash);
    }
    bool all_alive = c->verify_open == 0;
#if NEVE_DEBUG >= 1
    c->verify_open = SIZE_MAX; /* the proof is put to the test */
#endif
    /* The stack is emptied as soon as it fills a batch, so that it stays small. */
    for (size_t i = 0; i < n && c->verify_open > 0; i++) {
        if (is_dead(refs[i]) || refs[i] == REFS_REACHED)
            continue;
        reach(c, (uint32_t)i + 1, objects[i]);
        if (c->stack.count >= VERIFY_BATCH)
            rescue_reached(c, by_hash);
    }
    rescue_reached(c, by_hash);
    c->stack.count = 0;
    NV_ASSERT(!all_alive || c->verify_alive == n);
    return all_alive || c->verify_open == 0 ? n : c->verify_alive;
}

static int visit_uncollectable(void *object, void *arg)
{
    neve_collector *c = arg;
    uint32_t number = nv_candidate_number(c, object);
    if (number == 0 || !is_dead(c->refs[number - 1]))
        return 0;
    c->refs[number - 1] = REFS_UNCOLLECTABLE;
    c->stack.items[c->stack.count++] = object;
    return 0;
}

static size_t find_uncollectable(neve_collector *c, void *const *objects, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n; i++)
        if (is_dead(c->refs[i]) && c->host->is_uncollectable(c->ctx, objects[i]))
            visit_uncollectable(objects[i], c);
    while (c->stack.count > 0) {
        traverse_whole(c, c->stack.items[--c->stack.count], visit_uncollectable);
        found++;
    }
    return found;
}

static bool reserve(neve_collector *c, size_t n)
{
    if (n >= UINT32_MAX)
        return false; /* numbers of candidates are 32 bits wide */
    size_t wanted = n * (sizeof *c->refs + (n <= NV_HASH_CANDIDATES ? sizeof *c->only : 0));
    if (c->refs_bytes < wanted) {
        nv_heap_unmap(c->heap, c->refs, c->refs_bytes);
        size_t bytes = 4096;
        while (bytes < wanted)
            bytes *= 2;
        c->refs = nv_heap_map(c->heap, bytes);
        c->refs_bytes = c->refs == NULL ? 0 : bytes;
        if (c->refs == NULL)
            return false;
        nv_table_populate(c->refs, wanted);
    }
    c->stack.count = 0;
    return nv_vec_reserve(c->heap, &c->stack, n);
}

neve_status nv_verify_map(neve_collector *c, void **objects, size_t n)
{
    if (reserve(c, n) && map_build(c, objects, n))
        return NEVE_OK;
    nv_verify_finish(c);
    return NEVE_ENOMEM;
}

/* The dead, the uncollectable, the rest, each in their order. The fewer of the
 * dead and the others wait on the stack meanwhile. */
static void separate(neve_collector *c, void **objects, size_t n, const nv_verdict *verdict)
{
    void **aside = c->stack.items;
    size_t first = verdict->dead + verdict->uncollectable; /* of the rest */
    if (verdict->dead >= n / 2) {
        size_t dead = 0, uncollectable = 0, rest = verdict->uncollectable;
        for (size_t i = 0; i < n; i++) {
            if (is_dead(c->refs[i]))
                objects[dead++] = objects[i];
            else if (c->refs[i] == REFS_UNCOLLECTABLE)
                aside[uncollectable++] = objects[i];
            else
                aside[rest++] = objects[i];
        }
        memcpy(objects + dead, aside, (n - dead) * sizeof(void *));
        return;
    }
    size_t dead = verdict->dead, uncollectable = first, rest = n;
    for (size_t i = n; i-- > 0;) {
        if (is_dead(c->refs[i]))
            aside[--dead] = objects[i];
        else if (c->refs[i] == REFS_UNCOLLECTABLE)
            aside[--uncollectable] = objects[i];
        else
            objects[--rest] = objects[i];
    }
    memcpy(objects, aside, first * sizeof(void *));
}

neve_status nv_verify(neve_collector *c, void **objects, size_t n, uint32_t held, bool keep_map,
                      nv_verdict *verdict)
{
    *verdict = (nv_verdict){0};
    if (n == 0)
        return NEVE_OK;
    neve_status status = nv_verify_map(c, objects, n);
    if (status != NEVE_OK)
        return status;
    bool by_hash = c->map.mask != 0;
    c->only = by_hash ? (uint16_t *)(c->refs + n) : NULL;

    memset(c->refs, 0, n * sizeof *c->refs);
    size_t ahead = by_hash ? subtract_all(c, objects, n, held, true)
                           : subtract_all(c, objects, n, held, false);
    report_too_many(c, objects, n);
    /* Of objects on which the collector holds the only references nobody need have any. */
    if (held != 0)
        ahead = SIZE_MAX;
    size_t alive =
        by_hash ? rescue_all(c, objects, n, ahead, true) : rescue_all(c, objects, n, ahead, false);
    if (alive < n && c->host->is_uncollectable != NULL)
        verdict->uncollectable = find_uncollectable(c, objects, n);
    verdict->dead = n - alive - verdict->uncollectable;
    verdict->is_closed = verdict->dead == n && c->verify_is_closed;

    if (alive == n) {
        c->map.objects = NULL; /* nobody is dead: the map is empty */
    } else if (verdict->dead < n) {
        separate(c, objects, n, verdict);
        if (keep_map)
            map_narrow(c, objects, n, verdict->dead);
    }
    c->map_is_live = keep_map;
    if (!keep_map)
        nv_verify_finish(c);
    return NEVE_OK;
}

size_t nv_verify_count_dead(const neve_collector *c, const nv_verdict *verdict, size_t begin,
                            size_t end)
{
    size_t dead = 0;
    /* Where nobody is dead the rescue has ended early, and gc_refs say nothing. */
    for (size_t i = begin; verdict->dead > 0 && i < end; i++)
        dead += is_dead(c->refs[i]);
    return dead;
}

bool neve_collector_is_condemned(const neve_collector *c, const void *object)
{
    return nv_group_is_condemned(c, object) ||
           (c->map_is_live && nv_candidate_number(c, object) != 0);
}
