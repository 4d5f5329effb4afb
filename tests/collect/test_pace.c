/* SPDX-License-Identifier: MIT */
/*
 * When cycles begin, how long they last, and how much waits meanwhile: objects and bytes.
 * Nothing is timed: the bounds are asserted where slices may take as long as they have to,
 * or with what a cycle is allowed that is late.
 */
#include "cycle_steps.h"

/* A young generation of a million objects, made without a safe point, is worked off
 * in parts; garbage in it is found by these, or by the next cycle. */
static void test_oversized_young_generation(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    neve_collector *c = neve_runtime_collector(runtime);
    size_t n = is_slow() ? 60000 : 1000000, garbage = 0;
    neve_object *list = NULL;
    assert_int_equal(neve_root_add(runtime, &list), NEVE_OK);
    neve_collector_set_pause_us(c, 100);
    for (size_t i = 0; i < n; i++) {
        pair *p = new_pair(runtime, &pair_type, '\0');
        p->a = list;
        list = &p->base;
        if (i % 100 == 0) {
            make_garbage_ring(runtime, &pair_type, '\0', '\0');
            garbage += 2;
        }
    }
    /* A part: what is expected to fit into three quarters of the pause, and what the
     * last pool has. */
    size_t parts = 0, candidates = 0, most = 0;
    bool is_partial = true;
    while (is_partial) {
        assert_true((neve_breaker_get(neve_collector_breaker(c)) & NEVE_EVENT_COLLECT) != 0);
        neve_collection part = due(runtime, 0);
        if (part.candidates > most)
            most = part.candidates;
        candidates += part.candidates;
        is_partial = part.is_partial;
        parts++;
        /* The next part is due after a few more allocations. */
        for (int i = 0; is_partial && i < 201; i++) {
            pair *p = new_pair(runtime, &pair_type, '\0');
            neve_release(runtime, &p->base);
        }
        for (int i = 0; is_partial && i < 201; i++) {
            pair *p = new_pair(runtime, &pair_type, '\0');
            p->a = list;
            list = &p->base;
            n++;
        }
    }
    assert_true(parts > 5 && most <= 100 * 1000 / 4 * 3 + NV_POOL_BYTES / 32);
    assert_true(candidates >= n);
    (void)collect(runtime, 1);
    (void)collect(runtime, 1);
    begin_cycle(runtime);
    end_cycle(runtime);
    assert_true((size_t)j.freed >= garbage);
    assert_int_equal(live_objects(runtime), n);
    assert_int_equal(neve_runtime_heap(runtime)->old_objects, n);
    neve_root_remove(runtime, &list);
    neve_release(runtime, list);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* Releases the pairs that lie in `pool` until `left` are left; in small groups, so that the
 * cache goes on taking blocks. */
static void empty_pool(neve_runtime *runtime, pair **pairs, size_t n, const nv_pool *pool,
                       unsigned left)
{
    neve_heap *heap = neve_runtime_heap(runtime);
    nv_cache_flush(heap);
    for (size_t i = 0, freed = 0; i < n && pool->used > left; i++) {
        if (pairs[i] == NULL || nv_pool_of(pairs[i]) != pool)
            continue;
        neve_release(runtime, &pairs[i]->base);
        pairs[i] = NULL;
        if (++freed % 8 == 0 || pool->used - freed % 8 == left)
            nv_cache_flush(heap);
    }
}

/* Blocks of young pools that wait in a cache go home before the pools leave the list. Some
 * pools become empty by that, and others take their places in the list: those that were not
 * looked at stay in it. */
static void test_a_part_ends_where_it_was_left(void **unused)
{
    (void)unused;
    enum { POOLS = 30, LEFT = 8 };
    neve_runtime *runtime = new_incremental(NULL);
    neve_heap *heap = neve_runtime_heap(runtime);
    neve_collector *c = neve_runtime_collector(runtime);
    neve_collector_set_pause_us(c, 1); /* parts of a few thousand objects */
    static pair *pairs[POOLS * NV_POOL_BYTES / sizeof(pair)];
    size_t n = 0, young = 0;
    while (heap->touched_count < POOLS)
        pairs[n++] = new_pair(runtime, &pair_type, '\0');
    const nv_pool *first = heap->touched[1], *second = heap->touched[2];
    empty_pool(runtime, pairs, n, first, LEFT);
    empty_pool(runtime, pairs, n, second, LEFT);
    for (size_t i = 0; i < n; i++)
        if (pairs[i] != NULL && (nv_pool_of(pairs[i]) == first || nv_pool_of(pairs[i]) == second)) {
            neve_release(runtime, &pairs[i]->base);
            pairs[i] = NULL;
        }
    assert_int_equal(nv_pool_cached_blocks(heap, first, NULL), LEFT);
    assert_int_equal(nv_pool_cached_blocks(heap, second, NULL), LEFT);

    assert_true(due(runtime, 0).is_partial);
    assert_int_equal(first->used + second->used, 0);
    for (size_t i = 0; i < n; i++)
        if (pairs[i] != NULL && neve_collector_generation_of(c, pairs[i]) == 0) {
            young++;
            assert_int_not_equal(nv_pool_of(pairs[i])->touched, 0);
        }
    assert_true(young > 0);
    for (size_t i = 0; i < n; i++)
        if (pairs[i] != NULL)
            neve_release(runtime, &pairs[i]->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* What pace.c makes of a population and of the thresholds below: how far it may grow
 * beyond what is reachable, and after so many promotions a cycle ought to have ended. */
static size_t room_of(size_t reachable)
{
    return reachable / 4 > 8192 ? reachable / 4 : 8192;
}
static size_t goal_of(size_t old)
{
    return old / 9 > 4096 ? old / 9 : 4096;
}

enum { WINDOW = 4000 }; /* rings that are alive at once */

/* A program of which some objects stay, and `dying` rings for each of them get old and
 * are let go. Returns the largest excess of the old population over the reachable
 * one and its room, in promotions that a cycle may last for. */
static double excess_over_bound(size_t rounds, size_t dying, uint32_t pause_us,
                                neve_cycle_stats *stats)
{
    enum { YOUNG = 500 * (4 + 2) };
    static neve_object *window[WINDOW];
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    neve_collector *c = neve_runtime_collector(runtime);
    neve_collector_set_pause_us(c, pause_us);
    static const uint32_t thresholds[NEVE_GENERATIONS] = {500, 4, 4};
    neve_collector_set_thresholds(c, thresholds);
    neve_object *list = NULL;
    assert_int_equal(neve_root_add(runtime, &list), NEVE_OK);
    size_t at = 0;
    double excess = 0, ratio = 0;
    for (size_t round = 1; round <= rounds; round++) {
        pair *p = new_pair(runtime, &pair_type, '\0');
        p->a = list;
        list = &p->base;
        for (size_t i = 0; i < dying; i++) {
            pair *a = new_pair(runtime, &pair_type, '\0');
            pair *b = new_pair(runtime, &pair_type, '\0');
            a->a = &b->base;
            b->a = neve_retain(&a->base);
            neve_release(runtime, window[at % WINDOW]);
            window[at++ % WINDOW] = &a->base;
        }
        neve_poll(c, neve_collector_breaker(c));
        size_t reachable = round + 2 * (at < WINDOW ? at : WINDOW);
        size_t old = neve_runtime_heap(runtime)->old_objects;
        size_t bound = reachable + room_of(reachable) + YOUNG;
        if (old > bound && (double)(old - bound) / (double)goal_of(reachable) > excess)
            excess = (double)(old - bound) / (double)goal_of(reachable);
        if (room_of(reachable) > 8192 && (double)old / (double)reachable > ratio)
            ratio = (double)old / (double)reachable;
    }
    *stats = cycle_stats(runtime);
    print_message(
        "pause %u us, %zu dying: at most %.2f of the reachable, %.2f goals over the bound; "
        "%llu of %llu slices late\n",
        pause_us, dying, ratio, excess, (unsigned long long)stats->late_slices,
        (unsigned long long)stats->slices);
    neve_root_remove(runtime, &list);
    neve_release(runtime, list);
    for (size_t i = 0; i < WINDOW; i++) {
        neve_release(runtime, window[i]);
        window[i] = NULL;
    }
    (void)collect(runtime, 2);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
    return excess;
}

/* Slices that may take as long as they have to keep the bound; on a loaded machine they
 * get less of the time, and a cycle may last for two goals. Where the pause is to be
 * shorter than any slice, they are late, and said to be; they double with each quarter
 * of the goal, up to 2^14 times the pause: by then the cycle has ended. */
/* What one young collection has left over comes next, before any slice alone. */
static void test_parts_come_before_slices(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    neve_object *list = NULL;
    assert_int_equal(neve_root_add(runtime, &list), NEVE_OK);
    neve_collector_set_pause_us(c, 100);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 40000; i++) {
            pair *p = new_pair(runtime, &pair_type, '\0');
            p->a = list;
            list = &p->base;
        }
        if (round == 0) {
            make_old(runtime);
            begin_cycle(runtime);
        }
    }
    size_t parts = 0;
    c->cycle.stops_left = 0;
    for (neve_collection part = {.is_partial = true}; part.is_partial; parts++) {
        c->cycle.program_ns = UINT64_C(1000000000); /* a slow program, and much to do */
        c->cycle.expected_ns = c->cycle.spent_ns + UINT64_C(1000000000);
        c->cycle.goal = 4 * (c->cycle.promoted + 100000);
        c->cycle.held_alarm = SIZE_MAX;
        part = due(runtime, 0);
        assert_false(part.is_slice);
    }
    assert_true(parts > 3);
    neve_root_remove(runtime, &list);
    neve_release(runtime, list);
    neve_runtime_destroy(runtime);
}

/* Stops that were planned for a larger threshold than there is now are none. */
static void test_threshold_is_lowered(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    pair *p = new_pair(runtime, &pair_type, '\0');
    make_old(runtime);
    begin_cycle(runtime);
    for (uint32_t threshold = 2000; threshold > 0; threshold /= 10) {
        neve_collector_set_thresholds(c, (const uint32_t[]){threshold, 10, 10});
        c->cycle.stops = 10;
        c->cycle.stops_left = 9;
        c->cycle.slice_ns = 1;
        c->cycle.held_alarm = SIZE_MAX;
        neve_collection stop = due(runtime, 0);
        assert_true(stop.is_slice == (threshold >= 10));
        assert_int_equal(stop.next_after, stop.is_slice ? threshold / 10 : 0);
    }
    neve_release(runtime, &p->base);
    neve_runtime_destroy(runtime);
}

/* A full collection leaves no part over, even if the one before it did. */
static void test_full_after_a_part(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    neve_object *list = NULL;
    assert_int_equal(neve_root_add(runtime, &list), NEVE_OK);
    neve_collector_set_pause_us(c, 100);
    for (int i = 0; i < 20000; i++) {
        pair *p = new_pair(runtime, &pair_type, '\0');
        p->a = list;
        list = &p->base;
    }
    assert_true(due(runtime, 0).is_partial);
    neve_collection full = collect(runtime, 2);
    assert_false(full.is_partial);
    assert_int_equal(full.next_after, 0);
    assert_int_equal(c->counts[0], 0);
    neve_root_remove(runtime, &list);
    neve_release(runtime, list);
    neve_runtime_destroy(runtime);
}

static void test_population_is_bounded(void **unused)
{
    (void)unused;
    size_t rounds = is_slow() ? 16000 : 60000;
    for (size_t dying = 1; dying <= 4; dying += 3) {
        neve_cycle_stats stats;
        assert_true(excess_over_bound(rounds, dying, 60000000, &stats) <= 1);
        assert_int_equal(stats.late_slices, 0);
        size_t garbage = 2 * (rounds * dying - WINDOW);
        assert_true(stats.cycles > 0 && stats.collected > garbage / 4);
        assert_true(excess_over_bound(rounds, dying, 1, &stats) <= 2 * 5);
        assert_true(stats.late_slices > 0 && stats.late_slices <= stats.slices);
        assert_true(stats.cycles > 0 && stats.collected > 0);
    }
}

/* Where young sets are very large, old garbage has two thirds of the room. */
static void test_room_beside_large_young_sets(void **unused)
{
    (void)unused;
    enum { OBJECTS = 45000 }; /* between two thirds of what is enough and all of it */
    for (int is_large = 0; is_large < 2; is_large++) {
        neve_runtime *runtime = new_incremental(NULL);
        neve_collector *c = neve_runtime_collector(runtime);
        neve_object *list = NULL;
        assert_int_equal(neve_root_add(runtime, &list), NEVE_OK);
        uint32_t threshold = is_large ? 200000 : 2000;
        neve_collector_set_thresholds(c, (const uint32_t[]){threshold, 10, 10});
        for (int i = 0; i < OBJECTS; i++) {
            if (i == 100)
                (void)collect(runtime, 2); /* the room is counted from here */
            pair *p = new_pair(runtime, &pair_type, '\0');
            p->a = list;
            list = &p->base;
        }
        (void)collect(runtime, 1);
        assert_true(c->heap->old_objects >= OBJECTS);
        (void)due(runtime, 1);
        neve_cycle_stats stats = cycle_stats(runtime);
        assert_true((stats.is_running || stats.cycles > 0) == is_large);
        neve_root_remove(runtime, &list);
        neve_release(runtime, list);
        neve_runtime_destroy(runtime);
    }
}

/* Without cycles in its data a program pays for few: their number grows with the
 * logarithm of the objects created, once that is what decides. */
static void test_number_of_cycles(void **unused)
{
    (void)unused;
    size_t n = is_slow() ? 30000 : 150000;
    neve_cycle_stats once, twice;
    (void)excess_over_bound(n, 0, 500, &once);
    (void)excess_over_bound(2 * n, 0, 500, &twice);
    assert_true(once.cycles > 0);
    assert_int_equal(twice.collected, 0);
    /* From the beginning of one cycle to the next the population grows by its room less
     * a goal, at the least by an eighth. */
    assert_true(once.cycles <= 1 + 4 * 8192 / (8192 - 4096) + 12);
    assert_true(twice.cycles <= once.cycles + 7);
}

/* Rings of one object each that are few and large. Returns how many bytes of large
 * blocks there were at most, of which `held` rings were reachable. */
#define LARGE_BYTES ((size_t)256 << 10)
static size_t most_bytes_held(size_t rings, size_t held, neve_cycle_stats *stats)
{
    enum { MOST_HELD = 40 };
    static bag *window[MOST_HELD];
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    neve_collector_set_pause_us(c, 60000000); /* so that no slice ends early */
    size_t most = 0;
    assert_true(held <= MOST_HELD);
    for (size_t i = 0; i < rings; i++) {
        bag *b = new_bag(runtime, LARGE_BYTES / sizeof(neve_object *));
        bag_put(b, neve_retain(&b->var.base));
        if (held == 0) {
            neve_release(runtime, &b->var.base);
        } else {
            if (window[i % held] != NULL)
                neve_release(runtime, &window[i % held]->var.base);
            window[i % held] = b;
        }
        size_t bytes = neve_runtime_heap(runtime)->large_bytes;
        most = bytes > most ? bytes : most;
        neve_poll(c, neve_collector_breaker(c));
    }
    *stats = cycle_stats(runtime);
    for (size_t i = 0; i < held; i++) {
        neve_release(runtime, &window[i]->var.base);
        window[i] = NULL;
    }
    (void)collect(runtime, 2);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
    print_message("%zu rings of %zu kB, %zu held: at most %zu MB, %llu cycles\n", rings,
                  LARGE_BYTES >> 10, held, most >> 20, (unsigned long long)stats->cycles);
    return most;
}

/* So few objects would never make a collection due. */
static void test_bytes_are_bounded(void **unused)
{
    (void)unused;
    const size_t megabyte = (size_t)1 << 20, rings = 1000;
    neve_cycle_stats stats;
    /* What dies young waits for a quarter of the least growth that a cycle is worth. */
    assert_true(most_bytes_held(rings, 0, &stats) <= (8 + 1) * megabyte);
    /* What dies old: for that growth, half of it again until the cycle ends, and what was
     * promoted during the last one; and a young and a middle set. */
    assert_true(most_bytes_held(rings, 40, &stats) <=
                40 * LARGE_BYTES + (32 + 16 + 16 + 2 * 8) * megabyte);
    assert_true(stats.cycles > 0 && stats.collected > 0);
}

/* An idle step looks for garbage also where no object was made, if much memory was. */
static void test_bytes_make_a_step_worthwhile(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    while (neve_step(c, 1000000, NULL))
        continue;
    uint64_t before = cycle_stats(runtime).cycles;
    assert_false(neve_step(c, 1000000, NULL));
    neve_heap *heap = neve_runtime_heap(runtime);
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, (size_t)9 << 20);
    assert_non_null(block);
    while (neve_step(c, 1000000, NULL))
        continue;
    assert_int_equal(cycle_stats(runtime).cycles, before + 1);
    assert_false(neve_step(c, 1000000, NULL));
    neve_heap_free(heap, block);
    neve_runtime_destroy(runtime);
}

/* What dies by its count before it gets old makes no cycle begin. */
static void test_temporary_objects(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    neve_collector *c = neve_runtime_collector(runtime);
    neve_object *kept[300] = {NULL};
    for (size_t i = 0; i < 200000; i++) {
        neve_release(runtime, kept[i % 300]);
        kept[i % 300] = &new_pair(runtime, &pair_type, '\0')->base;
        neve_poll(c, neve_collector_breaker(c));
    }
    assert_int_equal(cycle_stats(runtime).cycles, 0);
    assert_int_equal(cycle_stats(runtime).slices, 0);
    for (size_t i = 0; i < 300; i++)
        neve_release(runtime, kept[i]);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* How many collections there were of the young generation alone, and of both. */
typedef struct counted {
    size_t young, middle;
} counted;

static void count_collection(void *ctx, const neve_collection *collection)
{
    counted *n = ctx;
    n->young += collection->generation == 0;
    n->middle += collection->generation == 1;
}

/* `rounds` rings of two; each is let go when `held` have come after it. */
static counted count_over_rings(size_t rounds, size_t held, neve_cycle_stats *stats)
{
    static neve_object *window[WINDOW];
    counted n = {0};
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    neve_collector_set_pause_us(c, 60000000); /* so that thresholds alone decide */
    static const uint32_t thresholds[NEVE_GENERATIONS] = {500, 4, 4};
    neve_collector_set_thresholds(c, thresholds);
    neve_listener listener = {.ctx = &n, .end = count_collection};
    neve_collector_set_listener(c, &listener);
    assert_true(held <= WINDOW);
    for (size_t i = 0; i < rounds; i++) {
        pair *a = new_pair(runtime, &pair_type, '\0');
        pair *b = new_pair(runtime, &pair_type, '\0');
        a->a = &b->base;
        b->a = neve_retain(&a->base);
        neve_release(runtime, window[i % held]);
        window[i % held] = &a->base;
        neve_poll(c, neve_collector_breaker(c));
    }
    *stats = cycle_stats(runtime);
    for (size_t i = 0; i < held; i++) {
        neve_release(runtime, window[i]);
        window[i] = NULL;
    }
    (void)collect(runtime, 2);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
    return n;
}

/* Where nothing dies in the middle generation, survivors do not stay there to be verified
 * again; where much does, it is left to do its work, as often as the thresholds say. */
static void test_middle_generation(void **unused)
{
    (void)unused;
    size_t rounds = is_slow() ? 30000 : 100000;
    neve_cycle_stats stats;
    counted n = count_over_rings(rounds, WINDOW, &stats);
    print_message("nothing dies in the middle: %zu young, %zu of both\n", n.young, n.middle);
    assert_true(n.middle > 2 * n.young);

    /* Each outlives one or two collections of the young. */
    n = count_over_rings(rounds, 400, &stats);
    print_message("much dies in the middle: %zu young, %zu of both\n", n.young, n.middle);
    assert_true(n.young > 2 * n.middle);
    assert_true(stats.collected < rounds);
}

/* The stops of a program, and what it made between them. */
typedef struct stops {
    size_t made;          /* objects since the last young collection */
    size_t alone, most;   /* slices since then, and at most between two */
    size_t young;         /* collections */
    size_t least, latest; /* objects between two young collections */
} stops;

static void note_stop(void *ctx, const neve_collection *collection)
{
    stops *s = ctx;
    if (collection->is_slice) {
        s->alone++;
        s->most = s->alone > s->most ? s->alone : s->most;
        assert_int_equal(collection->candidates, 0);
        return;
    }
    /* The last slice of a cycle leaves the young set to fill up as ever. */
    if (s->young > 0) {
        s->least = s->made < s->least ? s->made : s->least;
        s->latest = s->made > s->latest ? s->made : s->latest;
    }
    s->young++;
    s->made = s->alone = 0;
}

/* A program that takes long to make a young set is stopped for slices in between; young
 * sets are as large as without. */
static void test_slices_alone(void **unused)
{
    (void)unused;
    enum { THRESHOLD = 640, OBJECTS = 100000 };
    stops s = {.least = SIZE_MAX};
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    static const uint32_t thresholds[NEVE_GENERATIONS] = {THRESHOLD, 1000, 10};
    neve_collector_set_thresholds(c, thresholds);
    neve_collector_set_pause_us(c, 20);
    neve_listener listener = {.ctx = &s, .end = note_stop};
    neve_collector_set_listener(c, &listener);
    neve_object *list = NULL;
    assert_int_equal(neve_root_add(runtime, &list), NEVE_OK);
    uint32_t middle = 0;
    for (size_t i = 0; i < OBJECTS; i++) {
        pair *p = new_pair(runtime, &pair_type, '\0');
        p->a = list;
        list = &p->base;
        s.made++;
        c->cycle.ran_ns = UINT64_C(1000000000); /* a slow program */
        size_t alone = s.alone, young = s.young;
        middle = c->counts[1];
        neve_poll(c, neve_collector_breaker(c));
        if (s.alone != alone && s.young == young)
            assert_int_equal(c->counts[1], middle); /* slices are no collections */
    }
    neve_cycle_stats stats = cycle_stats(runtime);
    print_message("%zu young collections after %zu to %zu objects, at most %zu slices in between; "
                  "%llu cycles of %llu slices\n",
                  s.young, s.least, s.latest, s.most, (unsigned long long)stats.cycles,
                  (unsigned long long)stats.slices);
    assert_true(stats.cycles > 0);
    assert_int_equal(s.most, THRESHOLD / 64 - 1);
    /* Each of the stops comes one object after its share of the threshold. */
    assert_true(s.least > THRESHOLD - THRESHOLD / 64 && s.latest <= THRESHOLD + THRESHOLD / 64);
    neve_root_remove(runtime, &list);
    neve_release(runtime, list);
    (void)collect(runtime, 2);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_oversized_young_generation),
        cmocka_unit_test(test_parts_come_before_slices),
        cmocka_unit_test(test_threshold_is_lowered),
        cmocka_unit_test(test_full_after_a_part),
        cmocka_unit_test(test_a_part_ends_where_it_was_left),
        cmocka_unit_test(test_population_is_bounded),
        cmocka_unit_test(test_room_beside_large_young_sets),
        cmocka_unit_test(test_number_of_cycles),
        cmocka_unit_test(test_bytes_are_bounded),
        cmocka_unit_test(test_bytes_make_a_step_worthwhile),
        cmocka_unit_test(test_temporary_objects),
        cmocka_unit_test(test_middle_generation),
        cmocka_unit_test(test_slices_alone),
    };
    setenv("NEVE_GC_STRESS", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
