/* SPDX-License-Identifier: MIT */
/*
 * A host with an object model of its own, in the shape of CPython's: a head
 * with list links in front of each object, lists for the young generations, its
 * own gathering, untracking, objects from the heap and from the C library's
 * malloc side by side, and a collector that takes over objects made before it.
 *
 * Random operations; after each full collection all that was unreachable from
 * the handles and the frozen is gone. Nothing with references ever dies. Seeds: NEVE_ORACLE_SEED, NEVE_ORACLE_RUNS.
 */
#include "object/support.h"

enum { SLOTS = 4, OBJECTS = 1500, HANDLES = 16, STEPS = 2000 };

typedef struct head {
    _Alignas(NEVE_GRANULE) struct head *next;
    struct head *prev;
} head;

typedef struct thing {
    head link; /* the object, as the collector knows it, begins behind it */
    uint32_t count;
    uint32_t id;
    bool is_foreign, is_tracked, is_dead, stays, is_finalized;
    struct thing *slots[SLOTS];
} thing;

/* Two granules of head would do as well; this one has one. */
#define OBJECT_OFFSET sizeof(head)
_Static_assert(sizeof(head) == NEVE_GRANULE, "the object is aligned to a granule behind the head");

typedef struct world {
    neve_heap *heap;
    neve_collector *collector;
    head lists[4]; /* young, middle, old, permanent */
    thing *things[OBJECTS];
    uint32_t made;
    size_t alive;
    thing *handles[HANDLES];
    bool use_roots, in_full;
    uint64_t random;
    int finalized, revived;
} world;

static thing *thing_of(void *object)
{
    return (thing *)(void *)((char *)object - OBJECT_OFFSET);
}

static void *object_of(thing *t)
{
    return (char *)t + OBJECT_OFFSET;
}

static void unlink_thing(thing *t)
{
    t->link.prev->next = t->link.next;
    t->link.next->prev = t->link.prev;
    t->link.prev = t->link.next = &t->link;
}

static void link_thing(head *list, thing *t)
{
    t->link.prev = list->prev;
    t->link.next = list;
    list->prev->next = &t->link;
    list->prev = &t->link;
}

static void release_thing(world *w, thing *t)
{
    if (t == NULL || --t->count > 0)
        return;
    assert_false(t->is_dead);
    t->is_dead = true;
    if (t->is_tracked && w->collector != NULL)
        neve_collector_count_free(w->collector);
    t->is_tracked = false;
    unlink_thing(t);
    w->things[t->id] = NULL;
    w->alive--;
    for (int i = 0; i < SLOTS; i++) {
        thing *held = t->slots[i];
        t->slots[i] = NULL;
        release_thing(w, held);
    }
    bool is_foreign = t->is_foreign;
    assert_int_equal(neve_heap_try_free(w->heap, t), !is_foreign);
    if (is_foreign)
        free(t);
}

static thing *new_thing(world *w, size_t size, bool is_foreign)
{
    if (w->made == OBJECTS)
        return NULL;
    void *block = NULL;
    /* Not malloc: it aligns to 8 bytes on some machines of 32 bits. */
    if (!is_foreign)
        block = neve_heap_alloc(w->heap, NEVE_DOMAIN_OBJECT, size);
    else if (posix_memalign(&block, NEVE_GRANULE, size) != 0)
        block = NULL;
    assert_non_null(block);
    thing *t = block;
    memset(t, 0, sizeof *t);
    t->count = 1;
    t->id = w->made++;
    t->is_foreign = is_foreign;
    t->is_tracked = true;
    link_thing(&w->lists[0], t);
    w->things[t->id] = t;
    w->alive++;
    if (w->collector != NULL) {
        neve_collector_count_alloc(w->collector);
        assert_int_equal(neve_collector_generation_of(w->collector, object_of(t)), 0);
    }
    return t;
}

/* ---- the host ---- */

static void host_read_counts(void *ctx, void *const *objects, size_t n, uint32_t *counts)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        counts[i] = thing_of(objects[i])->count;
}

static void host_traverse(void *ctx, void *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)ctx;
    thing *t = thing_of(object);
    /* One edge a piece: the collector must come back until the cursor is 0. */
    size_t i = *cursor;
    if (t->slots[i] != NULL)
        (void)visit(object_of(t->slots[i]), arg);
    *cursor = i + 1 < SLOTS ? i + 1 : 0;
}

static void host_retain(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        thing_of(objects[i])->count++;
}

static void host_release(void *ctx, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++)
        release_thing(ctx, thing_of(objects[i]));
}

static void host_clear(void *ctx, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        thing *t = thing_of(objects[i]);
        for (int k = 0; k < SLOTS; k++) {
            thing *held = t->slots[k];
            t->slots[k] = NULL;
            release_thing(ctx, held);
        }
    }
}

static const char *host_type_name(void *ctx, void *object)
{
    (void)ctx;
    (void)object;
    return "thing";
}

static bool host_is_tracked(void *ctx, void *object)
{
    (void)ctx;
    return thing_of(object)->is_tracked;
}

static int visit_handles(world *w, neve_visit_fn visit, void *arg)
{
    for (int i = 0; i < HANDLES / 2; i++) {
        if (w->handles[i] != NULL && visit(object_of(w->handles[i]), arg) != 0)
            return 1;
    }
    return 0;
}

static void host_visit_roots(void *ctx, neve_visit_fn visit, void *arg)
{
    (void)visit_handles(ctx, visit, arg);
}

static void host_gather(void *ctx, int generation, neve_gather *into)
{
    world *w = ctx;
    assert_in_range(generation, 0, 1);
    for (int g = 0; g <= generation; g++) {
        for (head *h = w->lists[g].next; h != &w->lists[g]; h = h->next) {
            if (!neve_gather_add(into, object_of((thing *)(void *)h)))
                return;
        }
    }
}

/* What refers to nothing can be in no cycle. (It can here, later: so only what
 * the program promised not to fill.) */
static size_t host_untrack(void *ctx, void **objects, size_t n, bool full)
{
    world *w = ctx;
    size_t kept = 0;
    assert_int_equal(full, w->in_full);
    for (size_t i = 0; i < n; i++) {
        thing *t = thing_of(objects[i]);
        if (t->id % 10 == 0) {
            t->is_tracked = false;
            neve_collector_count_free(w->collector);
            unlink_thing(t);
        } else {
            objects[kept++] = objects[i];
        }
    }
    return kept;
}

static void host_promote(void *ctx, void *const *objects, size_t n, int generation)
{
    world *w = ctx;
    assert_in_range(generation, 1, 3);
    for (size_t i = 0; i < n; i++) {
        thing *t = thing_of(objects[i]);
        t->is_tracked = true;
        unlink_thing(t);
        link_thing(&w->lists[generation], t);
    }
}

static void host_condemn(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    (void)ctx;
    (void)ran_code;
    for (size_t i = 0; i < n; i++) {
        thing *t = thing_of(objects[i]);
        assert_true(t->is_tracked);
        unlink_thing(t);
    }
}

static void host_finalize(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    world *w = ctx;
    for (size_t i = 0; i < n; i++) {
        thing *t = thing_of(objects[i]);
        assert_true(neve_collector_is_condemned(w->collector, objects[i]));
        if (!t->stays || t->is_finalized)
            continue;
        t->is_finalized = true;
        *ran_code = true;
        w->finalized++;
        if (w->handles[t->id % HANDLES] == NULL) {
            t->count++;
            w->handles[t->id % HANDLES] = t;
            w->revived++;
        }
    }
    for (int i = 0; i < HANDLES; i++) {
        if (w->handles[i] != NULL && !w->handles[i]->is_finalized)
            assert_false(neve_collector_is_condemned(w->collector, object_of(w->handles[i])));
    }
}

static neve_host make_host(bool use_roots, bool untracks)
{
    return (neve_host){
        .struct_size = sizeof(neve_host),
        .name = "things",
        .read_counts = host_read_counts,
        .traverse = host_traverse,
        .retain = host_retain,
        .release = host_release,
        .clear = host_clear,
        .type_name = host_type_name,
        .is_tracked = host_is_tracked,
        .visit_roots = use_roots ? host_visit_roots : NULL,
        .gather = host_gather,
        .untrack = untracks ? host_untrack : NULL,
        .promote = host_promote,
        .condemn = host_condemn,
        .finalize = host_finalize,
    };
}

/* ---- the program ---- */

static uint32_t next_random(world *w, uint32_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(w->random >> 33) % below;
}

static void reach(thing *t, bool *reached)
{
    if (t == NULL || reached[t->id])
        return;
    reached[t->id] = true;
    for (int i = 0; i < SLOTS; i++)
        reach(t->slots[i], reached);
}

/* What is reachable from the handles and the permanent generation. */
static void reach_all(world *w, bool *reached)
{
    memset(reached, 0, OBJECTS * sizeof *reached);
    for (int i = 0; i < HANDLES; i++)
        reach(w->handles[i], reached);
    for (uint32_t i = 0; i < w->made; i++) {
        thing *t = w->things[i];
        if (t != NULL && neve_collector_generation_of(w->collector, object_of(t)) == 3)
            reach(t, reached);
    }
}

/* What was garbage when a full collection began is gone, or was revived; what
 * is reachable lives. (Something that only dead objects kept in the permanent
 * generation may have become garbage since.) */
static void check_exact(world *w, const bool *reached_before)
{
    bool reached[OBJECTS];
    reach_all(w, reached);
    for (uint32_t i = 0; i < w->made; i++) {
        bool is_alive = w->things[i] != NULL;
        if (is_alive ? !reached[i] && !reached_before[i] : reached[i])
            fail_msg("object %u: alive %d, reachable %d", i, is_alive, reached[i]);
    }
}

static void set_slot(world *w, thing *t, uint32_t slot, thing *value)
{
    thing *old = t->slots[slot];
    if (value != NULL)
        value->count++;
    t->slots[slot] = value;
    release_thing(w, old);
}

static void set_handle(world *w, uint32_t handle, thing *value)
{
    thing *old = w->handles[handle];
    if (value != NULL)
        value->count++;
    w->handles[handle] = value;
    release_thing(w, old);
}

static void collect_things(world *w, int generation)
{
    neve_collection result;
    int revived = w->revived;
    bool reached[OBJECTS];
    reach_all(w, reached);
    w->in_full = generation == 2;
    assert_int_equal(neve_collect(w->collector, generation, &result), NEVE_OK);
    if (w->revived == revived)
        assert_int_equal(result.resurrected, 0);
    if (generation == 2)
        check_exact(w, reached);
    /* Young objects of this host have no bits; old ones have. */
    for (uint32_t i = 0; i < w->made; i++) {
        thing *t = w->things[i];
        if (t == NULL || !t->is_tracked || generation < 1)
            continue;
        int of = neve_collector_generation_of(w->collector, object_of(t));
        assert_true(of == 2 || of == 3);
    }
}

static void step(world *w)
{
    uint32_t handle = next_random(w, HANDLES);
    thing *t = w->handles[handle], *other = w->handles[next_random(w, HANDLES)];
    uint32_t op = next_random(w, 100);
    if (op < 40) {
        static const size_t sizes[] = {sizeof(thing), sizeof(thing), 200, 504, 520, 3000};
        uint32_t shape = next_random(w, 60);
        thing *made = new_thing(w, sizes[shape % 6], shape % 4 == 1);
        if (made == NULL)
            return;
        made->stays = shape % 7 == 0;
        if (made->id % 10 != 0)
            set_slot(w, made, 0, t);
        set_handle(w, handle, made);
        release_thing(w, made);
    } else if (op < 70) {
        if (t != NULL && t->id % 10 != 0) /* those are the ones that get untracked */
            set_slot(w, t, next_random(w, SLOTS), other);
    } else if (op < 75) {
        if (t != NULL)
            set_handle(w, handle, t->slots[next_random(w, SLOTS)]);
    } else if (op < 88) {
        set_handle(w, handle, NULL);
    } else if (op < 97) {
        uint32_t which = next_random(w, 8);
        collect_things(w, which < 5 ? 0 : which < 7 ? 1 : 2);
    } else if (op < 98) {
        assert_int_equal(next_random(w, 3) == 0 ? neve_collector_freeze(w->collector)
                                                : neve_collector_unfreeze(w->collector),
                         NEVE_OK);
    } else {
        char message[256];
        if (neve_collector_check(w->collector, message, sizeof message) != NEVE_OK)
            fail_msg("%s", message);
    }
}

static void run(uint64_t seed)
{
    world w = {.random = seed};
    for (int i = 0; i < 4; i++)
        w.lists[i].next = w.lists[i].prev = &w.lists[i];
    neve_heap_options options = {.struct_size = sizeof options, .object_starts = 1u << 1};
    assert_int_equal(neve_heap_create(&options, &w.heap), NEVE_OK);

    /* Objects that were there before the collector, some of them garbage. */
    uint32_t before = next_random(&w, 200);
    for (uint32_t i = 0; i < before; i++) {
        thing *t = new_thing(&w, sizeof(thing), i % 3 == 0);
        if (i > 0 && t->id % 10 != 0 && w.things[i - 1] != NULL) {
            w.things[i - 1]->count++;
            t->slots[0] = w.things[i - 1];
        }
        if (i % 7 == 0 && t->id % 10 != 0) {
            t->slots[1] = t; /* keeps itself alive */
            continue;
        }
        if (w.handles[i % HANDLES] == NULL)
            w.handles[i % HANDLES] = t;
        else if (t->id % 10 != 0)
            t->slots[1] = t;
        else
            release_thing(&w, t);
    }
    neve_host host = make_host(next_random(&w, 2) == 0, next_random(&w, 2) == 0);
    assert_int_equal(neve_collector_create(w.heap, &host, &w, NULL, &w.collector), NEVE_OK);
    for (uint32_t i = 0; i < before; i++) {
        if (w.things[i] == NULL)
            continue;
        void *object = object_of(w.things[i]);
        assert_int_equal(neve_collector_adopt(w.collector, object, 2), NEVE_OK);
        host_promote(&w, &object, 1, 2);
        assert_int_equal(neve_collector_generation_of(w.collector, object), 2);
    }
    for (int i = 0; i < STEPS; i++)
        step(&w);

    /* The host leaves: all generations are forgotten; and comes back. */
    assert_int_equal(neve_collector_unfreeze(w.collector), NEVE_OK);
    neve_collector_forget_all(w.collector);
    for (uint32_t i = 0; i < w.made; i++) {
        if (w.things[i] == NULL)
            continue;
        void *object = object_of(w.things[i]);
        assert_int_equal(neve_collector_generation_of(w.collector, object), 0);
        unlink_thing(w.things[i]);
        link_thing(&w.lists[i % 2], w.things[i]);
        w.things[i]->is_tracked = true;
    }
    for (uint32_t i = 0; i < HANDLES; i++)
        set_handle(&w, i, NULL);
    /* Those that stay do so once. */
    for (int round = 0; w.alive > 0 && round < 100; round++) {
        collect_things(&w, 2);
        for (uint32_t i = 0; i < HANDLES; i++)
            set_handle(&w, i, NULL);
    }
    assert_int_equal(w.alive, 0);
    neve_heap_stats stats;
    neve_collector_destroy(w.collector);
    neve_heap_get_stats(w.heap, &stats);
    assert_int_equal(stats.small_blocks[NEVE_DOMAIN_OBJECT], 0);
    assert_int_equal(stats.large_blocks, 0);
    neve_heap_destroy(w.heap);
}

static void test_random_programs(void **unused)
{
    (void)unused;
    const char *seed_text = getenv("NEVE_ORACLE_SEED"), *runs_text = getenv("NEVE_ORACLE_RUNS");
    uint64_t first = seed_text != NULL ? strtoull(seed_text, NULL, 0) : 1;
    uint64_t runs = runs_text != NULL ? strtoull(runs_text, NULL, 0) : is_slow() ? 5 : 30;
    for (uint64_t seed = first; seed < first + runs; seed++) {
        /* Printed only with the failure. */
        static char name[64];
        snprintf(name, sizeof name, "NEVE_ORACLE_SEED=%llu", (unsigned long long)seed);
        setenv("NEVE_FOREIGN_HOST_SEED", name, 1);
        run(seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_programs),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (failed != 0)
        fprintf(stderr, "# at %s\n", getenv("NEVE_FOREIGN_HOST_SEED"));
    return failed;
}
