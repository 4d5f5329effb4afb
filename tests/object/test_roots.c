/* SPDX-License-Identifier: MIT */
/*
 * Roots: what they reach is marked, not verified, and nothing else about a
 * program's objects changes by them. The list of the uncollectable.
 */
#include "object/support.h"

static neve_object *make_list(neve_runtime *runtime, int length)
{
    neve_object *head = NULL;
    for (int i = 0; i < length; i++) {
        pair *p = new_pair(runtime, &pair_type, '\0');
        p->a = head;
        head = &p->base;
    }
    return head;
}

static void test_marked_from_roots(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    neve_object *known = make_list(runtime, 1000), *unknown = make_list(runtime, 100);
    assert_int_equal(neve_root_add(runtime, &known), NEVE_OK);
    make_garbage_ring(runtime, &pair_type, 'a', 'b');
    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.marked, 1000);
    assert_int_equal(result.candidates, 102);
    assert_int_equal(result.collected, 2);
    /* Once more, now that all are old. */
    result = collect(runtime, 2);
    assert_int_equal(result.marked, 1000);
    assert_int_equal(result.candidates, 100);
    neve_root_remove(runtime, &known);
    result = collect(runtime, 2);
    assert_int_equal(result.marked, 0);
    assert_int_equal(result.candidates, 1100);
    assert_int_equal(result.collected, 0);
    neve_release(runtime, known);
    neve_release(runtime, unknown);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_slots_may_change(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    enum { COUNT = 100 };
    neve_object *slots[COUNT] = {NULL};
    for (int i = 0; i < COUNT; i++)
        assert_int_equal(neve_root_add(runtime, &slots[i]), NEVE_OK);
    collect(runtime, 2); /* empty slots */
    leaf *l = new_leaf(runtime, 'l');
    slots[3] = &l->base;                          /* a leaf in a root */
    slots[4] = slots[5] = make_list(runtime, 10); /* one object in two roots, one reference */
    slots[6] = make_list(runtime, 1);
    neve_make_immortal(slots[6]);
    assert_int_equal(collect(runtime, 2).collected, 0);
    slots[5] = NULL;
    neve_clear_slot(runtime, &slots[4]);
    neve_clear_slot(runtime, &slots[3]);
    assert_int_equal(live_objects(runtime), 1);
    /* Removed in whatever order. */
    for (int i = 0; i < COUNT; i++)
        neve_root_remove(runtime, &slots[i * 37 % COUNT]);
    slots[0] = (neve_object *)(uintptr_t)16; /* nobody reads it any more */
    assert_int_equal(collect(runtime, 2).collected, 0);
    neve_runtime_destroy(runtime);
}

static void test_uncollectable(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    assert_int_equal(neve_uncollectable_count(runtime), 0);
    neve_uncollectable_clear(runtime);
    pair *a = new_pair(runtime, &unclearable_pair_type, 'a');
    pair *b = new_pair(runtime, &unclearable_pair_type, 'b');
    a->a = &b->base;
    b->a = &a->base;
    /* Garbage that only leads there goes. */
    make_garbage_ring(runtime, &finalized_pair_type, 'x', 'y');
    pair *z = new_pair(runtime, &pair_type, 'z');
    z->a = &z->base;
    z->b = neve_retain(&a->base);
    neve_object *weakref = neve_weakref_new(runtime, &a->base, NULL, NULL);

    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.collected, 3);
    assert_int_equal(result.uncollectable, 2);
    assert_int_equal(j.freed, 3);
    assert_int_equal(neve_uncollectable_count(runtime), 2);
    for (size_t i = 0; i < 2; i++) {
        neve_object *listed = neve_uncollectable_get(runtime, i);
        assert_true(listed == &a->base || listed == &b->base);
        assert_int_equal(neve_count(listed), 2);
    }
    assert_null(neve_weakref_get(runtime, weakref)); /* they were taken for dead */
    /* Listed, they are held: not reported again. */
    result = collect(runtime, 2);
    assert_int_equal(result.uncollectable, 0);
    assert_int_equal(neve_uncollectable_count(runtime), 2);
    check_runtime(runtime);
    /* Forgotten without being broken, they are found again. */
    neve_uncollectable_clear(runtime);
    assert_int_equal(neve_uncollectable_count(runtime), 0);
    assert_int_equal(collect(runtime, 1).uncollectable, 0); /* old */
    assert_int_equal(collect(runtime, 2).uncollectable, 2);
    /* The program breaks the cycle. */
    neve_clear_slot(runtime, &a->a);
    neve_uncollectable_clear(runtime);
    assert_int_equal(j.freed, 5);
    neve_release(runtime, weakref);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* A cycle that one clearable object is part of breaks there. */
static void test_mixed_cycle_is_collectable(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    enum { COUNT = 200 };
    pair *first = NULL, *last = NULL;
    for (int i = 0; i < COUNT; i++) {
        pair *p = new_pair(runtime, i == COUNT / 2 ? &pair_type : &unclearable_pair_type, '\0');
        if (last == NULL)
            first = p;
        else
            last->a = &p->base;
        last = p;
    }
    last->a = &first->base;
    neve_collection result = collect(runtime, 0);
    assert_int_equal(result.collected, COUNT);
    assert_int_equal(result.uncollectable, 0);
    assert_int_equal(j.freed, COUNT);
    neve_runtime_destroy(runtime);
}

/* What the uncollectable refer to may have been cleared, but is alive. */
static void test_behind_the_uncollectable(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *a = new_pair(runtime, &unclearable_pair_type, 'a');
    pair *b = new_pair(runtime, &finalized_pair_type, 'b');
    a->a = &a->base;
    a->b = &b->base;
    b->a = &new_leaf(runtime, 'l')->base;
    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.uncollectable, 2);
    assert_int_equal(result.collected, 0);
    assert_int_equal(j.finalized, 1);
    assert_ptr_equal(a->b, &b->base);
    assert_int_equal(neve_uncollectable_count(runtime), 2);
    check_runtime(runtime);
    neve_clear_slot(runtime, &a->a);
    neve_uncollectable_clear(runtime);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_marked_from_roots),
        cmocka_unit_test(test_slots_may_change),
        cmocka_unit_test(test_uncollectable),
        cmocka_unit_test(test_mixed_cycle_is_collectable),
        cmocka_unit_test(test_behind_the_uncollectable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
