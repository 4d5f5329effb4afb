/* SPDX-License-Identifier: MIT */
/*
 * Possible roots: old garbage that is found because the program says which references may
 * have been the last ones, and what such a hint must not do to anything else.
 */
#include "collect/cycle_steps.h"

enum { BATCH = NV_POSSIBLE_ROOTS };

/* Makes a ring of so many pairs, and returns it old. */
static pair *old_ring(neve_runtime *runtime, const neve_type *type, int length)
{
    pair *first = new_pair(runtime, type, '\0'), *last = first;
    for (int i = 1; i < length; i++) {
        pair *next = new_pair(runtime, type, '\0');
        last->a = &next->base;
        last = next;
    }
    last->a = neve_retain(&first->base);
    return first;
}

/* The rings are old when this returns, and no collection is about to be due. */
static void make_rings(neve_runtime *runtime, pair **rings, int count, int length)
{
    neve_collector_disable(neve_runtime_collector(runtime));
    for (int i = 0; i < count; i++)
        rings[i] = old_ring(runtime, &pair_type, length);
    assert_int_equal(collect(runtime, 2).collected, 0);
    neve_collector_enable(neve_runtime_collector(runtime));
}

static neve_collector_stats stats_of(neve_runtime *runtime)
{
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(runtime), &stats);
    return stats;
}

static void poll(neve_runtime *runtime)
{
    neve_collector *collector = neve_runtime_collector(runtime);
    neve_poll(collector, neve_collector_breaker(collector));
    check_runtime(runtime);
}

/* What these tests count, a collection at every safe point would take away. */
static bool is_stressed(neve_runtime *runtime)
{
    return neve_runtime_collector(runtime)->is_stressed;
}

static void test_old_rings_go_soon(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    if (is_stressed(runtime)) {
        neve_runtime_destroy(runtime);
        skip();
    }
    static pair *rings[BATCH + 1];
    make_rings(runtime, rings, BATCH + 1, 4);
    neve_object *shared = &new_leaf(runtime, '\0')->base;
    for (int i = 0; i < BATCH; i++)
        rings[i]->b = neve_retain(shared);
    uint64_t before = stats_of(runtime).generations[2].collections;
    for (int i = 0; i < BATCH - 1; i++)
        neve_release_cyclic(runtime, &rings[i]->base);
    poll(runtime);
    assert_int_equal(live_objects(runtime), (BATCH + 1) * 4 + 1); /* not enough yet */
    neve_release_cyclic(runtime, &rings[BATCH - 1]->base);
    assert_int_equal(live_objects(runtime), (BATCH + 1) * 4 + 1); /* no safe point yet */
    poll(runtime);
    assert_int_equal(live_objects(runtime), 4 + 1);
    assert_int_equal(neve_count(shared), 1);
    neve_collector_stats stats = stats_of(runtime);
    assert_int_equal(stats.generations[2].collections, before);
    assert_int_equal(stats.roots_explored, BATCH);
    assert_int_equal(stats.roots_collected, BATCH * 4);
    neve_release(runtime, shared);
    neve_release(runtime, &rings[BATCH]->base);
    assert_int_equal(collect(runtime, 2).collected, 4);
    neve_runtime_destroy(runtime);
}

static const neve_type slots_type = {
    .name = "pair of slots",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_SLOTS,
    .slot_offset = offsetof(pair, a),
    .slot_count = 2,
};

/* What the search itself proves is not verified again; one reference from outside, or to
 * somebody else, and it is. */
static void test_what_needs_no_verification(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    if (is_stressed(runtime)) {
        neve_runtime_destroy(runtime);
        skip();
    }
    neve_collector *c = neve_runtime_collector(runtime);
    enum { CLOSED, HELD_INSIDE, LEADING_OUT, FINALIZED, CASES };
    for (int which = 0; which < CASES; which++) {
        static pair *rings[BATCH];
        neve_object *other = NULL;
        neve_collector_disable(c);
        for (int i = 0; i < BATCH; i++)
            rings[i] = old_ring(
                runtime, which == FINALIZED && i == 0 ? &finalized_pair_type : &slots_type, 3);
        assert_int_equal(collect(runtime, 2).collected, 0);
        neve_collector_enable(c);
        if (which == HELD_INSIDE)
            other = neve_retain(rings[BATCH / 2]->a);
        if (which == LEADING_OUT) {
            other = &new_leaf(runtime, '\0')->base;
            rings[BATCH / 2]->b = neve_retain(other);
        }
        for (int i = 0; i < BATCH; i++)
            neve_release_cyclic(runtime, &rings[i]->base);
        poll(runtime);
        assert_int_equal(c->possible.is_proved, which == CLOSED);
        size_t left = which == HELD_INSIDE ? 3 : which == LEADING_OUT ? 1 : 0;
        assert_int_equal(live_objects(runtime), left);
        neve_release(runtime, other);
        assert_int_equal(collect(runtime, 2).collected, which == HELD_INSIDE ? 3 : 0);
        assert_int_equal(live_objects(runtime), 0);
    }
    neve_runtime_destroy(runtime);
}

/* A collection that begins first has the references back. */
static void test_collections_come_first(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    pair *rings[3];
    make_rings(runtime, rings, 3, 3);
    for (int i = 0; i < 2; i++)
        neve_release_cyclic(runtime, &rings[i]->base);
    neve_retain(&rings[2]->base); /* two of its references are handed over */
    neve_release_cyclic(runtime, &rings[2]->base);
    neve_clear_slot(runtime, &((pair *)((pair *)rings[2]->a)->a)->a);
    neve_release_cyclic(runtime, &rings[2]->base);
    assert_int_equal(collect(runtime, 2).collected, 6);
    assert_int_equal(live_objects(runtime), 0); /* the third has died by its count */
    neve_runtime_destroy(runtime);
}

static void test_destroyed_with_some_left(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *ring;
    make_rings(runtime, &ring, 1, 5);
    neve_release_cyclic(runtime, &ring->base);
    neve_runtime_destroy(runtime);
    assert_int_equal(j.freed, 5);
}

/* Young ones, leaves and last references go as with neve_release; so does everything with
 * the collector disabled. */
static void test_plain_releases(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    neve_object *text = &new_leaf(runtime, 'x')->base;
    neve_retain(text);
    neve_release_cyclic(runtime, text);
    assert_int_equal(neve_count(text), 1);
    neve_release_cyclic(runtime, text);
    neve_release_cyclic(runtime, NULL);
    assert_string_equal(j.text, "dx ");
    pair *young = old_ring(runtime, &pair_type, 2);
    neve_release_cyclic(runtime, &young->base);
    assert_int_equal(neve_count(&young->base), 1);
    assert_int_equal(collect(runtime, 0).collected, 2);
    pair *ring;
    make_rings(runtime, &ring, 1, 2);
    neve_collector_disable(neve_runtime_collector(runtime));
    neve_release_cyclic(runtime, &ring->base);
    assert_int_equal(neve_count(&ring->base), 1);
    assert_int_equal(collect(runtime, 2).collected, 2);
    neve_runtime_destroy(runtime);
}

/* Live objects lose a reference again and again: they stay, and soon nobody looks. */
static void test_live_objects_stay(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    if (is_stressed(runtime)) {
        neve_runtime_destroy(runtime);
        skip();
    }
    static pair *rings[BATCH];
    make_rings(runtime, rings, BATCH, 3);
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < BATCH; i++)
            neve_release_cyclic(runtime, neve_retain(&rings[i]->base));
        poll(runtime);
    }
    assert_int_equal(live_objects(runtime), BATCH * 3);
    neve_collector_stats stats = stats_of(runtime);
    assert_int_equal(stats.roots_collected, 0);
    assert_true(stats.roots_explored >= 2 * BATCH && stats.roots_explored < 12 * BATCH);
    for (int i = 0; i < BATCH; i++)
        assert_int_equal(neve_count(&rings[i]->base), 2);
    /* They are found when they die, by the batch that is looked at next. */
    for (int i = 0; i < BATCH; i++)
        neve_release_cyclic(runtime, &rings[i]->base);
    assert_int_equal(collect(runtime, 2).collected, BATCH * 3);
    neve_runtime_destroy(runtime);
}

/* A ring of more objects than are followed is left to a full collection. */
static void test_large_rings_wait(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    if (is_stressed(runtime)) {
        neve_runtime_destroy(runtime);
        skip();
    }
    static pair *rings[BATCH];
    make_rings(runtime, rings, BATCH, 40);
    for (int i = 0; i < BATCH; i++)
        neve_release_cyclic(runtime, &rings[i]->base);
    poll(runtime);
    assert_int_equal(live_objects(runtime), BATCH * 40);
    assert_int_equal(collect(runtime, 2).collected, BATCH * 40);
    neve_runtime_destroy(runtime);
}

/* Finalizers run, and what they revive lives on. */
static neve_object *revived;

static void revive(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    if (revived == NULL)
        revived = neve_retain(&self->base);
}

static void test_finalizers(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    static pair *rings[BATCH];
    neve_collector_disable(neve_runtime_collector(runtime));
    for (int i = 0; i < BATCH; i++) {
        rings[i] = old_ring(runtime, &finalized_pair_type, 2);
        rings[i]->on_finalize = revive;
    }
    (void)collect(runtime, 2);
    neve_collector_enable(neve_runtime_collector(runtime));
    revived = NULL;
    for (int i = 0; i < BATCH; i++)
        neve_release_cyclic(runtime, &rings[i]->base);
    poll(runtime);
    assert_int_equal(j.finalized, BATCH * 2);
    assert_non_null(revived);
    assert_int_equal(live_objects(runtime), 2);
    neve_release(runtime, revived);
    assert_int_equal(collect(runtime, 2).collected, 2);
    assert_int_equal(j.finalized, BATCH * 2);
    neve_runtime_destroy(runtime);
}

/* A disposal that holds the object for a moment, by its own hand: there is nothing to note. */
static void clear_holding(neve_runtime *runtime, neve_object *object)
{
    neve_release_cyclic(runtime, neve_retain(object));
    pair_clear(runtime, object);
}

static void test_the_dying(void **unused)
{
    (void)unused;
    static const neve_type type = {
        .name = "held while it is cleared",
        .size = sizeof(pair),
        .flags = NEVE_TYPE_CONTAINER,
        .traverse = pair_traverse,
        .clear = clear_holding,
        .dealloc = pair_dealloc,
    };
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &type, '\0');
    assert_int_equal(collect(runtime, 2).collected, 0);
    neve_release(runtime, &p->base);
    assert_int_equal(j.freed, 1);
    assert_int_equal(neve_runtime_collector(runtime)->possible.count, 0);
    assert_int_equal(collect(runtime, 2).collected, 0);
    neve_runtime_destroy(runtime);
}

/* A collector that is switched off keeps nothing alive beyond the next safe point. */
static void test_switched_off(void **unused)
{
    (void)unused;
    for (int by_threshold = 0; by_threshold < 2; by_threshold++) {
        neve_runtime *runtime = new_runtime(NULL);
        neve_collector *collector = neve_runtime_collector(runtime);
        if (is_stressed(runtime)) {
            neve_runtime_destroy(runtime);
            skip();
        }
        pair *ring;
        make_rings(runtime, &ring, 1, 2);
        neve_retain(&ring->base);
        neve_release_cyclic(runtime, &ring->base);
        assert_int_equal(collector->possible.count, 1);
        neve_clear_slot(runtime, &((pair *)ring->a)->a);
        neve_release_cyclic(runtime, &ring->base); /* nobody but the collector holds it */
        if (by_threshold)
            neve_collector_set_thresholds(collector, (const uint32_t[]){0, 10, 10});
        else
            neve_collector_disable(collector);
        poll(runtime);
        assert_int_equal(collector->possible.count, 0);
        assert_int_equal(live_objects(runtime), 0);
        neve_runtime_destroy(runtime);
    }
}

static bool is_grey(neve_runtime *runtime, const void *object)
{
    const nv_chunk *chunk = nv_chunk_find(neve_runtime_heap(runtime), object);
    return chunk != NULL && nv_bit_is_set(chunk->grey, nv_granule(object));
}

/* What dies that way while a cycle marks may have been reached already, and wait to be
 * traversed: it must not wait any longer, for its memory goes. */
static void test_the_dead_are_not_grey(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    if (is_stressed(runtime)) {
        neve_runtime_destroy(runtime);
        skip();
    }
    enum { RINGS = 20 * BATCH };
    bag *b = new_bag(runtime, RINGS);
    neve_object *root = &b->var.base;
    assert_int_equal(neve_root_add(runtime, &root), NEVE_OK);
    for (int i = 0; i < RINGS; i++)
        bag_put(b, &old_ring(runtime, &finalized_pair_type, 2)->base);
    make_old(runtime);
    go_to(runtime, NV_CYCLE_MARK);
    while (!is_grey(runtime, b->items[RINGS - 1]) && phase_of(runtime) == NV_CYCLE_MARK)
        assert_true(quantum(runtime));
    static void *dead[BATCH];
    int n = 0;
    for (int i = 0; i < RINGS && n < BATCH; i++) {
        if (b->items[i] == NULL || !is_grey(runtime, b->items[i]))
            continue;
        dead[n++] = b->items[i];
        b->items[i] = NULL;
        neve_release_cyclic(runtime, dead[n - 1]);
    }
    assert_int_equal(n, BATCH);
    poll(runtime);
    assert_int_equal(j.freed, 2 * BATCH);
    assert_int_equal(phase_of(runtime), NV_CYCLE_MARK);
    for (int i = 0; i < BATCH; i++)
        assert_false(is_grey(runtime, dead[i]));
    end_cycle(runtime);
    neve_root_remove(runtime, &root);
    neve_release_cyclic(runtime, root);
    neve_runtime_destroy(runtime);
    assert_int_equal(j.freed, 2 * RINGS);
}

/* ---- random programs ---- */

typedef struct web {
    neve_object base;
    neve_object *slots[3];
} web;

static const neve_type web_type = {
    .name = "web",
    .size = sizeof(web),
    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_SLOTS,
    .slot_offset = offsetof(web, slots),
    .slot_count = 3,
};

static uint32_t random_next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static int note_walked(void *object, void *arg)
{
    (void)object;
    ++*(size_t *)arg;
    return 0;
}

/* Objects refer to one another at random; handles and slots let go by either release. In the
 * end, what the handles do not hold has to be gone, and nothing else: the handles' objects
 * are counted, and every reference followed. */
static void run_random_program(neve_mode mode, uint32_t seed)
{
    enum { HANDLES = 64, STEPS = 6000 };
    neve_collector_options collect_options = {
        .struct_size = sizeof collect_options, .mode = mode, .thresholds = {50, 3, 3}};
    neve_runtime_options options = {.struct_size = sizeof options, .collect = &collect_options};
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    neve_object *handles[HANDLES] = {NULL};
    for (int step = 0; step < STEPS; step++) {
        neve_object **handle = &handles[random_next(&seed) % HANDLES];
        uint32_t what = random_next(&seed) % 8;
        neve_object *other = handles[random_next(&seed) % HANDLES];
        neve_object *old;
        if (what < 3 || *handle == NULL) {
            old = *handle;
            *handle = neve_object_new(runtime, &web_type);
            assert_non_null(*handle);
            if (other != NULL && what != 0)
                ((web *)*handle)->slots[0] = neve_retain(other == old ? *handle : other);
        } else {
            neve_object **slot = &((web *)*handle)->slots[random_next(&seed) % 3];
            old = *slot;
            *slot = other == NULL ? NULL : neve_retain(other);
        }
        if (random_next(&seed) % 4 != 0)
            neve_release_cyclic(runtime, old);
        else
            neve_release(runtime, old);
        neve_poll(neve_runtime_collector(runtime),
                  neve_collector_breaker(neve_runtime_collector(runtime)));
        /* A quantum of a cycle: what it has found in part is there to be freed. */
        if (step % 200 == 0 || neve_runtime_collector(runtime)->cycle.phase != NV_CYCLE_IDLE)
            (void)neve_step(neve_runtime_collector(runtime), 0, NULL);
    }
    assert_true(mode == NEVE_MODE_GENERATIONAL || stats_of(runtime).cycle.cycles > 3 ||
                is_stressed(runtime));
    neve_collector_drain(neve_runtime_collector(runtime));
    (void)collect(runtime, 2);
    check_runtime(runtime); /* each count against the references that there are */
    size_t objects = 0;
    (void)neve_runtime_walk(runtime, note_walked, &objects);
    assert_int_equal(objects, live_objects(runtime));
    assert_true(stats_of(runtime).roots_explored > 100 || is_stressed(runtime));
    for (int i = 0; i < HANDLES; i++)
        neve_release_cyclic(runtime, handles[i]);
    (void)collect(runtime, 2);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_random_programs(void **unused)
{
    (void)unused;
    uint32_t programs = is_slow() ? 3 : 10;
    for (uint32_t seed = 1; seed <= programs; seed++) {
        run_random_program(NEVE_MODE_GENERATIONAL, seed);
        run_random_program(NEVE_MODE_INCREMENTAL, seed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_rings_go_soon),
        cmocka_unit_test(test_what_needs_no_verification),
        cmocka_unit_test(test_collections_come_first),
        cmocka_unit_test(test_destroyed_with_some_left),
        cmocka_unit_test(test_plain_releases),
        cmocka_unit_test(test_live_objects_stay),
        cmocka_unit_test(test_large_rings_wait),
        cmocka_unit_test(test_finalizers),
        cmocka_unit_test(test_the_dying),
        cmocka_unit_test(test_switched_off),
        cmocka_unit_test(test_the_dead_are_not_grey),
        cmocka_unit_test(test_random_programs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
