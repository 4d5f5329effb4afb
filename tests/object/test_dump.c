/* SPDX-License-Identifier: MIT */
/*
 * Walk, census and dump of objects: what is alive is there and nothing else, whatever
 * state the dead are in; output that fails is told. (tests/install/test_dump.py reads
 * a dump.)
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "object/support.h"

typedef struct text {
    char bytes[1 << 16];
    size_t length, limit; /* limit: fail beyond it */
    int calls;
} text;

static bool take_text(void *ctx, const char *piece, size_t length)
{
    text *t = ctx;
    t->calls++;
    if (t->limit != 0 && t->length + length > t->limit)
        return false;
    assert_true(t->length + length < sizeof t->bytes);
    memcpy(t->bytes + t->length, piece, length);
    t->length += length;
    t->bytes[t->length] = '\0';
    return true;
}

static int count_objects(void *object, void *arg)
{
    (void)object;
    ++*(int *)arg;
    return 0;
}

static int walked(neve_runtime *runtime)
{
    int count = 0;
    assert_int_equal(neve_runtime_walk(runtime, count_objects, &count), 0);
    return count;
}

static int stop_at_third(void *object, void *arg)
{
    (void)object;
    return ++*(int *)arg == 3 ? 9 : 0;
}

static void test_walk(void **state)
{
    (void)state;
    neve_runtime *runtime = new_runtime(NULL);
    assert_int_equal(walked(runtime), 0);
    pair *a = new_pair(runtime, &pair_type, 'a');
    a->a = &new_leaf(runtime, 'l')->base;
    a->b = neve_weakref_new(runtime, &a->base, NULL, NULL);
    make_garbage_ring(runtime, &pair_type, 'x', 'y');
    assert_int_equal(walked(runtime), 5);
    int seen = 0;
    assert_int_equal(neve_runtime_walk(runtime, stop_at_third, &seen), 9);
    assert_int_equal(seen, 3);
    collect(runtime, 2);
    assert_int_equal(walked(runtime), 3);
    neve_release(runtime, &a->base);
    assert_int_equal(walked(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* What a finalizer in a collection sees: the dead are hidden, and no dump is made. */
static int seen_by_finalizer;
static neve_status dumped_by_finalizer;

static void look_around(neve_runtime *runtime, pair *self)
{
    static text t;
    (void)self;
    seen_by_finalizer = walked(runtime);
    dumped_by_finalizer = neve_runtime_dump(runtime, take_text, &t);
    assert_int_equal(t.calls, 0);
}

static void count_around(neve_runtime *runtime, pair *self)
{
    (void)self;
    seen_by_finalizer = walked(runtime);
}

static void test_the_dead_are_hidden(void **state)
{
    (void)state;
    neve_runtime *runtime = new_runtime(NULL);
    pair *alive = new_pair(runtime, &pair_type, 'a');
    make_garbage_ring(runtime, &pair_type, 'x', 'y');
    pair *dead = new_pair(runtime, &finalized_pair_type, 'z');
    dead->a = neve_retain(&dead->base);
    dead->on_finalize = look_around;
    neve_release(runtime, &dead->base);
    seen_by_finalizer = -1;
    assert_int_equal(collect(runtime, 2).collected, 3);
    assert_int_equal(seen_by_finalizer, 1);
    assert_int_equal(dumped_by_finalizer, NEVE_EBUSY);

    /* From the `clear` of an object that dies by its count: that one is dead, what it held
     * is not yet. */
    dead = new_pair(runtime, &pair_type, 'z');
    pair *held = new_pair(runtime, &finalized_pair_type, 'h');
    dead->a = &held->base;
    held->on_finalize = count_around;
    neve_release(runtime, &dead->base);
    assert_int_equal(seen_by_finalizer, 2);
    neve_release(runtime, &alive->base);
    neve_runtime_destroy(runtime);
}

static void note_row(void *ctx, const neve_census_row *row)
{
    text *t = ctx;
    t->length += (size_t)snprintf(t->bytes + t->length, sizeof t->bytes - t->length, "%s %zu %zu; ",
                                  row->type->name, row->objects, row->bytes);
}

static void test_census(void **state)
{
    (void)state;
    static text t;
    neve_runtime *runtime = new_runtime(NULL);
    assert_int_equal(neve_runtime_census(runtime, note_row, &t), NEVE_OK);
    assert_int_equal(t.length, 0);
    neve_object *leaves[5], *pairs[2];
    for (int i = 0; i < 5; i++)
        leaves[i] = &new_leaf(runtime, 'l')->base;
    for (int i = 0; i < 2; i++)
        pairs[i] = &new_pair(runtime, &pair_type, 'p')->base;
    /* Many types, so that the table grows. */
    static neve_type types[200];
    static char names[200][8];
    neve_object *many[200];
    for (int i = 0; i < 200; i++) {
        snprintf(names[i], sizeof names[i], "t%03d", i);
        types[i] = (neve_type){.name = names[i], .size = sizeof(neve_object)};
        many[i] = neve_object_new(runtime, &types[i]);
        assert_non_null(many[i]);
    }
    assert_int_equal(neve_runtime_census(runtime, note_row, &t), NEVE_OK);
    char expected[64];
    snprintf(expected, sizeof expected, "leaf 5 %zu; pair 2 %zu; t000 1 16; t001 1 16; ",
             5 * ((sizeof(leaf) + 15) / 16 * 16), 2 * ((sizeof(pair) + 15) / 16 * 16));
    assert_memory_equal(t.bytes, expected, strlen(expected));
    assert_string_equal(t.bytes + t.length - 11, "t199 1 16; ");
    for (int i = 0; i < 200; i++)
        neve_release(runtime, many[i]);
    for (int i = 0; i < 5; i++)
        neve_release(runtime, leaves[i]);
    for (int i = 0; i < 2; i++)
        neve_release(runtime, pairs[i]);
    neve_runtime_destroy(runtime);
}

static void test_dump(void **state)
{
    (void)state;
    static text t;
    neve_runtime *runtime = new_runtime(NULL);
    pair *a = new_pair(runtime, &pair_type, 'a');
    a->a = &new_leaf(runtime, 'l')->base;
    neve_make_immortal(a->a);
    neve_handle *handle = neve_handle_new(runtime, &a->base, "a \"place\"\n");
    assert_int_equal(neve_runtime_dump(runtime, take_text, &t), NEVE_OK);
    char expected[1024];
    size_t pair_bytes = (sizeof(pair) + 15) / 16 * 16, leaf_bytes = (sizeof(leaf) + 15) / 16 * 16;
    snprintf(expected, sizeof expected,
             "{\"kind\": \"heap\", \"format\": 1, \"neve\": \"%s\", \"mode\": \"generational\", "
             "\"objects\": 2, \"bytes\": %zu}\n"
             "{\"kind\": \"type\", \"name\": \"pair\", \"objects\": 1, \"bytes\": %zu}\n"
             "{\"kind\": \"type\", \"name\": \"leaf\", \"objects\": 1, \"bytes\": %zu}\n"
             "{\"kind\": \"root\", \"by\": \"handle\", \"where\": \"a \\\"place\\\"\\u000a\", "
             "\"object\": \"%zx\"}\n",
             NEVE_VERSION, pair_bytes + leaf_bytes, pair_bytes, leaf_bytes, (size_t)(uintptr_t)a);
    assert_memory_equal(t.bytes, expected, strlen(expected));
    snprintf(expected, sizeof expected,
             "{\"kind\": \"object\", \"id\": \"%zx\", \"type\": \"pair\", \"bytes\": %zu, "
             "\"count\": 2, \"generation\": 0, \"references\": [\"%zx\"]}\n",
             (size_t)(uintptr_t)a, pair_bytes, (size_t)(uintptr_t)a->a);
    assert_non_null(strstr(t.bytes, expected));
    snprintf(expected, sizeof expected,
             "{\"kind\": \"object\", \"id\": \"%zx\", \"type\": \"leaf\", \"bytes\": %zu, "
             "\"count\": null}\n",
             (size_t)(uintptr_t)a->a, leaf_bytes);
    assert_non_null(strstr(t.bytes, expected));
    assert_string_equal(t.bytes + t.length - 16, "{\"kind\": \"end\"}\n");
    neve_handle_close(runtime, handle);
    neve_release(runtime, &a->base);
    neve_runtime_destroy(runtime);
}

static void test_output_that_fails(void **state)
{
    (void)state;
    static text t;
    neve_runtime *runtime = new_runtime(NULL);
    neve_object *kept = NULL;
    for (int i = 0; i < 200; i++) {
        pair *p = new_pair(runtime, &pair_type, 'p');
        p->a = kept;
        kept = &p->base;
    }
    t.limit = 10000;
    assert_int_equal(neve_runtime_dump(runtime, take_text, &t), NEVE_EIO);
    assert_in_range(t.length, 5000, 10000);
    assert_int_equal(t.calls, 3); /* two pieces of 4 KiB were taken, the third not, no more came */
    int fd = open("/dev/full", O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(neve_runtime_dump_fd(runtime, fd), NEVE_EIO);
    assert_int_equal(errno, ENOSPC);
    close(fd);
    neve_release(runtime, kept);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_the_dead_are_hidden),
        cmocka_unit_test(test_census),
        cmocka_unit_test(test_dump),
        cmocka_unit_test(test_output_that_fails),
    };
    return cmocka_run_group_tests_name("dump", tests, NULL, NULL);
}
