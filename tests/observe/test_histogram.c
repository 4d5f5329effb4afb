/* SPDX-License-Identifier: MIT */
/*
 * The histogram of pauses: its error bound over the whole range of values,
 * quantiles, and as a listener; the other listeners.
 */
#include "object/support.h"

static neve_histogram h;

static void test_empty(void **unused)
{
    (void)unused;
    memset(&h, 0xff, sizeof h);
    neve_histogram_reset(&h);
    assert_int_equal(h.count, 0);
    assert_int_equal(neve_histogram_quantile(&h, 0.0), 0);
    assert_int_equal(neve_histogram_quantile(&h, 0.5), 0);
    assert_int_equal(neve_histogram_quantile(&h, 1.0), 0);
}

/* One value: a quantile of it is at least the value, and right to 12.5%. The
 * maximum is a second, larger value, so that it does not hide the bucket. */
static void check_value(uint64_t value)
{
    neve_histogram_reset(&h);
    neve_histogram_add(&h, value);
    neve_histogram_add(&h, UINT64_MAX);
    uint64_t bound = neve_histogram_quantile(&h, 0.5);
    assert_true(bound >= value);
    assert_true(bound - value <= value / 8);
    neve_histogram_reset(&h);
    neve_histogram_add(&h, value);
    assert_true(neve_histogram_quantile(&h, 0.5) == value);
}

static void test_error_bound(void **unused)
{
    (void)unused;
    for (uint64_t value = 0; value < 5000; value++)
        check_value(value);
    for (unsigned shift = 3; shift < 64; shift++) {
        uint64_t power = UINT64_C(1) << shift;
        check_value(power - 1);
        check_value(power);
        check_value(power + 1);
        check_value(power + power / 8 - 1);
        check_value(power + power / 8);
        check_value(power + power / 3);
    }
    check_value(UINT64_MAX);
    check_value(UINT64_MAX - 1);
}

/* Buckets are in the order of the values, without gaps or overlaps. */
static void test_monotonic(void **unused)
{
    (void)unused;
    uint64_t last = 0;
    for (uint64_t value = 1; value < UINT64_MAX / 9; value += 1 + value / 50) {
        neve_histogram_reset(&h);
        neve_histogram_add(&h, value);
        neve_histogram_add(&h, UINT64_MAX);
        uint64_t bound = neve_histogram_quantile(&h, 0.5);
        assert_true(bound >= last);
        last = bound;
        /* The bound itself is in the same bucket. */
        neve_histogram_add(&h, bound);
        assert_true(neve_histogram_quantile(&h, 0.6) == bound);
    }
}

static void test_quantiles(void **unused)
{
    (void)unused;
    neve_histogram_reset(&h);
    uint64_t sum = 0;
    for (uint64_t i = 1; i <= 1000; i++) {
        neve_histogram_add(&h, i * 1000);
        sum += i * 1000;
    }
    assert_int_equal(h.count, 1000);
    assert_int_equal(h.sum_ns, sum);
    assert_int_equal(h.max_ns, 1000000);
    static const double quantiles[] = {0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999};
    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        double exact = quantiles[i] * 1000000;
        double got = (double)neve_histogram_quantile(&h, quantiles[i]);
        assert_true(got >= exact && got <= exact * 1.126);
    }
    assert_int_equal(neve_histogram_quantile(&h, 1.0), 1000000);
    assert_int_equal(neve_histogram_quantile(&h, 2.0), 1000000);
    assert_true(neve_histogram_quantile(&h, 0.0) <= 1125);
    assert_true(neve_histogram_quantile(&h, -1.0) <= 1125);
}

static void test_as_listener(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_listener listener = neve_histogram_listener(&h);
    neve_histogram_reset(&h);
    neve_collector_set_listener(neve_runtime_collector(runtime), &listener);
    uint64_t sum = 0, longest = 0;
    for (int i = 0; i < 20; i++) {
        make_garbage_ring(runtime, &pair_type, '\0', '\0');
        neve_collection result = collect(runtime, i % 3);
        sum += result.duration_ns;
        if (longest < result.duration_ns)
            longest = result.duration_ns;
    }
    assert_int_equal(h.count, 20);
    assert_int_equal(h.sum_ns, sum);
    assert_int_equal(h.max_ns, longest);
    assert_int_equal(neve_histogram_quantile(&h, 1.0), longest);
    neve_runtime_destroy(runtime);
}

/* ---- the chain ---- */

static char heard[64];

static void hear(void *ctx, char what)
{
    size_t length = strlen(heard);
    assert_true(length + 3 < sizeof heard);
    heard[length] = *(const char *)ctx;
    heard[length + 1] = what;
    heard[length + 2] = '\0';
}

static void hear_begin(void *ctx, const neve_collection *collection)
{
    assert_non_null(collection);
    hear(ctx, 'b');
}

static void hear_end(void *ctx, const neve_collection *collection)
{
    assert_non_null(collection);
    hear(ctx, 'e');
}

static void hear_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    assert_non_null(collection);
    assert_int_equal(status, NEVE_ENOMEM);
    hear(ctx, 'f');
}

static void test_chain(void **unused)
{
    (void)unused;
    static char first = '1', second = '2', third = '3';
    /* A chain in a chain, and listeners that lack some callbacks. */
    neve_listener_chain inner = {
        .first = {.begin = hear_begin, .failed = hear_failed, .ctx = &second},
        .second = {.end = hear_end, .ctx = &third},
    };
    neve_listener_chain outer = {
        .first = {.begin = hear_begin, .end = hear_end, .failed = hear_failed, .ctx = &first},
        .second = neve_listener_chain_listener(&inner),
    };
    neve_listener listener = neve_listener_chain_listener(&outer);
    neve_runtime *runtime = new_runtime(NULL);
    neve_collector_set_listener(neve_runtime_collector(runtime), &listener);
    heard[0] = '\0';
    collect(runtime, 0);
    assert_string_equal(heard, "1b2b1e3e");
    heard[0] = '\0';
    neve_collection collection = {.generation = 1};
    listener.failed(listener.ctx, &collection, NEVE_ENOMEM);
    assert_string_equal(heard, "1f2f");
    neve_runtime_destroy(runtime);
}

static void test_statistics(void **unused)
{
    (void)unused;
    neve_statistics sum;
    memset(&sum, 0xff, sizeof sum);
    neve_statistics_reset(&sum);
    neve_listener_chain chain = {.first = neve_null_listener(),
                                 .second = neve_statistics_listener(&sum)};
    neve_listener listener = neve_listener_chain_listener(&chain);
    neve_runtime *runtime = new_runtime(NULL);
    neve_collector_set_listener(neve_runtime_collector(runtime), &listener);
    neve_collection one[3];
    for (int i = 0; i < 3; i++) {
        make_garbage_ring(runtime, &pair_type, 'a', 'b');
        one[i] = collect(runtime, i == 0 ? 0 : 2);
    }
    assert_int_equal(sum.collections[0], 1);
    assert_int_equal(sum.collections[1], 0);
    assert_int_equal(sum.collections[2], 2);
    assert_int_equal(sum.explicit_collections, 3);
    assert_int_equal(sum.collected, 6);
    assert_int_equal(sum.candidates, one[0].candidates + one[1].candidates + one[2].candidates);
    uint64_t whole = 0, longest = 0;
    for (int i = 0; i < 3; i++) {
        whole += one[i].duration_ns;
        longest = one[i].duration_ns > longest ? one[i].duration_ns : longest;
    }
    assert_int_equal(sum.duration_ns, whole);
    assert_int_equal(sum.longest.duration_ns, longest);
    assert_true(sum.nominate_ns + sum.verify_ns <= whole);
    assert_int_equal(sum.failed, 0);
    listener.failed(listener.ctx, &one[0], NEVE_ENOMEM);
    assert_int_equal(sum.failed, 1);
    assert_int_equal(sum.collected, 6);
    neve_statistics_reset(&sum);
    assert_int_equal(sum.longest.duration_ns, 0);

    neve_listener nobody = neve_null_listener();
    neve_collector_set_listener(neve_runtime_collector(runtime), &nobody);
    collect(runtime, 2);
    assert_int_equal(sum.collections[2], 0);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),       cmocka_unit_test(test_error_bound),
        cmocka_unit_test(test_monotonic),   cmocka_unit_test(test_quantiles),
        cmocka_unit_test(test_as_listener), cmocka_unit_test(test_chain),
        cmocka_unit_test(test_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
