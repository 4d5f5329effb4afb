/* SPDX-License-Identifier: MIT */
/*
 * Deep structures: disposal must not use the C stack in proportion to them,
 * needs no memory, and leaves nothing behind; and what the dead that wait in
 * the disposal's queue look like to others meanwhile.
 */
#include "object/support.h"

#include <sys/resource.h>

/* A list node without a journal: 10 million of them shall fit. */
typedef struct node {
    neve_object base;
    neve_object *next;
} node;

static size_t freed;

static void node_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    node *n = (node *)object;
    (void)cursor;
    if (n->next != NULL)
        (void)visit(n->next, arg);
}

static void node_clear(neve_runtime *runtime, neve_object *object)
{
    neve_clear_slot(runtime, &((node *)object)->next);
}

static void node_dealloc(neve_runtime *runtime, neve_object *object)
{
    (void)runtime;
    (void)object;
    freed++;
}

static const neve_type node_type = {
    .name = "node",
    .size = sizeof(node),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = node_traverse,
    .clear = node_clear,
    .dealloc = node_dealloc,
};

static const neve_type unclearable_node_type = {
    .name = "unclearable node",
    .size = sizeof(node),
    .flags = NEVE_TYPE_CONTAINER,
    .traverse = node_traverse,
    .dealloc = node_dealloc,
};

static size_t list_length(void)
{
    return is_slow() ? 100000 : NEVE_DEBUG >= 2 ? 1000000 : 10000000;
}

/* The head; *last is the last node, borrowed. */
static neve_object *make_list(neve_runtime *runtime, const neve_type *type, size_t length,
                              node **last)
{
    neve_object *head = NULL;
    for (size_t i = 0; i < length; i++) {
        node *n = (node *)neve_object_new(runtime, type);
        assert_non_null(n);
        n->next = head;
        head = &n->base;
        if (i == 0)
            *last = n;
    }
    return head;
}

static void test_list_by_count(void **unused)
{
    (void)unused;
    static const neve_type *const types[] = {&node_type, &unclearable_node_type};
    for (int t = 0; t < 2; t++) {
        neve_runtime *runtime = new_runtime(NULL);
        node *last;
        neve_object *head = make_list(runtime, types[t], list_length(), &last);
        freed = 0;
        neve_release(runtime, head);
        assert_int_equal(freed, list_length());
        assert_int_equal(live_objects(runtime), 0);
        neve_runtime_destroy(runtime);
    }
}

static void test_list_by_collection(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    node *last;
    neve_object *head = make_list(runtime, &node_type, list_length(), &last);
    last->next = head;
    freed = 0;
    neve_collection result = collect(runtime, 2);
    assert_int_equal(result.collected, list_length());
    assert_int_equal(freed, list_length());
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* A list that hangs on a ring, some of it of a type without clear. */
static void test_list_behind_a_cycle(void **unused)
{
    (void)unused;
    for (int clearable = 0; clearable < 2; clearable++) {
        neve_runtime *runtime = new_runtime(NULL);
        size_t length = 20000;
        node *last;
        pair *ring = new_pair(runtime, &pair_type, '\0');
        ring->a = &ring->base;
        ring->b =
            make_list(runtime, clearable ? &node_type : &unclearable_node_type, length, &last);
        freed = 0;
        assert_int_equal(collect(runtime, 2).collected, length + 1);
        assert_int_equal(freed, length);
        neve_runtime_destroy(runtime);
    }
}

/* Disposal needs no memory: every allocation fails meanwhile. */
static void test_no_memory_needed(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_runtime(NULL);
    node *last;
    neve_object *head = make_list(runtime, &node_type, 100000, &last);
    struct rlimit before, none;
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    none = before;
    none.rlim_cur = 4096; /* less than is in use: whatever asks for more is refused */
    bool limited = !IS_SANITIZED && setrlimit(RLIMIT_AS, &none) == 0;
    freed = 0;
    neve_release(runtime, head);
    if (limited)
        assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(freed, 100000);
    neve_runtime_destroy(runtime);
}

/* A tree, deep on both sides: the queue gets more than one entry. */
static void test_tree(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    enum { COUNT = 50000 };
    static pair *made[COUNT];
    uint32_t random = 7;
    for (int i = 0; i < COUNT; i++) {
        made[i] = new_pair(runtime, i % 5 == 0 ? &finalized_pair_type : &pair_type, '\0');
        if (i == 0)
            continue;
        /* Mostly below the latest ones: a deep tree with many branches. */
        for (;;) {
            random = random * 1664525u + 1013904223u;
            int back = 1 + (int)(random >> 16) % (i < 8 ? i : 8);
            pair *parent = made[i - back];
            neve_object **slot = (random >> 12) % 2 == 0 ? &parent->a : &parent->b;
            if (*slot == NULL) {
                *slot = &made[i]->base;
                break;
            }
        }
    }
    neve_release(runtime, &made[0]->base);
    assert_int_equal(j.freed, COUNT);
    assert_int_equal(j.finalized, COUNT / 5);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* Finalizers that let go of the next object themselves nest as well. */
static void drop_next(neve_runtime *runtime, pair *self)
{
    neve_clear_slot(runtime, &self->a);
}

static void test_finalizers_that_recurse(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    enum { COUNT = 100000 };
    neve_object *head = NULL;
    for (int i = 0; i < COUNT; i++) {
        pair *p = new_pair(runtime, &finalized_pair_type, '\0');
        p->on_finalize = drop_next;
        p->a = head;
        head = &p->base;
    }
    neve_release(runtime, head);
    assert_int_equal(j.finalized, COUNT);
    assert_int_equal(j.freed, COUNT);
    neve_runtime_destroy(runtime);
}

/* The same with callbacks: each drops the next referent. */
static void drop_referent(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)weakref;
    neve_clear_slot(runtime, &((pair *)arg)->a);
}

static void test_callbacks_that_recurse(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    enum { COUNT = 50000 };
    static neve_object *refs[COUNT];
    neve_object *next = NULL;
    for (int i = 0; i < COUNT; i++) {
        pair *referent = new_pair(runtime, &pair_type, '\0');
        pair *holder = new_pair(runtime, &pair_type, '\0');
        holder->a = next;
        refs[i] = neve_weakref_new(runtime, &referent->base, drop_referent, &holder->base);
        neve_release(runtime, &holder->base);
        next = &referent->base;
    }
    neve_release(runtime, next);
    for (int i = 0; i < COUNT; i++) {
        assert_null(neve_weakref_get(runtime, refs[i]));
        neve_release(runtime, refs[i]);
    }
    assert_int_equal(j.freed, 2 * COUNT);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* A program that runs its main loop in a finalizer: what it releases there is
 * gone at once, not when the finalizer returns. */
static void run_a_program(neve_runtime *runtime, pair *self)
{
    (void)self;
    for (int i = 0; i < 100; i++) {
        node *last;
        freed = 0;
        neve_release(runtime, make_list(runtime, &node_type, 1000, &last));
        assert_int_equal(freed, 1000);
    }
}

static void test_program_in_a_finalizer(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *outer = new_pair(runtime, &pair_type, '\0');
    pair *inner = new_pair(runtime, &finalized_pair_type, '\0');
    inner->on_finalize = run_a_program;
    outer->a = &inner->base;
    neve_release(runtime, &outer->base);
    assert_int_equal(j.finalized, 1);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* ---- what waits in the queue ---- */

/* A chain of `depth` pairs; its last one refers to `end`. */
static pair *make_chain(neve_runtime *runtime, int depth, neve_object *end, pair **lowest)
{
    pair *head = NULL;
    for (int i = 0; i < depth; i++) {
        pair *p = new_pair(runtime, &pair_type, '\0');
        p->a = head != NULL ? &head->base : end;
        if (i == 0)
            *lowest = p;
        head = p;
    }
    return head;
}

static neve_object *watched[2];
static int looked, called;

static void look_and_collect(neve_runtime *runtime, pair *self)
{
    (void)self;
    looked++;
    /* Without references, not finalized yet: nobody can have it. */
    assert_null(neve_weakref_get(runtime, watched[0]));
    neve_collector *collector = neve_runtime_collector(runtime);
    assert_int_equal(neve_collect(collector, 2, NULL), NEVE_OK);
    assert_int_equal(neve_collect(collector, 0, NULL), NEVE_OK);
    check_runtime(runtime);
    assert_null(neve_weakref_get(runtime, watched[0]));
}

static void count_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)runtime;
    (void)weakref;
    (void)arg;
    called++;
}

/* A dead object in the queue has no count, and part of its header is a link: a
 * collection, weak references and their callbacks must see that. */
static void test_collection_beside_the_queue(void **unused)
{
    (void)unused;
    journal j;
    for (int depth = 1; depth < 80; depth++) {
        neve_runtime *runtime = new_runtime(&j);
        looked = called = 0;
        pair *waits = new_pair(runtime, &finalized_pair_type, 'w');
        leaf *referent = new_leaf(runtime, 'l');
        watched[0] = neve_weakref_new(runtime, &waits->base, count_call, NULL);
        pair *lowest = NULL;
        /* The lowest one's second slot, and the chain's above it: finalizers run
         * while the first slot's object waits. */
        pair *head = make_chain(runtime, depth, &waits->base, &lowest);
        waits->a = neve_weakref_new(runtime, &referent->base, count_call, NULL);
        waits->b = neve_weakref_new(runtime, &waits->base, count_call, NULL);
        int n = 0;
        for (pair *p = head; p != waits; p = (pair *)p->a) {
            pair *looks = new_pair(runtime, &finalized_pair_type, '\0');
            looks->on_finalize = p == lowest ? look_and_collect : NULL;
            p->b = &looks->base;
            n++;
        }
        assert_int_equal(n, depth);
        if (depth % 2 == 0)
            collect(runtime, 2); /* old or young */
        neve_release(runtime, &head->base);
        assert_int_equal(looked, 1);
        /* Of the one outside, and of its own: that dies after it. */
        assert_int_equal(called, 2);
        assert_int_equal(j.finalized, depth + 1);
        neve_release(runtime, watched[0]);
        neve_release(runtime, &referent->base);
        assert_int_equal(called, 2);
        assert_int_equal(live_objects(runtime), 0);
        check_runtime(runtime);
        neve_runtime_destroy(runtime);
    }
}

static neve_object *dropped;

static void drop_the_referent(neve_runtime *runtime, pair *self)
{
    (void)self;
    looked++;
    neve_clear_slot(runtime, &dropped);
}

/* A weak reference waits in the queue while its referent dies: its callback is
 * not called, and it is not touched. */
static void test_weakref_in_the_queue(void **unused)
{
    (void)unused;
    journal j;
    for (int depth = 1; depth < 80; depth++) {
        neve_runtime *runtime = new_runtime(&j);
        looked = called = 0;
        dropped = &new_leaf(runtime, 'l')->base;
        neve_object *weakref = neve_weakref_new(runtime, dropped, count_call, NULL);
        pair *lowest = NULL;
        pair *head = make_chain(runtime, depth, weakref, &lowest);
        pair *drops = new_pair(runtime, &finalized_pair_type, '\0');
        drops->on_finalize = drop_the_referent;
        lowest->b = &drops->base;
        neve_release(runtime, &head->base);
        assert_int_equal(looked, 1);
        assert_int_equal(called, 0);
        assert_int_equal(live_objects(runtime), 0);
        check_runtime(runtime);
        neve_runtime_destroy(runtime);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list_by_count),
        cmocka_unit_test(test_list_by_collection),
        cmocka_unit_test(test_list_behind_a_cycle),
        cmocka_unit_test(test_no_memory_needed),
        cmocka_unit_test(test_tree),
        cmocka_unit_test(test_finalizers_that_recurse),
        cmocka_unit_test(test_callbacks_that_recurse),
        cmocka_unit_test(test_program_in_a_finalizer),
        cmocka_unit_test(test_collection_beside_the_queue),
        cmocka_unit_test(test_weakref_in_the_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
