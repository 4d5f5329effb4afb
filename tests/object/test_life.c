/* SPDX-License-Identifier: MIT */
/*
 * Objects without the collector's help: creation, counts, immortality, tails
 * of variable size, what happens in which order when a count reaches 0.
 */
#include "object/support.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_new_object_is_zeroed(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    /* Twice, so that the second one gets memory that was used before. */
    for (int round = 0; round < 2; round++) {
        pair *made[100];
        for (int i = 0; i < 100; i++) {
            pair *p = (pair *)neve_object_new(runtime, &pair_type);
            assert_non_null(p);
            assert_int_equal(neve_count(&p->base), 1);
            assert_ptr_equal(neve_type_of(&p->base), &pair_type);
            assert_null(p->a);
            assert_null(p->b);
            assert_true(p->on_finalize == NULL);
            assert_int_equal(p->name, 0);
            p->name = (char)i;
            made[i] = p;
        }
        assert_int_equal(live_objects(runtime), 100);
        for (int i = 0; i < 100; i++)
            neve_release(runtime, &made[i]->base);
        assert_int_equal(live_objects(runtime), 0);
    }
    neve_runtime_destroy(runtime);
}

static void test_counts(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &pair_type, 'p');
    leaf *l = new_leaf(runtime, 'l');
    p->a = neve_retain(&l->base);
    p->b = neve_retain(&l->base);
    assert_int_equal(neve_count(&l->base), 3);
    neve_release(runtime, &l->base);
    assert_int_equal(neve_count(&l->base), 2);
    assert_string_equal(j.text, "");
    neve_release(runtime, &p->base);
    assert_string_equal(j.text, "dl dp ");
    neve_release(runtime, NULL); /* nothing */
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* The smallest types that are legal: a leaf and a container of a bare header. */
static void test_smallest(void **unused)
{
    (void)unused;
    static const neve_type bare_leaf = {.name = "bare leaf", .size = sizeof(neve_object)};
    static const neve_type bare_container = {
        .name = "bare container", .size = sizeof(neve_object), .flags = NEVE_TYPE_CONTAINER};
    neve_runtime *runtime = new_runtime(NULL);
    enum { COUNT = 1000 };
    static neve_object *made[2 * COUNT];
    for (int i = 0; i < COUNT; i++) {
        made[2 * i] = neve_object_new(runtime, &bare_leaf);
        made[2 * i + 1] = neve_object_new(runtime, &bare_container);
    }
    /* The collector's tables have room for one candidate per 32 bytes. */
    for (int i = 1; i < 2 * COUNT; i += 2)
        assert_true(neve_heap_usable_size(neve_runtime_heap(runtime), made[i]) >= 32);
    assert_int_equal(collect(runtime, 2).collected, 0);
    for (int i = 0; i < 2 * COUNT; i++)
        neve_release(runtime, made[i]);
    assert_int_equal(live_objects(runtime), 0);
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
}

typedef struct array {
    neve_var_object var;
    neve_object *items[];
} array;

static void array_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    array *a = (array *)object;
    size_t end = *cursor + 1000 < a->var.length ? *cursor + 1000 : a->var.length;
    for (size_t i = *cursor; i < end; i++) {
        if (a->items[i] != NULL && visit(a->items[i], arg) != 0) {
            *cursor = 0;
            return;
        }
    }
    *cursor = end < a->var.length ? end : 0;
}

static void array_clear(neve_runtime *runtime, neve_object *object)
{
    array *a = (array *)object;
    for (size_t i = 0; i < a->var.length; i++)
        neve_clear_slot(runtime, &a->items[i]);
}

static const neve_type array_type = {
    .name = "array",
    .size = sizeof(array),
    .item_size = sizeof(neve_object *),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = array_traverse,
    .clear = array_clear,
};

static const neve_type text_type = {
    .name = "text", .size = sizeof(neve_var_object), .item_size = 1};

static void test_variable_size(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    static const size_t lengths[] = {0, 1, 2, 7, 60, 61, 62, 63, 64, 500, 3000, 100000};
    for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
        size_t length = lengths[n];
        array *a = (array *)neve_object_new_var(runtime, &array_type, length);
        assert_non_null(a);
        assert_int_equal(a->var.length, length);
        for (size_t i = 0; i < length; i++) {
            assert_null(a->items[i]);
            a->items[i] = &new_leaf(runtime, '\0')->base;
        }
        /* Large ones are traversed in pieces; a cycle through the last item. */
        if (length > 0) {
            neve_release(runtime, a->items[length - 1]);
            a->items[length - 1] = neve_retain(&a->var.base);
        }
        check_runtime(runtime);
        neve_release(runtime, &a->var.base);
        assert_int_equal(collect(runtime, 2).collected, length > 0);
        assert_int_equal(live_objects(runtime), 0);
    }
    neve_var_object *text = (neve_var_object *)neve_object_new_var(runtime, &text_type, 100);
    assert_int_equal(text->length, 100);
    memset(text + 1, 'x', 100);
    neve_release(runtime, &text->base);
    text = (neve_var_object *)neve_object_new(runtime, &text_type);
    assert_int_equal(text->length, 0);
    neve_release(runtime, &text->base);
    neve_runtime_destroy(runtime);
}

static void test_impossible_sizes(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    assert_null(neve_object_new_var(runtime, &array_type, SIZE_MAX));
    assert_null(neve_object_new_var(runtime, &array_type, SIZE_MAX / sizeof(neve_object *)));
    assert_null(neve_object_new_var(runtime, &array_type, SIZE_MAX / sizeof(neve_object *) - 2));
    assert_null(neve_object_new_var(runtime, &text_type, SIZE_MAX));
    assert_null(neve_object_new_var(runtime, &text_type, SIZE_MAX - sizeof(neve_var_object)));
    assert_null(neve_object_new_var(runtime, &text_type, (size_t)PTRDIFF_MAX));
    assert_int_equal(collect(runtime, 2).collected, 0);
    neve_runtime_destroy(runtime);
}

static void test_immortal(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    pair *q = new_pair(runtime, &pair_type, 'q');
    p->a = &q->base; /* kept by the immortal one only */
    neve_make_immortal(&p->base);
    assert_true(neve_is_immortal(&p->base));
    assert_false(neve_is_immortal(&q->base));
    uint32_t count = neve_count(&p->base);
    for (int i = 0; i < 10; i++)
        neve_retain(&p->base);
    for (int i = 0; i < 100; i++)
        neve_release(runtime, &p->base);
    neve_make_immortal(&p->base);
    assert_int_equal(neve_count(&p->base), count);
    /* A cycle through an immortal object lives. */
    q->a = neve_retain(&p->base);
    for (int generation = 0; generation < 3; generation++)
        assert_int_equal(collect(runtime, generation).collected, 0);
    assert_ptr_equal(p->a, &q->base);
    assert_string_equal(j.text, "");
    check_runtime(runtime);
    neve_runtime_destroy(runtime);
    assert_string_equal(j.text, ""); /* goes without its finalizer */
}

/* A count that reaches the immortal value stays there. */
static void test_saturated(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &pair_type, 'p');
    p->base.count = NEVE_IMMORTAL - 1;
    neve_retain(&p->base);
    assert_true(neve_is_immortal(&p->base));
    neve_release(runtime, &p->base);
    assert_true(neve_is_immortal(&p->base));
    collect(runtime, 2);
    assert_int_equal(j.freed, 0);
    neve_runtime_destroy(runtime);
}

/* Depth first, as a recursion would do it: children before their parents. */
static void test_order_of_disposal(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *root = new_pair(runtime, &finalized_pair_type, 'r');
    pair *left = new_pair(runtime, &finalized_pair_type, 'a');
    pair *right = new_pair(runtime, &finalized_pair_type, 'b');
    root->a = &left->base;
    root->b = &right->base;
    left->a = &new_leaf(runtime, 'x')->base;
    left->b = &new_leaf(runtime, 'y')->base;
    right->a = &new_leaf(runtime, 'z')->base;
    neve_release(runtime, &root->base);
    assert_string_equal(j.text, "fr fa dx dy da fb dz db dr ");
    neve_runtime_destroy(runtime);
}

/* A type without clear: dying by its count, it gives up what it traverses. */
static void test_disposal_without_clear(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &unclearable_pair_type, 'p');
    pair *q = new_pair(runtime, &unclearable_pair_type, 'q');
    p->a = &q->base;
    p->b = &new_leaf(runtime, 'l')->base;
    q->a = neve_retain(p->b);
    neve_release(runtime, &p->base);
    assert_string_equal(j.text, "dq dl dp ");
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* Makes a new object, which takes the memory of the one freed last, and collects. */
static void make_and_collect(neve_runtime *runtime, pair *self)
{
    *self->store = &new_pair(runtime, &pair_type, 'n')->base;
    assert_int_equal(neve_collect(neve_runtime_collector(runtime), 2, NULL), NEVE_OK);
}

/* The references of such an object dangle while it dies: a collection in the
 * midst of that must not read them. */
static void test_collection_during_disposal_without_clear(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &unclearable_pair_type, 'p');
    pair *dead = new_pair(runtime, &pair_type, 'd');
    pair *collects = new_pair(runtime, &finalized_pair_type, 'c');
    neve_object *made = NULL;
    p->a = &dead->base;
    p->b = &collects->base;
    collects->on_finalize = make_and_collect;
    collects->store = &made;
    neve_release(runtime, &p->base);
    assert_string_equal(j.text, "dd fc dc dp ");
    assert_non_null(made);
    assert_int_equal(neve_count(made), 1);
    assert_int_equal(live_objects(runtime), 1);
    neve_release(runtime, made);
    neve_runtime_destroy(runtime);
}

/* What clear and dealloc may do to their own object's count: nothing lasting. */
static void selfish_clear(neve_runtime *runtime, neve_object *object)
{
    neve_retain(object);
    neve_release(runtime, object);
    pair_clear(runtime, object);
}

static void test_clear_touches_its_own_count(void **unused)
{
    (void)unused;
    static const neve_type selfish_type = {
        .name = "selfish",
        .size = sizeof(pair),
        .flags = NEVE_TYPE_CONTAINER,
        .traverse = pair_traverse,
        .clear = selfish_clear,
        .dealloc = pair_dealloc,
    };
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    neve_release(runtime, &new_pair(runtime, &selfish_type, 's')->base);
    assert_string_equal(j.text, "ds ");
    make_garbage_ring(runtime, &selfish_type, 'a', 'b');
    assert_int_equal(collect(runtime, 0).collected, 2);
    assert_int_equal(j.freed, 3);
    neve_runtime_destroy(runtime);
}

/* A finalizer, and a clear, that release what they do not own: their object. */
static void release_self(neve_runtime *runtime, pair *self)
{
    neve_release(runtime, &self->base);
}

static void greedy_clear(neve_runtime *runtime, neve_object *object)
{
    pair_clear(runtime, object);
    neve_release(runtime, object);
}

static const neve_type greedy_type = {
    .name = "greedy",
    .size = sizeof(pair),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = pair_traverse,
    .clear = greedy_clear,
    .dealloc = pair_dealloc,
};

static int release_too_often(bool in_clear)
{
    journal j;
    neve_runtime *runtime;
    if (neve_runtime_create(NULL, &runtime) != NEVE_OK)
        return 1;
    journal_reset(&j);
    neve_runtime_set_data(runtime, &j);
    pair *p = (pair *)neve_object_new(runtime, in_clear ? &greedy_type : &finalized_pair_type);
    p->on_finalize = release_self;
    neve_release(runtime, &p->base);
    if (j.freed != 1 || live_objects(runtime) != 0)
        return 2;
    neve_runtime_destroy(runtime);
    return 0;
}

/* Debug builds stop; release builds free the object once all the same. */
static void test_released_too_often(void **unused)
{
    (void)unused;
    for (int in_clear = 0; in_clear < 2; in_clear++) {
        fflush(NULL);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct rlimit no_core = {0, 0};
            (void)setrlimit(RLIMIT_CORE, &no_core);
            if (NEVE_DEBUG > 0 && freopen("/dev/null", "w", stderr) == NULL)
                _exit(3);
            _exit(release_too_often(in_clear != 0));
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        if (NEVE_DEBUG > 0) {
            assert_true(WIFSIGNALED(status));
            assert_int_equal(WTERMSIG(status), SIGABRT);
        } else {
            assert_true(WIFEXITED(status));
            assert_int_equal(WEXITSTATUS(status), 0);
        }
    }
}

static void test_runtime_options(void **unused)
{
    (void)unused;
    neve_runtime *runtime;
    neve_runtime_options options = {.struct_size = sizeof options};
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    assert_null(neve_runtime_data(runtime));
    neve_runtime_set_data(runtime, &options);
    assert_ptr_equal(neve_runtime_data(runtime), &options);
    neve_runtime_destroy(runtime);
    neve_runtime_destroy(NULL);

    neve_collector_options collect_options = {.struct_size = sizeof collect_options,
                                              .thresholds = {7, 8, 9}};
    options.collect = &collect_options;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_OK);
    uint32_t thresholds[NEVE_GENERATIONS];
    neve_collector_get_thresholds(neve_runtime_collector(runtime), thresholds);
    assert_int_equal(thresholds[0], 7);
    assert_int_equal(thresholds[2], 9);
    neve_runtime_destroy(runtime);

    options.struct_size = 0;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_EINVAL);
    assert_null(runtime);
    options.struct_size = sizeof options + 8; /* a field that this build does not know */
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_EINVAL);
    options.struct_size = sizeof options;
    collect_options.struct_size = 1;
    assert_int_equal(neve_runtime_create(&options, &runtime), NEVE_EINVAL);
    assert_null(runtime);
}

/* Destroying collects what nobody holds, and only that. */
static void test_destroy_collects(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    make_garbage_ring(runtime, &finalized_pair_type, 'a', 'b');
    pair *held = new_pair(runtime, &finalized_pair_type, 'h');
    held->a = &new_leaf(runtime, 'l')->base;
    neve_runtime_destroy(runtime);
    assert_int_equal(j.finalized, 2);
    assert_int_equal(j.freed, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_object_is_zeroed),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_smallest),
        cmocka_unit_test(test_variable_size),
        cmocka_unit_test(test_impossible_sizes),
        cmocka_unit_test(test_immortal),
        cmocka_unit_test(test_saturated),
        cmocka_unit_test(test_order_of_disposal),
        cmocka_unit_test(test_disposal_without_clear),
        cmocka_unit_test(test_collection_during_disposal_without_clear),
        cmocka_unit_test(test_clear_touches_its_own_count),
        cmocka_unit_test(test_released_too_often),
        cmocka_unit_test(test_runtime_options),
        cmocka_unit_test(test_destroy_collects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
