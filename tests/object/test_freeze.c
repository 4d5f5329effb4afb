/* SPDX-License-Identifier: MIT */
/*
 * Freezing a runtime's objects with immortal counts: who becomes immortal, who
 * stays mortal so that nothing awaited is lost, and what can be called when.
 */
#include "object/support.h"

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

static int finalized, deallocated;

static void node_finalize(neve_runtime *runtime, neve_object *object)
{
    (void)runtime;
    (void)object;
    finalized++;
}

static void count_dealloc(neve_runtime *runtime, neve_object *object)
{
    (void)runtime;
    (void)object;
    deallocated++;
}

#define NODE_TYPE(...)                                                                             \
    {                                                                                              \
        .name = "node", .size = sizeof(node), .traverse = node_traverse, .clear = node_clear,      \
        __VA_ARGS__                                                                                \
    }
static const neve_type node_type = NODE_TYPE(.flags = NEVE_TYPE_CONTAINER);
static const neve_type awaited_type =
    NODE_TYPE(.flags = NEVE_TYPE_CONTAINER, .finalize = node_finalize);
static const neve_type handle_type =
    NODE_TYPE(.flags = NEVE_TYPE_CONTAINER, .dealloc = count_dealloc);
static const neve_type buffer_type =
    NODE_TYPE(.flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_FREES_ONLY, .dealloc = count_dealloc);
static const neve_type text_type = {.name = "text", .size = sizeof(neve_object) + 8};
static const neve_type file_type = {
    .name = "file", .size = sizeof(neve_object) + 8, .dealloc = count_dealloc};

static node *make(neve_runtime *runtime, const neve_type *type)
{
    node *made = (node *)neve_object_new(runtime, type);
    assert_non_null(made);
    return made;
}

/* The slot takes the reference over. */
static void put(node *into, int slot, neve_object *object)
{
    into->slots[slot] = object;
}

static neve_freeze_result freeze(neve_runtime *runtime)
{
    neve_freeze_result result;
    assert_int_equal(neve_runtime_freeze(runtime, NEVE_FREEZE_IMMORTAL, &result), NEVE_OK);
    check_runtime(runtime);
    return result;
}

static void test_all_that_is_frozen(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    node *root = make(runtime, &node_type);
    node *child = make(runtime, &buffer_type);
    neve_object *text = neve_object_new(runtime, &text_type);
    neve_object *other = neve_object_new(runtime, &text_type);
    put(root, 0, &child->base);
    put(root, 1, text);
    put(child, 0, neve_retain(&root->base)); /* a cycle */
    put(child, 1, neve_retain(text));
    neve_freeze_result result = freeze(runtime);
    assert_int_equal(result.frozen, 2);
    assert_int_equal(result.immortal, 3);
    assert_int_equal(result.mortal, 0);
    assert_true(neve_is_immortal(&root->base) && neve_is_immortal(&child->base));
    assert_true(neve_is_immortal(text));
    assert_false(neve_is_immortal(other)); /* nothing frozen refers to it */

    /* No count changes, nothing is written. */
    node before = *root;
    neve_retain(&root->base);
    neve_release(runtime, &root->base);
    neve_release(runtime, &root->base);
    assert_memory_equal(&before, root, sizeof before);
    collect(runtime, 2);

    /* Again: what came since, and only that. */
    node *late = make(runtime, &node_type);
    put(late, 0, other);
    put(late, 1, neve_retain(&root->base));
    result = freeze(runtime);
    assert_int_equal(result.frozen, 3);
    assert_int_equal(result.immortal, 2);
    assert_true(neve_is_immortal(other));

    /* Unfrozen they are old, and immortal all the same, garbage or not. */
    assert_int_equal(neve_collector_unfreeze(neve_runtime_collector(runtime)), NEVE_OK);
    assert_int_equal(collect(runtime, 2).collected, 0);
    assert_int_equal(live_objects(runtime), 5);
    assert_true(neve_is_immortal(&root->base));
    neve_runtime_destroy(runtime);
    assert_int_equal(deallocated, 0);
}

static void test_without_immortality(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    neve_freeze_result result;
    node *root = make(runtime, &node_type);
    assert_int_equal(neve_runtime_freeze(runtime, 0, &result), NEVE_OK);
    assert_int_equal(result.frozen, 1);
    assert_int_equal(result.immortal, 0);
    assert_int_equal(neve_count(&root->base), 1);
    assert_int_equal(neve_runtime_freeze(runtime, 6, &result), NEVE_EINVAL);
    assert_int_equal(neve_runtime_refreeze(runtime, 6, NULL, NULL), NEVE_EINVAL);
    neve_release(runtime, &root->base);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* The awaited, and all that hold them, die as they would have. */
static void test_finalizers_run_as_ever(void **unused)
{
    (void)unused;
    static const neve_type *const types[] = {&awaited_type, &handle_type};
    for (int t = 0; t < 2; t++) {
        neve_runtime *runtime = new_runtime(NULL);
        finalized = deallocated = 0;
        node *root = make(runtime, &node_type);
        node *holder = make(runtime, &node_type);
        node *awaited = make(runtime, types[t]);
        node *needed = make(runtime, &node_type); /* by the awaited: lives for ever */
        node *aside = make(runtime, &node_type);
        put(root, 0, &holder->base);
        put(root, 1, &aside->base);
        put(holder, 0, &awaited->base);
        put(awaited, 0, &needed->base);
        put(holder, 1, neve_retain(&needed->base));
        neve_freeze_result result = freeze(runtime);
        assert_int_equal(result.mortal, 3);
        assert_int_equal(result.immortal, 2);
        assert_true(neve_is_immortal(&aside->base) && neve_is_immortal(&needed->base));
        assert_int_equal(neve_count(&root->base), 1);
        assert_int_equal(neve_count(&awaited->base), 1);
        neve_release(runtime, &root->base);
        assert_int_equal(finalized, t == 0);
        assert_int_equal(deallocated, t == 1);
        assert_int_equal(live_objects(runtime), 2);
        neve_runtime_destroy(runtime);
    }
}

/* A finalizer that has run awaits nothing more; a leaf can be awaited too. */
static void test_files(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    deallocated = 0;
    node *root = make(runtime, &node_type);
    node *aside = make(runtime, &node_type);
    put(root, 0, neve_object_new(runtime, &file_type));
    put(root, 1, neve_object_new(runtime, &text_type));
    put(root, 2, &aside->base);
    put(aside, 0, neve_retain(root->slots[1]));
    assert_int_equal(freeze(runtime).mortal, 1);
    assert_int_equal(neve_count(&root->base), 1);
    assert_int_equal(neve_count(root->slots[0]), 1);
    assert_true(neve_is_immortal(root->slots[1])); /* aside refers to it */
    neve_release(runtime, &root->base);
    assert_int_equal(deallocated, 1);
    neve_runtime_destroy(runtime);
}

static int called;

static void count_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)runtime;
    (void)weakref;
    (void)arg;
    called++;
}

static void test_weak_references(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    called = 0;
    node *watched = make(runtime, &node_type);
    node *known = make(runtime, &node_type);
    node *root = make(runtime, &node_type);
    put(root, 0, neve_weakref_new(runtime, &watched->base, count_call, NULL));
    neve_object *plain = neve_weakref_new(runtime, &known->base, NULL, NULL);
    freeze(runtime);
    assert_false(neve_is_immortal(&watched->base));
    /* Dropping the one with the callback has to keep it from being called. */
    assert_false(neve_is_immortal(root->slots[0]));
    assert_false(neve_is_immortal(&root->base));
    assert_true(neve_is_immortal(plain) && neve_is_immortal(&known->base));
    assert_ptr_equal(neve_weakref_get(runtime, plain), known);
    neve_release(runtime, &known->base);
    assert_ptr_equal(neve_weakref_get(runtime, plain), known);
    neve_release(runtime, &watched->base);
    assert_int_equal(called, 1);
    neve_release(runtime, &root->base);
    assert_int_equal(live_objects(runtime), 2);
    neve_runtime_destroy(runtime);
}

/* Random graphs against the definition: mortal is who reaches an awaited one. */
static void test_random_graphs(void **unused)
{
    (void)unused;
    enum { NODES = 300 };
    static node *nodes[NODES];
    static bool reaches[NODES];
    uint32_t seed = 1;
    for (int program = 0; program < 40; program++) {
        neve_runtime *runtime = new_runtime(NULL);
        for (int i = 0; i < NODES; i++) {
            seed = seed * 1664525u + 1013904223u;
            bool is_awaited = seed >> 24 < (unsigned)program / 4;
            nodes[i] = make(runtime, is_awaited ? &awaited_type : &node_type);
            reaches[i] = is_awaited;
        }
        for (int i = 0; i < NODES; i++) {
            for (int s = 0; s < 3; s++) {
                seed = seed * 1664525u + 1013904223u;
                unsigned to = (seed >> 8) % (NODES * (unsigned)(1 + program % 3));
                if (to < NODES)
                    put(nodes[i], s, neve_retain(&nodes[to]->base));
            }
        }
        for (bool changed = true; changed;) {
            changed = false;
            for (int i = 0; i < NODES; i++)
                for (int s = 0; s < 3; s++)
                    for (int to = 0; nodes[i]->slots[s] != NULL && to < NODES && !reaches[i]; to++)
                        if (nodes[i]->slots[s] == &nodes[to]->base && reaches[to])
                            reaches[i] = changed = true;
        }
        size_t mortal = 0;
        for (int i = 0; i < NODES; i++)
            mortal += reaches[i];
        neve_freeze_result result = freeze(runtime);
        assert_int_equal(result.frozen, NODES);
        assert_int_equal(result.mortal, mortal);
        assert_int_equal(result.immortal, NODES - mortal);
        for (int i = 0; i < NODES; i++)
            assert_int_equal(neve_is_immortal(&nodes[i]->base), !reaches[i]);
        /* All that is mortal can still die. */
        finalized = 0;
        int awaited = 0;
        for (int i = 0; i < NODES; i++) {
            awaited += nodes[i]->base.type == &awaited_type;
            if (reaches[i])
                neve_release(runtime, &nodes[i]->base);
        }
        assert_int_equal(neve_collector_unfreeze(neve_runtime_collector(runtime)), NEVE_OK);
        collect(runtime, 2);
        assert_int_equal(finalized, awaited);
        assert_int_equal(live_objects(runtime), NODES - mortal);
        check_runtime(runtime);
        neve_runtime_destroy(runtime);
    }
}

/* Deep structures: the C stack is not used in proportion, nor time squared. */
static void test_a_long_list(void **unused)
{
    (void)unused;
    size_t length = is_slow() ? 20000 : 300000;
    neve_runtime *runtime = new_runtime(NULL);
    finalized = 0;
    node *head = make(runtime, &awaited_type);
    for (size_t i = 1; i < length; i++) {
        node *next = make(runtime, &node_type);
        put(next, 0, &head->base);
        head = next;
    }
    assert_int_equal(freeze(runtime).mortal, length);
    neve_release(runtime, &head->base);
    assert_int_equal(finalized, 1);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_refreeze(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    make_garbage_ring(runtime, &finalized_pair_type, 'a', 'b');
    node *root = make(runtime, &node_type);
    neve_freeze_result result = freeze(runtime);
    assert_int_equal(result.mortal, 2);
    assert_int_equal(collect(runtime, 2).collected, 0);
    neve_collection collection;
    assert_int_equal(neve_runtime_refreeze(runtime, NEVE_FREEZE_IMMORTAL, &collection, &result),
                     NEVE_OK);
    assert_int_equal(collection.collected, 2);
    assert_int_equal(j.finalized, 2);
    assert_int_equal(result.frozen, 1);
    assert_int_equal(result.immortal, 0); /* it is that already */
    assert_true(neve_is_immortal(&root->base));
    neve_runtime_destroy(runtime);
}

static neve_status inside;

static void freeze_in_finalizer(neve_runtime *runtime, pair *self)
{
    (void)self;
    inside = neve_runtime_freeze(runtime, NEVE_FREEZE_IMMORTAL, NULL);
}

static void test_inside_a_collection(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *p = new_pair(runtime, &finalized_pair_type, 'p');
    p->a = &p->base;
    p->on_finalize = freeze_in_finalizer;
    inside = NEVE_OK;
    collect(runtime, 2);
    assert_int_equal(inside, NEVE_EBUSY);
    /* Where the object dies by its count nothing is in the way, and it dies. */
    p = new_pair(runtime, &finalized_pair_type, 'q');
    p->on_finalize = freeze_in_finalizer;
    neve_release(runtime, &p->base);
    assert_int_equal(inside, NEVE_OK);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

static void test_without_memory(void **unused)
{
    (void)unused;
    int failed = 0;
    for (uint64_t n = 1; n < 30; n++) {
        neve_runtime *runtime = new_runtime(NULL);
        node *root = make(runtime, &node_type), *awaited = make(runtime, &awaited_type);
        node *aside = make(runtime, &node_type);
        put(root, 0, &awaited->base);
        put(root, 1, &aside->base);
        if (neve_heap_fail_alloc_at(neve_runtime_heap(runtime), n) != NEVE_OK) {
            neve_runtime_destroy(runtime);
            print_message("# skipped: no failure injection in this build\n");
            return;
        }
        neve_status status = neve_runtime_freeze(runtime, NEVE_FREEZE_IMMORTAL, NULL);
        assert_true(status == NEVE_OK || status == NEVE_ENOMEM);
        neve_heap_fail_alloc_at(neve_runtime_heap(runtime), 0);
        if (status == NEVE_ENOMEM) {
            failed++;
            assert_int_equal(neve_count(&root->base), 1);
            assert_int_equal(neve_count(&aside->base), 1);
        }
        assert_int_equal(freeze(runtime).mortal, 2);
        assert_true(neve_is_immortal(&aside->base));
        finalized = 0;
        neve_release(runtime, &root->base);
        assert_int_equal(finalized, 1);
        neve_runtime_destroy(runtime);
    }
    assert_true(failed > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_that_is_frozen),
        cmocka_unit_test(test_without_immortality),
        cmocka_unit_test(test_finalizers_run_as_ever),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_weak_references),
        cmocka_unit_test(test_random_graphs),
        cmocka_unit_test(test_a_long_list),
        cmocka_unit_test(test_refreeze),
        cmocka_unit_test(test_inside_a_collection),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
