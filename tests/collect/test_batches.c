/* SPDX-License-Identifier: MIT */
/*
 * Quanta of a cycle over garbage that is few objects with many references each: what is
 * done in one go is limited by the references, too. Nothing is timed: the batches
 * are looked at.
 */
#include "cycle_steps.h"

/* Each bag is a group of its own: it holds itself, and one object that lives. */
enum { BAGS = 40 };

typedef struct world {
    neve_runtime *runtime;
    neve_object *live;       /* a root: no suspect, which would join all bags to one group */
    neve_object *refs[BAGS]; /* weak, without callbacks */
} world;

static void make_garbage(world *w, size_t references)
{
    neve_object *bags[BAGS];
    w->runtime = new_incremental(NULL);
    w->live = &new_pair(w->runtime, &pair_type, '\0')->base;
    assert_int_equal(neve_root_add(w->runtime, &w->live), NEVE_OK);
    for (int i = 0; i < BAGS; i++) {
        bag *b = new_bag(w->runtime, references);
        bag_put(b, neve_retain(&b->var.base));
        for (size_t k = 1; k < references; k++)
            bag_put(b, neve_retain(w->live));
        bags[i] = &b->var.base;
        w->refs[i] = neve_weakref_new(w->runtime, bags[i], NULL, NULL);
        assert_non_null(w->refs[i]);
    }
    /* Only a cycle finds what dies old. */
    make_old(w->runtime);
    for (int i = 0; i < BAGS; i++)
        neve_release(w->runtime, bags[i]);
}

static size_t count_alive(const world *w)
{
    size_t n = 0;
    for (int i = 0; i < BAGS; i++) {
        neve_object *object = neve_weakref_get(w->runtime, w->refs[i]);
        n += object != NULL;
        neve_release(w->runtime, object);
    }
    return n;
}

static void destroy(world *w)
{
    for (int i = 0; i < BAGS; i++)
        neve_release(w->runtime, w->refs[i]);
    neve_root_remove(w->runtime, &w->live);
    neve_release(w->runtime, w->live);
    neve_runtime_destroy(w->runtime);
}

static void test_few_with_many_references(void **unused)
{
    (void)unused;
    /* What src/collect allows, 16,384 and 4,096 references, and one bag more. */
    enum { REFERENCES = 3000 };
    enum { VERIFIED_MOST = 16384 / REFERENCES + 1, CLEARED_MOST = 4096 / REFERENCES + 1 };
    world w;
    make_garbage(&w, REFERENCES);
    const neve_collector *c = neve_runtime_collector(w.runtime);
    go_to(w.runtime, NV_CYCLE_VERIFY);
    assert_int_equal(c->cycle.suspects.count, 2 * BAGS); /* and the weak references */
    for (size_t i = 0; i < c->cycle.suspects.count; i++)
        assert_int_equal(c->cycle.links[i].parent, 0); /* each is a group of its own */
    assert_int_equal(count_alive(&w), BAGS);

    size_t batches = 0, condemned = 0, cleared = 0, most_condemned = 0, most_cleared = 0;
    while (quantum(w.runtime)) {
        size_t now = BAGS - count_alive(&w) - condemned;
        if (now > 0) {
            batches++;
            condemned += now;
            most_condemned = now > most_condemned ? now : most_condemned;
            assert_int_equal(c->later.items.count, now);
            cleared = 0;
        } else if (c->later.items.count > 0) {
            now = c->later.at - cleared;
            cleared += now;
            most_cleared = now > most_cleared ? now : most_cleared;
        }
    }
    assert_int_equal(condemned, BAGS);
    /* Limited, but not one by one either. */
    assert_in_range(most_condemned, 2, VERIFIED_MOST);
    assert_true(batches >= BAGS / VERIFIED_MOST);
    assert_in_range(most_cleared, 2, CLEARED_MOST);
    assert_int_equal(cycle_stats(w.runtime).collected, BAGS);
    destroy(&w);
}

/* The filter's own quanta end after so many references, not only after so many objects. */
static void test_quanta_of_the_filter(void **unused)
{
    (void)unused;
    /* Each is traversed in one piece; 1,024 references are allowed, and one bag more. */
    enum { REFERENCES = PIECE - 6, MOST = 1024 / REFERENCES + 1 };
    world w;
    make_garbage(&w, REFERENCES);
    const neve_collector *c = neve_runtime_collector(w.runtime);
    go_to(w.runtime, NV_CYCLE_GROUP);
    size_t quanta = 0;
    while (c->cycle.phase == NV_CYCLE_GROUP) {
        assert_true(quantum(w.runtime));
        quanta++;
    }
    assert_true(quanta >= BAGS / MOST);
    end_cycle(w.runtime);
    assert_int_equal(count_alive(&w), 0);
    destroy(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_few_with_many_references),
        cmocka_unit_test(test_quanta_of_the_filter),
    };
    setenv("NEVE_GC_STRESS", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
