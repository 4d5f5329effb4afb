/* SPDX-License-Identifier: MIT */
/*
 * Handles and scopes: what they hold and let go of, in which order, what is listed,
 * and that nothing is lost without memory.
 */
#include "object/support.h"

static void test_strong_handle_holds(void **state)
{
    (void)state;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *a = new_pair(runtime, &pair_type, 'a');
    pair *b = new_pair(runtime, &pair_type, 'b');
    neve_handle *handle = neve_handle_new(runtime, &a->base, NEVE_HERE);
    assert_non_null(handle);
    assert_int_equal(neve_count(&a->base), 2);
    neve_release(runtime, &a->base);
    assert_int_equal(collect(runtime, 2).collected, 0);

    neve_object *got = neve_handle_get(runtime, handle);
    assert_ptr_equal(got, a);
    assert_int_equal(neve_count(got), 2);
    neve_release(runtime, got);

    assert_int_equal(neve_handle_set(runtime, handle, &b->base), NEVE_OK);
    assert_string_equal(j.text, "da ");
    assert_int_equal(neve_count(&b->base), 2);
    /* To itself: the new reference comes before the old one goes. */
    neve_release(runtime, &b->base);
    assert_int_equal(neve_handle_set(runtime, handle, &b->base), NEVE_OK);
    assert_int_equal(neve_count(&b->base), 1);
    assert_int_equal(neve_handle_set(runtime, handle, NULL), NEVE_OK);
    assert_string_equal(j.text, "da db ");
    assert_null(neve_handle_get(runtime, handle));
    neve_handle_close(runtime, handle);
    neve_handle_close(runtime, NULL);
    assert_int_equal(neve_handle_count(runtime), 0);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* What strong handles and scopes hold is reached by the marking: no candidate. */
static void test_handles_are_roots(void **state)
{
    (void)state;
    neve_runtime *runtime = new_runtime(NULL);
    pair *held = new_pair(runtime, &pair_type, 'a');
    pair *kept = new_pair(runtime, &pair_type, 'b');
    for (int i = 0; i < 3; i++) {
        neve_object *next = neve_retain(&held->base);
        held = new_pair(runtime, &pair_type, 'c');
        held->a = next;
        neve_release(runtime, next);
    }
    neve_collection before = collect(runtime, 2);
    assert_int_equal(before.candidates, 5);
    neve_scope scope;
    neve_scope_open(runtime, &scope);
    neve_handle *handle = neve_handle_new(runtime, &held->base, NULL);
    assert_ptr_equal(neve_scope_keep(runtime, &kept->base), kept);
    neve_collection after = collect(runtime, 2);
    assert_int_equal(after.marked, 5);
    assert_int_equal(after.candidates, 0);
    neve_scope_close(runtime, &scope);
    neve_handle_close(runtime, handle);
    neve_release(runtime, &held->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_weak_handle_reads_null_after_death(void **state)
{
    (void)state;
    neve_runtime *runtime = new_runtime(NULL);
    pair *a = new_pair(runtime, &pair_type, 'a');
    neve_handle *weak = neve_handle_new_weak(runtime, &a->base, NEVE_HERE);
    assert_non_null(weak);
    assert_int_equal(neve_count(&a->base), 1);
    neve_object *got = neve_handle_get(runtime, weak);
    assert_ptr_equal(got, a);
    neve_release(runtime, got);
    neve_release(runtime, &a->base);
    assert_null(neve_handle_get(runtime, weak));

    /* By a collection. */
    pair *b = new_pair(runtime, &pair_type, 'b');
    b->a = neve_retain(&b->base);
    assert_int_equal(neve_handle_set(runtime, weak, &b->base), NEVE_OK);
    neve_release(runtime, &b->base);
    got = neve_handle_get(runtime, weak);
    assert_ptr_equal(got, b);
    neve_release(runtime, got);
    assert_int_equal(collect(runtime, 0).collected, 1);
    assert_null(neve_handle_get(runtime, weak));

    /* Of a leaf, and closed before the object dies. */
    leaf *l = new_leaf(runtime, 'l');
    assert_int_equal(neve_handle_set(runtime, weak, &l->base), NEVE_OK);
    neve_handle_close(runtime, weak);
    neve_release(runtime, &l->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* A freeze makes the weak reference of a weak handle immortal with the rest. */
static void test_weak_handle_after_an_immortal_freeze(void **state)
{
    (void)state;
    neve_runtime *runtime = new_runtime(NULL);
    leaf *l = new_leaf(runtime, 'l');
    neve_handle *weak = neve_handle_new_weak(runtime, &l->base, NEVE_HERE);
    neve_freeze_result frozen;
    assert_int_equal(neve_runtime_freeze(runtime, NEVE_FREEZE_IMMORTAL, &frozen), NEVE_OK);
    assert_int_equal(frozen.immortal, 1);
    neve_handle_close(runtime, weak);
    neve_release(runtime, &l->base); /* nothing that was closed is told of it */
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
}

typedef struct listing {
    char text[256];
    int stop_after;
} listing;

static int list_one(void *ctx, const neve_handle_info *info)
{
    listing *list = ctx;
    size_t length = strlen(list->text);
    snprintf(list->text + length, sizeof list->text - length, "%s%s:%c ",
             info->is_weak ? "weak " : "", info->where == NULL ? "?" : info->where,
             info->object == NULL ? '-' : ((const pair *)info->object)->name);
    return --list->stop_after == 0 ? 7 : 0;
}

static void list_leak(void *ctx, const neve_handle_info *leak)
{
    (void)list_one(ctx, leak);
}

static void test_open_handles_are_listed(void **state)
{
    (void)state;
    listing leaks = {.text = ""};
    neve_runtime_options options = {
        .struct_size = sizeof options, .on_leak = list_leak, .on_leak_ctx = &leaks};
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    pair *a = new_pair(runtime, &pair_type, 'a');
    neve_handle *first = neve_handle_new(runtime, &a->base, "first");
    neve_handle *second = neve_handle_new(runtime, &a->base, "second");
    (void)neve_handle_new_weak(runtime, &a->base, "third");
    (void)neve_handle_new(runtime, NULL, NULL);
    neve_release(runtime, &a->base);

    listing all = {.text = ""};
    assert_int_equal(neve_handle_walk(runtime, list_one, &all), 0);
    assert_string_equal(all.text, "first:a second:a weak third:a ?:- ");
    listing two = {.text = "", .stop_after = 2};
    assert_int_equal(neve_handle_walk(runtime, list_one, &two), 7);
    assert_string_equal(two.text, "first:a second:a ");

    neve_handle_close(runtime, second); /* out of the middle, then the last reference */
    neve_handle_close(runtime, first);
    assert_int_equal(neve_handle_count(runtime), 2);
    assert_string_equal(leaks.text, "");
    neve_runtime_destroy(runtime);
    assert_string_equal(leaks.text, "weak third:- ?:- ");
    char here[256];
    snprintf(here, sizeof here, "%s:%d", __FILE__, __LINE__ + 1);
    assert_string_equal(NEVE_HERE, here);
}

static void test_scope_releases_the_latest_first(void **state)
{
    (void)state;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    neve_scope outer, inner;
    neve_scope_open(runtime, &outer);
    neve_scope_keep(runtime, &new_pair(runtime, &pair_type, 'a')->base);
    neve_scope_keep(runtime, &new_pair(runtime, &pair_type, 'b')->base);
    neve_scope_open(runtime, &inner);
    neve_object *c = neve_scope_keep(runtime, &new_pair(runtime, &pair_type, 'c')->base);
    neve_object *d = neve_scope_keep(runtime, &new_pair(runtime, &pair_type, 'd')->base);
    ((pair *)c)->a = neve_retain(d);
    neve_retain(c); /* escapes */
    assert_null(neve_scope_keep(runtime, NULL));
    neve_scope_close(runtime, &inner);
    assert_string_equal(j.text, "");
    neve_release(runtime, c);
    assert_string_equal(j.text, "dd dc ");
    neve_scope_close(runtime, &outer);
    assert_string_equal(j.text, "dd dc db da ");
    neve_runtime_destroy(runtime);
}

/* A finalizer that opens a scope and leaves an object in the one that is being closed. */
static void keep_another(neve_runtime *runtime, pair *self)
{
    neve_scope scope;
    (void)self;
    neve_scope_open(runtime, &scope);
    neve_scope_keep(runtime, &new_pair(runtime, &pair_type, 'x')->base);
    neve_scope_close(runtime, &scope);
    neve_scope_keep(runtime, &new_pair(runtime, &pair_type, 'y')->base);
}

static void test_scope_is_used_while_it_is_closed(void **state)
{
    (void)state;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    neve_scope scope;
    neve_scope_open(runtime, &scope);
    neve_scope_keep(runtime, &new_pair(runtime, &pair_type, 'a')->base);
    pair *b = new_pair(runtime, &finalized_pair_type, 'b');
    b->on_finalize = keep_another;
    neve_scope_keep(runtime, &b->base);
    neve_scope_close(runtime, &scope);
    assert_string_equal(j.text, "fb dx db dy da ");
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_without_memory_nothing_is_lost(void **state)
{
    (void)state;
    neve_runtime *runtime = new_runtime(NULL);
    neve_heap *heap = neve_runtime_heap(runtime);
    if (neve_heap_fail_alloc_at(heap, 0) != NEVE_OK)
        skip();
    pair *a = new_pair(runtime, &pair_type, 'a');
    pair *b = new_pair(runtime, &pair_type, 'b');
    int failures = 0;
    for (uint64_t n = 1;; n++) {
        neve_heap_fail_alloc_at(heap, n);
        neve_handle *weak = neve_handle_new_weak(runtime, &a->base, NEVE_HERE);
        if (weak != NULL && neve_handle_set(runtime, weak, &b->base) == NEVE_ENOMEM) {
            neve_object *got = neve_handle_get(runtime, weak);
            assert_ptr_equal(got, a);
            neve_release(runtime, got);
            failures++;
        } else if (weak == NULL) {
            assert_int_equal(neve_handle_count(runtime), 0);
            failures++;
        } else {
            neve_heap_fail_alloc_at(heap, 0);
            neve_handle_close(runtime, weak);
            break;
        }
        neve_handle_close(runtime, weak);
    }
    assert_true(failures >= 3);
    neve_scope scope;
    neve_scope_open(runtime, &scope);
    neve_heap_fail_alloc_at(heap, 1);
    assert_null(neve_scope_keep(runtime, &a->base)); /* the reference was released */
    neve_scope_close(runtime, &scope);
    neve_release(runtime, &b->base);
    assert_int_equal(live_objects(runtime), 0);
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strong_handle_holds),
        cmocka_unit_test(test_handles_are_roots),
        cmocka_unit_test(test_weak_handle_reads_null_after_death),
        cmocka_unit_test(test_weak_handle_after_an_immortal_freeze),
        cmocka_unit_test(test_open_handles_are_listed),
        cmocka_unit_test(test_scope_releases_the_latest_first),
        cmocka_unit_test(test_scope_is_used_while_it_is_closed),
        cmocka_unit_test(test_without_memory_nothing_is_lost),
    };
    return cmocka_run_group_tests_name("handles", tests, NULL, NULL);
}
