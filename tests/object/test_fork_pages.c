/* SPDX-License-Identifier: MIT */
/*
 * Which pages of its parent's objects a child writes, page by page: none where it
 * collects, allocates or uses what is immortal; only those of the dead where it
 * frees; and what a fork in the middle of a cycle of the incremental mode does.
 */
#include "heap/heap_support.h"
#include "neve.h"
#include "object/slow.h"

#define NODE_COUNT 60000
#define MAX_RINGS 400

typedef struct node {
    neve_object base;
    neve_object *slots[3];
} node;

static void node_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    (void)neve_visit_items((void *const *)((node *)object)->slots, 3, visit, arg);
}

static void node_clear(neve_runtime *runtime, neve_object *object)
{
    for (int i = 0; i < 3; i++)
        neve_clear_slot(runtime, &((node *)object)->slots[i]);
}

static const neve_type node_type = {.name = "node",
                                    .size = sizeof(node),
                                    .flags = NEVE_TYPE_CONTAINER,
                                    .traverse = node_traverse,
                                    .clear = node_clear};
static const neve_type text_type = {.name = "text", .size = 96};

typedef struct world {
    neve_runtime *runtime;
    node *nodes[NODE_COUNT]; /* a reference on each is held */
    size_t count;
    page_set pages; /* of all objects */
} world;

static world w;

/* Nodes that refer to an earlier one and to a leaf; every third has gone again. Rings
 * of one, spread among them, are garbage and old. */
static void make_world(neve_mode mode, bool is_immortal, size_t rings)
{
    neve_collector_options collect = {.struct_size = sizeof collect, .mode = mode};
    neve_runtime_options options = {.struct_size = sizeof options, .collect = &collect};
    uint64_t random = 11;
    memset(&w, 0, sizeof w);
    assert_ok(neve_runtime_create(&options, &w.runtime));
    neve_collector *collector = neve_runtime_collector(w.runtime);
    neve_collector_disable(collector);
    node *all[4] = {NULL, NULL, NULL, NULL};
    static node *held[MAX_RINGS];
    size_t made_rings = 0;
    size_t wanted = is_slow() ? NODE_COUNT / 3 : NODE_COUNT;
    for (size_t i = 0; i < wanted; i++) {
        node *made = (node *)neve_object_new(w.runtime, &node_type);
        assert_non_null(made);
        assert_non_null(made->slots[0] = neve_object_new(w.runtime, &text_type));
        if (w.count > 0)
            made->slots[1] = neve_retain(&w.nodes[random_below(&random, w.count)]->base);
        if (i % 3 == 0) { /* goes four nodes later */
            if (all[i / 3 % 4] != NULL)
                neve_release(w.runtime, &all[i / 3 % 4]->base);
            all[i / 3 % 4] = made;
        } else {
            w.nodes[w.count++] = made;
        }
        if (made_rings < rings && i % (wanted / rings) == 0) {
            node *ring = (node *)neve_object_new(w.runtime, &node_type);
            assert_non_null(ring);
            assert_true(made_rings < MAX_RINGS);
            ring->slots[2] = neve_retain(&ring->base);
            held[made_rings++] = ring;
        }
    }
    for (int i = 0; i < 4; i++)
        neve_release(w.runtime, &all[i]->base);
    neve_collection done;
    assert_ok(neve_collect(collector, 2, &done)); /* all is old now */
    assert_int_equal(done.collected, 0);
    for (size_t i = 0; i < made_rings; i++)
        neve_release(w.runtime, &held[i]->base);
    if (is_immortal) {
        neve_freeze_result result;
        assert_ok(neve_runtime_freeze(w.runtime, NEVE_FREEZE_IMMORTAL, &result));
        assert_int_equal(result.mortal, 0);
        assert_int_equal(result.immortal, 2 * w.count);
    }
    neve_runtime_before_fork(w.runtime);
    for (size_t i = 0; i < w.count; i++) {
        page_set_add(&w.pages, w.nodes[i], sizeof(node));
        page_set_add(&w.pages, w.nodes[i]->slots[0], 96);
    }
    page_set_finish(&w.pages);
    assert_true(w.pages.count > 300);
}

static void end_world(void)
{
    char message[160];
    if (neve_collector_check(neve_runtime_collector(w.runtime), message, sizeof message) != NEVE_OK)
        fail_msg("%s", message);
    for (size_t i = 0; i < w.count; i++)
        neve_release(w.runtime, &w.nodes[i]->base);
    neve_runtime_destroy(w.runtime);
    page_set_clear(&w.pages);
}

/* ---- in children ---- */

static int map;

/* In the child, first. */
static const char *begin(void)
{
    map = page_map_open();
    CHECK(map >= 0, "no page map");
    page_set_keep_shared(&w.pages, map);
    CHECK(w.pages.count > 300, "only %zu pages are shared", w.pages.count);
    return NULL;
}

static size_t dirtied(void)
{
    return page_set_count_with(&w.pages, map, PAGE_PRESENT | PAGE_EXCLUSIVE);
}

#define BEGIN()                                                                                    \
    do {                                                                                           \
        neve_runtime_after_fork_child(w.runtime);                                                  \
        const char *wrong_ = begin();                                                              \
        if (wrong_ != NULL)                                                                        \
            return wrong_;                                                                         \
    } while (0)

#define CHECK_RUNTIME()                                                                            \
    do {                                                                                           \
        char message_[160];                                                                        \
        CHECK(neve_collector_check(neve_runtime_collector(w.runtime), message_,                    \
                                   sizeof message_) == NEVE_OK,                                    \
              "%s", message_);                                                                     \
    } while (0)

static const char *collect_and_allocate(void *arg)
{
    (void)arg;
    neve_collection done;
    neve_collector *collector = neve_runtime_collector(w.runtime);
    BEGIN();
    for (int i = 0; i < 3; i++)
        CHECK(neve_collect(collector, 2, &done) == NEVE_OK && done.collected == 0, "collected %zu",
              done.collected);
    CHECK(dirtied() == 0, "collecting wrote to %zu of %zu pages", dirtied(), w.pages.count);

    /* Objects that come and go, in cycles too, with automatic collections. */
    neve_collector_enable(collector);
    neve_eval_breaker *breaker = neve_collector_breaker(collector);
    node *kept[64] = {NULL};
    /* Where every safe point collects, each costs milliseconds. */
    size_t count = is_slow() ? 2000 : 1000000;
    for (size_t i = 0; i < count; i++) {
        node *made = (node *)neve_object_new(w.runtime, i % 2 == 0 ? &node_type : &text_type);
        CHECK(made != NULL, "no memory");
        if (i % 2 != 0) {
            neve_release(w.runtime, &made->base);
            continue;
        }
        made->slots[0] = i % 8 == 0 ? neve_retain(&made->base) : NULL;
        neve_release(w.runtime, kept[i / 2 % 64] == NULL ? NULL : &kept[i / 2 % 64]->base);
        kept[i / 2 % 64] = made;
        neve_poll(collector, breaker);
    }
    neve_collector_disable(collector);
    CHECK(dirtied() == 0, "allocating wrote to %zu of %zu pages", dirtied(), w.pages.count);
    for (size_t i = 0; i < 64; i++)
        neve_release(w.runtime, &kept[i]->base);
    CHECK(neve_collect(collector, 2, &done) == NEVE_OK && done.collected > 0, "nothing died");
    CHECK(dirtied() == 0, "freeing it wrote to %zu of %zu pages", dirtied(), w.pages.count);
    CHECK_RUNTIME();
    return NULL;
}

/* One reference more and one less, on everything. */
static void use_all(void)
{
    for (size_t i = 0; i < w.count; i++) {
        neve_object *text = neve_retain(((node *)neve_retain(&w.nodes[i]->base))->slots[0]);
        neve_release(w.runtime, text);
        neve_release(w.runtime, &w.nodes[i]->base);
    }
}

static const char *use(void *arg)
{
    const bool *is_immortal = arg;
    BEGIN();
    use_all();
    if (!*is_immortal) {
        /* Otherwise the test would show nothing. */
        CHECK(dirtied() > w.pages.count / 2, "counts wrote to %zu of %zu pages", dirtied(),
              w.pages.count);
        return NULL;
    }
    CHECK(dirtied() == 0, "using immortal objects wrote to %zu of %zu pages", dirtied(),
          w.pages.count);
    return NULL;
}

/* All that lies in one page of eight dies: only its pages are written. */
static const char *free_some(void *arg)
{
    (void)arg;
    BEGIN();
    page_set written;
    memset(&written, 0, sizeof written);
    size_t first = w.count - w.count / 8; /* the latest: not many refer to them */
    for (size_t i = first; i < w.count; i++) {
        page_set_add(&written, w.nodes[i], sizeof(node));
        page_set_add(&written, w.nodes[i]->slots[0], 96);
        if (w.nodes[i]->slots[1] != NULL)
            page_set_add(&written, w.nodes[i]->slots[1], sizeof(node));
    }
    page_set_finish(&written);
    for (size_t i = first; i < w.count; i++)
        neve_release(w.runtime, &w.nodes[i]->base);
    w.count = first;
    size_t stray = 0;
    for (size_t i = 0; i < w.pages.count; i++) {
        const void *page = (const void *)(w.pages.numbers[i] * page_bytes());
        uint64_t bits = page_bits(map, w.pages.numbers[i]);
        stray += (bits & PAGE_PRESENT) != 0 && (bits & PAGE_EXCLUSIVE) != 0 &&
                 !page_set_has(&written, page);
    }
    CHECK(stray == 0, "%zu pages were written on which nothing died (%zu have)", stray,
          written.count);
    CHECK(dirtied() > 20, "only %zu pages were written", dirtied());
    CHECK_RUNTIME();
    page_set_clear(&written);
    return NULL;
}

static const char *destroy(void *arg)
{
    (void)arg;
    BEGIN();
    neve_runtime_destroy(w.runtime);
    return NULL;
}

/* The child goes on to use a heap whose parent was in the middle of a cycle. */
static const char *after_half_a_cycle(void *arg)
{
    const size_t *rings = arg;
    neve_collection done;
    neve_collector_stats stats;
    neve_collector *collector = neve_runtime_collector(w.runtime);
    BEGIN();
    neve_collector_get_stats(collector, &stats);
    CHECK(!stats.cycle.is_running, "the parent's cycle goes on");
    CHECK(dirtied() == 0, "abandoning the cycle wrote to %zu pages", dirtied());
    size_t before = (size_t)stats.cycle.collected, collected = 0;
    for (int i = 0; i < 100000 && neve_step(collector, 500, &done); i++)
        collected += done.collected;
    collected += done.collected;
    CHECK(before + collected <= *rings, "collected %zu of %zu", before + collected, *rings);
    CHECK(neve_collect(collector, 2, &done) == NEVE_OK, "the collection failed");
    collected += done.collected;
    CHECK(before + collected == *rings, "collected %zu and %zu of %zu", before, collected, *rings);
    CHECK_RUNTIME();
    return NULL;
}

/* ---- the tests ---- */

static bool pages_are_told(void)
{
    int file = page_map_open();
    if (file < 0 || is_emulated())
        return false;
    volatile char here = 1;
    (void)here;
    uint64_t bits = page_bits(file, (uintptr_t)&here / page_bytes());
    close(file);
    return (bits & PAGE_PRESENT) != 0 && (bits & PAGE_EXCLUSIVE) != 0;
}

#define NEEDS_PAGE_MAP()                                                                           \
    do {                                                                                           \
        if (!pages_are_told())                                                                     \
            SKIP_BECAUSE("this kernel does not tell which pages are shared");                      \
    } while (0)

static void test_collecting_and_allocating(void **unused)
{
    (void)unused;
    NEEDS_PAGE_MAP();
    make_world(NEVE_MODE_GENERATIONAL, false, 0);
    assert_child(collect_and_allocate, NULL);
    end_world();
    make_world(NEVE_MODE_INCREMENTAL, false, 0);
    assert_child(collect_and_allocate, NULL);
    end_world();
}

static void test_using(void **unused)
{
    (void)unused;
    NEEDS_PAGE_MAP();
    for (int i = 0; i < 2; i++) {
        bool is_immortal = i == 1;
        make_world(NEVE_MODE_GENERATIONAL, is_immortal, 0);
        assert_child(use, &is_immortal);
        if (is_immortal)
            assert_child(collect_and_allocate, NULL);
        end_world();
    }
}

static void test_freeing(void **unused)
{
    (void)unused;
    NEEDS_PAGE_MAP();
    make_world(NEVE_MODE_GENERATIONAL, false, 0);
    assert_child(free_some, NULL);
    assert_child(destroy, NULL);
    end_world();
}

static void test_in_the_middle_of_a_cycle(void **unused)
{
    (void)unused;
    NEEDS_PAGE_MAP();
    size_t rings = 300, children = 0;
    make_world(NEVE_MODE_INCREMENTAL, false, rings);
    neve_collector *collector = neve_runtime_collector(w.runtime);
    neve_collection done;
    size_t collected = 0;
    for (int i = 0; i < 100000 && neve_step(collector, 50, &done); i++) {
        collected += done.collected;
        if (i % 16 == 0 && children < 12) {
            children++;
            if (i % 32 == 0)
                neve_runtime_before_fork(w.runtime);
            assert_child(after_half_a_cycle, &rings);
        }
    }
    collected += done.collected;
    assert_true(children > 2);
    /* The parent's own cycle came to its end. */
    assert_ok(neve_collect(collector, 2, &done));
    assert_int_equal(collected + done.collected, rings);
    end_world();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_collecting_and_allocating),
        cmocka_unit_test(test_using),
        cmocka_unit_test(test_freeing),
        cmocka_unit_test(test_in_the_middle_of_a_cycle),
    };
    return cmocka_run_group_tests_name("pages of objects after fork", tests, NULL, NULL);
}
