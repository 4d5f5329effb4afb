/* SPDX-License-Identifier: MIT */
/*
 * Object models that lie. A traverse that leaves a reference out costs memory
 * at most; one that reports too much, or a count that is too low, is found by
 * neve_collector_check, which names the types.
 */
#include "object/support.h"

static neve_status check(neve_runtime *runtime, char *message, size_t size)
{
    return neve_collector_check(neve_runtime_collector(runtime), message, size);
}

static void forgetful_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    if (((pair *)object)->b != NULL)
        (void)visit(((pair *)object)->b, arg);
}

static const neve_type forgetful_type = {
    .name = "forgetful",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = forgetful_traverse,
    .clear = pair_clear,
    .finalize = pair_finalize,
    .dealloc = pair_dealloc,
};

/* Whatever is behind the missed reference merely survives, and all it reaches. */
static void test_missed_reference(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &forgetful_type, 'p');
    pair *q = new_pair(runtime, &finalized_pair_type, 'q');
    p->a = &q->base; /* missed */
    q->a = &p->base;
    q->b = &new_leaf(runtime, 'l')->base;
    for (int round = 0; round < 3; round++)
        for (int generation = 0; generation < 3; generation++)
            assert_int_equal(collect(runtime, generation).collected, 0);
    assert_string_equal(j.text, "");
    char message[256];
    assert_int_equal(check(runtime, message, sizeof message), NEVE_OK);
    assert_string_equal(message, "");
    /* With a cycle through what it does report, it can be collected. */
    p->b = p->a;
    p->a = NULL;
    assert_int_equal(collect(runtime, 2).collected, 2);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static bool lies;

static void boastful_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    pair *p = (pair *)object;
    (void)cursor;
    if (p->a == NULL || visit(p->a, arg) != 0)
        return;
    if (lies) /* the same reference twice */
        (void)visit(p->a, arg);
}

static const neve_type boastful_type = {
    .name = "boastful",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = boastful_traverse,
    .clear = pair_clear,
    .dealloc = pair_dealloc,
};

static void test_reported_twice(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    pair *p = new_pair(runtime, &boastful_type, 'p');
    pair *q = new_pair(runtime, &pair_type, 'q');
    p->a = &q->base;
    char message[256];
    for (int generation = 0; generation < 3; generation++) { /* young, middle, old */
        lies = true;
        assert_int_equal(check(runtime, message, sizeof message), NEVE_ECORRUPT);
        assert_non_null(strstr(message, "'pair'"));
        assert_non_null(strstr(message, "'boastful'"));
        assert_int_equal(check(runtime, NULL, 0), NEVE_ECORRUPT);
        char small[16];
        memset(small, 'x', sizeof small);
        assert_int_equal(check(runtime, small, 10), NEVE_ECORRUPT);
        assert_int_equal(strlen(small), 9);
        assert_int_equal(small[10], 'x');
        lies = false;
        assert_int_equal(check(runtime, message, sizeof message), NEVE_OK);
        collect(runtime, generation == 0 ? 0 : 2);
    }
    neve_release(runtime, &p->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* A count that somebody lost: the next collection would take a live object for
 * dead. The checker sees more references than the count has. */
static void test_count_too_low(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    pair *p = new_pair(runtime, &pair_type, 'p');
    pair *q = new_pair(runtime, &finalized_pair_type, 'q');
    p->a = &q->base;
    p->b = neve_retain(&q->base);
    char message[256];
    assert_int_equal(check(runtime, message, sizeof message), NEVE_OK);
    q->base.count = 1;
    assert_int_equal(check(runtime, message, sizeof message), NEVE_ECORRUPT);
    assert_non_null(strstr(message, "'finalized pair'"));
    assert_non_null(strstr(message, "'pair'"));
    q->base.count = 2;
    assert_int_equal(check(runtime, message, sizeof message), NEVE_OK);
    neve_release(runtime, &p->base);
    neve_runtime_destroy(runtime);
}

/* Debug builds stop a collection there and name the type; release builds take
 * the object as held from outside and go on. */
static jmp_buf corruption_found;
static char corruption_message[512];

static void on_corruption(void *ctx, const char *message)
{
    (void)ctx;
    snprintf(corruption_message, sizeof corruption_message, "%s", message);
    longjmp(corruption_found, 1);
}

static void test_collection_of_liars(void **unused)
{
    (void)unused;
    neve_heap_options heap_options = {.struct_size = sizeof heap_options,
                                      .on_corruption = on_corruption};
    neve_runtime_options options = {.struct_size = sizeof options, .heap = &heap_options};
    neve_runtime *runtime;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    pair *p = new_pair(runtime, &boastful_type, 'p');
    pair *q = new_pair(runtime, &pair_type, 'q');
    p->a = &q->base;
    lies = true;
    neve_heap *heap = neve_runtime_heap(runtime);
    if (setjmp(corruption_found) == 0) {
        neve_collection result = collect(runtime, 2);
        assert_true(NEVE_DEBUG == 0);
        assert_int_equal(result.collected, 0);
        assert_int_equal(neve_count(&q->base), 1);
        lies = false;
        neve_release(runtime, &p->base);
        assert_int_equal(live_objects(runtime), 0);
        neve_runtime_destroy(runtime);
        return;
    }
    lies = false;
    assert_true(NEVE_DEBUG > 0);
    assert_non_null(strstr(corruption_message, "'pair'"));
    /* The collection was left in its midst: only the heap can be given back. */
    neve_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_missed_reference),
        cmocka_unit_test(test_reported_twice),
        cmocka_unit_test(test_count_too_low),
        cmocka_unit_test(test_collection_of_liars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
