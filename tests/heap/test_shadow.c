/* SPDX-License-Identifier: MIT */
/*
 * Random operations against the shadow model: after each phase all contents
 * are intact, the heap's own checker passes and the statistics add up.
 *
 * NEVE_TEST_SEED=n in the environment runs seed n alone; NEVE_TEST_STEPS=n
 * sets the number of operations.
 */
#include "heap_support.h"

static size_t number_from(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL || *text == '\0' ? otherwise : (size_t)strtoull(text, NULL, 10);
}

/* Operations of which neve_heap_check, whose cost grows with the heap, is but one in many. */
static void run_seed(uint64_t seed, size_t slots, const neve_heap_options *options)
{
    neve_heap *heap = NULL;
    shadow s;
    assert_ok(neve_heap_create(options, &heap));
    assert_true(shadow_create(&s, heap, slots, seed));
    size_t steps = number_from("NEVE_TEST_STEPS", affordable(40000));
    for (size_t step = 1; step <= steps; step++) {
        if (!shadow_step(&s))
            fail_msg("seed %llu, step %zu: %s", (unsigned long long)seed, step, s.error);
        if (step % (steps / 8) != 0)
            continue;
        if (!shadow_verify(&s) || !shadow_check_heap(&s) || !shadow_check_stats(&s))
            fail_msg("seed %llu after step %zu: %s", (unsigned long long)seed, step, s.error);
        if (step % (steps / 4) == 0) {
            neve_heap_trim(heap);
            if (!shadow_verify(&s) || !shadow_check_heap(&s) || !shadow_check_stats(&s))
                fail_msg("seed %llu, trimmed after step %zu: %s", (unsigned long long)seed, step,
                         s.error);
        }
    }
    assert_shadow(&s, shadow_free_all(&s));
    assert_shadow(&s, shadow_check_heap(&s));
    assert_shadow(&s, shadow_check_stats(&s));
    assert_int_equal(heap_stats(heap).pools_used, 0);
    shadow_destroy(&s);
    neve_heap_destroy(heap);
}

static void run_seeds(size_t slots, const neve_heap_options *options)
{
    size_t one = number_from("NEVE_TEST_SEED", 0);
    if (one != 0) {
        run_seed(one, slots, options);
        return;
    }
    for (uint64_t seed = 1; seed <= 1 + affordable(4); seed++)
        run_seed(seed, slots, options);
}

static void a_few_blocks(void **state)
{
    (void)state;
    run_seeds(8, NULL);
}

static void hundreds_of_blocks(void **state)
{
    (void)state;
    run_seeds(300, NULL);
}

static void thousands_of_blocks(void **state)
{
    (void)state;
    run_seeds(8000, NULL);
}

static void objects_that_begin_inside_their_block(void **state)
{
    (void)state;
    neve_heap_options options = {.struct_size = sizeof options};
    options.object_starts = 1u << 1 | 1u << 2; /* as CPython's */
    run_seeds(1000, &options);
}

static void nothing_retained(void **state)
{
    (void)state;
    neve_heap_options options = {.struct_size = sizeof options};
    options.retain_bytes = 1; /* all empty pools go back at once */
    run_seeds(1000, &options);
}

static void everything_retained(void **state)
{
    (void)state;
    neve_heap_options options = {.struct_size = sizeof options};
    options.retain_bytes = SIZE_MAX;
    run_seeds(1000, &options);
}

static void many_heaps_at_once(void **state)
{
    (void)state;
    enum { HEAPS = 7 };
    neve_heap *heaps[HEAPS];
    shadow s[HEAPS];
    for (size_t i = 0; i < HEAPS; i++) {
        heaps[i] = heap_create_default();
        assert_true(shadow_create(&s[i], heaps[i], 200, 1000 + i));
    }
    for (size_t step = 0; step < affordable(20000); step++) {
        for (size_t i = 0; i < HEAPS; i++)
            assert_shadow(&s[i], shadow_step(&s[i]));
    }
    for (size_t i = 0; i < HEAPS; i++) {
        for (size_t k = 0; k < s[i].slots; k++) { /* no heap takes another's block for its own */
            if (s[i].blocks[k].at != NULL) {
                assert_false(neve_heap_owns(heaps[(i + 1) % HEAPS], s[i].blocks[k].at));
                assert_false(neve_heap_try_free(heaps[(i + 1) % HEAPS], s[i].blocks[k].at));
            }
        }
        assert_shadow(&s[i], shadow_verify(&s[i]));
        assert_shadow(&s[i], shadow_check_stats(&s[i]));
        assert_shadow(&s[i], shadow_check_heap(&s[i]));
    }
    /* In another order than they were made; every second one with its blocks. */
    for (size_t i = 0; i < HEAPS; i++) {
        size_t k = (i * 3) % HEAPS;
        if (k % 2 == 0)
            assert_shadow(&s[k], shadow_free_all(&s[k]));
        shadow_destroy(&s[k]);
        neve_heap_destroy(heaps[k]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_few_blocks),
        cmocka_unit_test(hundreds_of_blocks),
        cmocka_unit_test(thousands_of_blocks),
        cmocka_unit_test(objects_that_begin_inside_their_block),
        cmocka_unit_test(nothing_retained),
        cmocka_unit_test(everything_retained),
        cmocka_unit_test(many_heaps_at_once),
    };
    return cmocka_run_group_tests_name("heap against a shadow", tests, NULL, NULL);
}
