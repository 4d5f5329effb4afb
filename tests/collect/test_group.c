/* SPDX-License-Identifier: MIT */
/*
 * One large group of garbage, which a cycle verifies by a sum (collect/group.c), for a
 * host whose dead are hidden by losing their bits, as CPython's are: that the references
 * of the collector are taken late and all before the first object is cleared; what weak
 * references, finalizers, and a program that gets hold of a member between two slices
 * change about that; that all of it can be abandoned anywhere. Nothing is timed.
 */
#include "collect/collect_internal.h"
#include "object/support.h"

/* Ring nodes refer to the next one and to a child of their own. */
enum { RING = 2500, GROUP = 2 * RING };

typedef struct node node;
struct node {
    uint32_t count;
    bool is_tracked, is_final, revives, is_uncollectable, is_immortal;
    node *slots[2];
    node **weak; /* cleared when this one is condemned */
};

typedef struct world {
    neve_heap *heap;
    neve_collector *collector;
    nv_vec young;
    node *root, *revived;
    node *ring, *weak; /* one node of the ring: `ring` counts until it is dropped */
    size_t alive, freed, finalized, reported;
} world;

/* ---- the objects ---- */

static node *new_node(world *w)
{
    node *made = neve_heap_alloc(w->heap, NEVE_DOMAIN_OBJECT, sizeof *made);
    assert_non_null(made);
    *made = (node){.count = 1, .is_tracked = true};
    assert_true(nv_vec_push(w->heap, &w->young, made));
    w->alive++;
    neve_collector_count_alloc(w->collector);
    return made;
}

static void release_node(world *w, node *object)
{
    if (object == NULL || --object->count > 0)
        return;
    for (size_t i = 0; i < w->young.count; i++)
        if (w->young.items[i] == object)
            w->young.items[i] = w->young.items[--w->young.count];
    w->alive--;
    w->freed++;
    if (object->weak != NULL)
        *object->weak = NULL;
    for (int i = 0; i < 2; i++)
        release_node(w, object->slots[i]);
    memset(object, 0xdd, sizeof *object);
    neve_heap_free(w->heap, object);
}

static void set_slot(world *w, node *object, int slot, node *value)
{
    node *old = object->slots[slot];
    object->slots[slot] = value;
    release_node(w, old);
}

/* ---- the host ---- */

static void host_read_counts(void *ctx, void *const *objects, size_t n, uint32_t *counts)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        const node *object = objects[i];
        assert_in_range(object->count, 1, 10); /* it is alive */
        counts[i] = object->is_immortal ? NEVE_COUNT_HELD : object->count;
    }
}

static void host_traverse(void *ctx, void *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)ctx;
    node *from = object;
    assert_true(from->is_tracked);
    if (from->slots[*cursor] != NULL)
        (void)visit(from->slots[*cursor], arg);
    *cursor = (*cursor + 1) % 2;
}

/* Of some nodes: a slot as an array, and the other one beside it. */
static void host_edges(void *ctx, void *const *objects, size_t n, neve_edges *edges)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++) {
        const node *from = objects[i];
        if ((uintptr_t)from / sizeof *from % 2 != 0)
            edges[i] = (neve_edges){(void *const *)&from->slots[1], 1, 1, from->slots[0], false};
        else
            edges[i].stride = 0;
    }
}

static void host_retain(void *ctx, void *const *objects, size_t n)
{
    (void)ctx;
    for (size_t i = 0; i < n; i++)
        ((node *)objects[i])->count++;
}

static void host_release(void *ctx, void *const *objects, size_t n)
{
    for (size_t i = 0; i < n; i++)
        release_node(ctx, objects[i]);
}

static void host_clear(void *ctx, void *const *objects, size_t n)
{
    world *w = ctx;
    const nv_queue *queue = &w->collector->later;
    assert_int_equal(queue->held, queue->items.count);
    for (size_t i = 0; i < n; i++)
        for (int slot = 0; slot < 2; slot++)
            set_slot(w, objects[i], slot, NULL);
}

static const char *host_type_name(void *ctx, void *object)
{
    (void)ctx;
    (void)object;
    return "node";
}

static bool host_is_tracked(void *ctx, void *object)
{
    (void)ctx;
    return ((node *)object)->is_tracked;
}

static void host_visit_roots(void *ctx, neve_visit_fn visit, void *arg)
{
    world *w = ctx;
    if (w->root != NULL)
        (void)visit(w->root, arg);
}

static void host_gather(void *ctx, int generation, neve_gather *into)
{
    world *w = ctx;
    (void)generation;
    for (size_t i = 0; i < w->young.count; i++)
        if (((node *)w->young.items[i])->is_tracked && !neve_gather_add(into, w->young.items[i]))
            return;
}

/* All that survive get old. */
static void host_promote(void *ctx, void *const *objects, size_t n, int generation)
{
    world *w = ctx;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; generation >= 2 && k < w->young.count; k++)
            if (w->young.items[k] == objects[i])
                w->young.items[k] = w->young.items[--w->young.count];
}

static void host_condemn(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    (void)ran_code;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(neve_collector_generation_of(((world *)ctx)->collector, objects[i]), 0);
}

static size_t host_find_special(void *ctx, void *const *objects, size_t n, void **special,
                                bool *has_finalizers)
{
    (void)ctx;
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        const node *object = objects[i];
        *has_finalizers |= object->is_final;
        if (object->is_final || object->is_uncollectable || object->weak != NULL)
            special[found++] = objects[i];
    }
    return found;
}

static size_t host_clear_weakrefs(void *ctx, void *const *objects, size_t n, neve_weakref_pass pass,
                                  bool *ran_code)
{
    world *w = ctx;
    (void)pass;
    (void)ran_code;
    for (size_t i = 0; i < n; i++) {
        node *object = objects[i];
        assert_true(neve_collector_is_condemned(w->collector, object));
        if (object->weak != NULL)
            *object->weak = NULL;
        object->weak = NULL;
    }
    assert_false(w->root != NULL && neve_collector_is_condemned(w->collector, w->root));
    return 0;
}

static void host_finalize(void *ctx, void *const *objects, size_t n, bool *ran_code)
{
    world *w = ctx;
    for (size_t i = 0; i < n; i++) {
        node *object = objects[i];
        if (!object->is_final)
            continue;
        object->is_final = false;
        *ran_code = true;
        w->finalized++;
        if (object->revives) {
            object->count++;
            w->revived = object;
        }
    }
}

static bool host_is_uncollectable(void *ctx, void *object)
{
    (void)ctx;
    return ((node *)object)->is_uncollectable;
}

static size_t host_report_uncollectable(void *ctx, void *const *objects, size_t n,
                                        neve_uncollectable why)
{
    (void)objects;
    assert_int_equal(why, NEVE_UNCOLLECTABLE_FINALIZER);
    ((world *)ctx)->reported += n;
    return n;
}

static const neve_host things = {
    .struct_size = sizeof(neve_host),
    .name = "nodes",
    .read_counts = host_read_counts,
    .traverse = host_traverse,
    .edges = host_edges,
    .retain = host_retain,
    .release = host_release,
    .clear = host_clear,
    .type_name = host_type_name,
    .is_tracked = host_is_tracked,
    .visit_roots = host_visit_roots,
    .gather = host_gather,
    .promote = host_promote,
    .condemn = host_condemn,
    .condemns_late = true,
    .find_special = host_find_special,
    .clear_weakrefs = host_clear_weakrefs,
    .finalize = host_finalize,
    .is_uncollectable = host_is_uncollectable,
    .report_uncollectable = host_report_uncollectable,
};

/* ---- a world with one large group ---- */

static void make_world(world *w)
{
    memset(w, 0, sizeof *w);
    assert_int_equal(neve_heap_create(NULL, &w->heap), NEVE_OK);
    neve_collector_options options = {.struct_size = sizeof options, .mode = NEVE_MODE_INCREMENTAL};
    assert_int_equal(neve_collector_create(w->heap, &things, w, &options, &w->collector), NEVE_OK);
    w->collector->is_stressed = false;
    w->collector->cycle.large_above = NV_LARGE_GROUP;
    w->root = new_node(w);
    node *last = w->ring = new_node(w);
    for (int i = 0; i < RING; i++) {
        last->slots[1] = new_node(w);
        if (i + 1 < RING)
            last = last->slots[0] = new_node(w);
    }
    last->slots[0] = w->ring;
    w->ring->count++;
    assert_int_equal(neve_collect(w->collector, 1, NULL), NEVE_OK);
    assert_int_equal(w->young.count, 0);
}

/* The program keeps nothing of the ring but a weak reference. */
static void drop_ring(world *w, bool with_weak)
{
    node *ring = w->ring;
    if (with_weak) {
        w->weak = ring;
        ring->weak = &w->weak;
    }
    w->ring = NULL;
    release_node(w, ring);
}

static bool quantum(world *w)
{
    return neve_step(w->collector, 0, NULL);
}

static void go_to(world *w, nv_group_stage stage)
{
    neve_collector *c = w->collector;
    c->cycle.changes = 1;
    c->is_stressed = true; /* the first slice is a quantum as well */
    assert_true(quantum(w));
    c->is_stressed = false;
    for (int i = 0; c->cycle.group.stage != stage; i++) {
        assert_in_range(i, 0, 100000);
        assert_true(quantum(w));
    }
    assert_int_equal(w->freed, 0);
}

static void end_cycle(world *w)
{
    while (quantum(w))
        continue;
    assert_int_equal(w->collector->cycle.phase, NV_CYCLE_IDLE);
    assert_int_equal(neve_heap_check(w->heap, NULL, 0), NEVE_OK);
}

static void end_world(world *w)
{
    assert_int_equal(w->root->count, 1);
    release_node(w, w->root);
    assert_int_equal(w->alive, 0);
    nv_vec_destroy(w->heap, &w->young);
    neve_collector_destroy(w->collector);
    neve_heap_destroy(w->heap);
}

static neve_cycle_stats cycle_stats(const world *w)
{
    neve_collector_stats stats;
    neve_collector_get_stats(w->collector, &stats);
    return stats.cycle;
}

/* ---- what happens to it ---- */

static int count_walked(void *object, void *arg)
{
    (void)object;
    ++*(size_t *)arg;
    return 0;
}

/* Nothing leads to the members: they are hidden in one go, and everything else, the
 * collector's references included, is a matter of slices. A weak reference makes no
 * difference, but is cleared at once. */
static void test_dead(void **unused)
{
    (void)unused;
    for (int with_weak = 0; with_weak < 2; with_weak++) {
        world w;
        make_world(&w);
        neve_collector *c = w.collector;
        drop_ring(&w, with_weak != 0);
        go_to(&w, NV_GROUP_SUM);
        assert_int_equal(w.weak != NULL, with_weak);
        assert_true(quantum(&w));
        assert_null(w.weak);
        assert_int_equal(c->later.items.count, GROUP);
        assert_int_equal(cycle_stats(&w).largest_group, GROUP);
        assert_int_equal(cycle_stats(&w).collected, GROUP);
        size_t held = 0, walked = 0, slices = 0;
        for (; c->later.held < GROUP; slices++) {
            assert_int_equal(c->later.held, held);
            (void)neve_collector_walk(c, 2, count_walked, &walked);
            assert_int_equal(neve_collect(c, (int)(slices % 2), NULL), NEVE_OK);
            assert_true(quantum(&w));
            assert_true(c->later.held > held);
            held = c->later.held;
        }
        assert_true(slices > 5);
        assert_int_equal(walked, slices); /* the root */
        assert_int_equal(w.freed, 0);
        end_cycle(&w);
        assert_int_equal(w.freed, GROUP);
        end_world(&w);
    }
}

/* Finalizers run in that same slice, with the references taken before. */
static void test_finalizers(void **unused)
{
    (void)unused;
    world w;
    make_world(&w);
    w.ring->is_final = w.ring->slots[1]->is_final = w.ring->slots[0]->is_final = true;
    drop_ring(&w, true);
    go_to(&w, NV_GROUP_SUM);
    assert_true(quantum(&w));
    assert_int_equal(w.finalized, 3);
    assert_null(w.weak);
    assert_int_equal(w.collector->later.items.count, GROUP);
    assert_int_equal(w.collector->later.held, GROUP);
    end_cycle(&w);
    assert_int_equal(w.freed, GROUP);
    end_world(&w);
}

/* A finalizer of a child revives that one alone, one of the ring all of it. */
static void test_revived(void **unused)
{
    (void)unused;
    for (int of_ring = 0; of_ring < 2; of_ring++) {
        world w;
        make_world(&w);
        node *reviver = of_ring != 0 ? w.ring : w.ring->slots[1];
        reviver->is_final = reviver->revives = true;
        drop_ring(&w, false);
        go_to(&w, NV_GROUP_SUM);
        end_cycle(&w);
        assert_ptr_equal(w.revived, reviver);
        assert_int_equal(w.freed, of_ring != 0 ? 0 : GROUP - 1);
        assert_int_equal(neve_collector_generation_of(w.collector, reviver), 2);
        assert_int_equal(reviver->count, of_ring != 0 ? 2 : 1);
        release_node(&w, w.revived);
        w.collector->cycle.changes = 1;
        end_cycle(&w);
        assert_int_equal(w.freed, GROUP);
        assert_int_equal(w.finalized, 1);
        end_world(&w);
    }
}

/* Before the sum is taken the program gets a member by a weak reference, and keeps it:
 * the sum is not even, and nobody is touched. */
static void test_alive(void **unused)
{
    (void)unused;
    for (int stage = NV_GROUP_COLOUR; stage <= NV_GROUP_SUM; stage++) {
        world w;
        make_world(&w);
        drop_ring(&w, true);
        go_to(&w, (nv_group_stage)stage);
        w.ring = w.weak;
        w.ring->count++;
        end_cycle(&w);
        assert_int_equal(w.freed, 0);
        assert_ptr_equal(w.weak, w.ring);
        drop_ring(&w, false);
        w.collector->cycle.changes = 1;
        end_cycle(&w);
        assert_int_equal(w.freed, GROUP);
        end_world(&w);
    }
}

/* The program gets a member, and one that only this one refers to dies; another object
 * gets its address. The group is the rest, and the other object is none of it. */
static void test_member_dies(void **unused)
{
    (void)unused;
    for (int stage = NV_GROUP_COLOUR; stage <= NV_GROUP_SUM; stage++) {
        world w;
        make_world(&w);
        drop_ring(&w, true);
        go_to(&w, (nv_group_stage)stage);
        const node *child = w.weak->slots[1];
        set_slot(&w, w.weak, 1, NULL);
        assert_int_equal(w.freed, 1);
        node *passed = NULL; /* those that got other addresses */
        for (node *made = new_node(&w); made != child; made = new_node(&w)) {
            made->slots[0] = passed;
            passed = made;
        }
        w.root->slots[0] = w.young.items[w.young.count - 1];
        while (passed != NULL) {
            node *next = passed->slots[0];
            passed->slots[0] = NULL;
            release_node(&w, passed);
            passed = next;
        }
        w.freed = 1;
        end_cycle(&w);
        assert_int_equal(w.freed, GROUP);
        assert_int_equal(w.root->slots[0]->count, 1);
        assert_int_equal(cycle_stats(&w).collected, GROUP - 1);
        end_world(&w);
    }
}

/* A member is alive and not tracked any more, while another refers to it: it is no
 * member, and what the others make up is dead. If it is a node of the ring, what it
 * refers to is alive, and that is all of it. */
static void test_member_untracked(void **unused)
{
    (void)unused;
    for (int of_ring = 0; of_ring < 2; of_ring++) {
        world w;
        make_world(&w);
        drop_ring(&w, true);
        go_to(&w, NV_GROUP_SUM);
        node *kept = of_ring != 0 ? w.weak : w.weak->slots[1];
        kept->count++;
        kept->is_tracked = false;
        end_cycle(&w);
        assert_int_equal(w.freed, of_ring != 0 ? 0 : GROUP - 1);
        assert_int_equal(kept->count, of_ring != 0 ? 2 : 1);
        if (of_ring != 0) {
            set_slot(&w, kept, 0, NULL); /* the ring is a chain */
            assert_int_equal(w.freed, GROUP - 2);
        }
        release_node(&w, kept);
        assert_int_equal(w.freed, GROUP);
        end_world(&w);
    }
}

/* Objects that cannot be reclaimed, or whose counts mean nothing, are a matter of the
 * ordinary verification. */
static void test_not_to_be_reclaimed(void **unused)
{
    (void)unused;
    for (int is_immortal = 0; is_immortal < 2; is_immortal++) {
        world w;
        make_world(&w);
        node *child = w.ring->slots[1];
        child->is_immortal = is_immortal != 0;
        child->count += child->is_immortal;
        child->is_uncollectable = is_immortal == 0;
        drop_ring(&w, false);
        go_to(&w, NV_GROUP_SUM);
        end_cycle(&w);
        assert_int_equal(w.freed, is_immortal != 0 ? GROUP - 1 : GROUP);
        assert_int_equal(w.reported, 0); /* nothing refers to it in the end */
        if (is_immortal != 0) {
            child->is_immortal = false;
            release_node(&w, child);
        }
        end_world(&w);
    }
}

/* A full collection, and the end, at any quantum from the first stage on. */
static void test_abandoned(void **unused)
{
    (void)unused;
    bool has_ended = false;
    int step = getenv("NEVE_TEST_QUICK") != NULL ? 97 : 17; /* odd: both ways to abandon it */
    for (int n = 0; !has_ended; n += step) {
        world w;
        make_world(&w);
        drop_ring(&w, true);
        go_to(&w, NV_GROUP_COLOUR);
        for (int i = 0; i < n && !has_ended; i++)
            has_ended = !quantum(&w);
        if (n % 2 == 0)
            assert_int_equal(neve_collect(w.collector, 2, NULL), NEVE_OK);
        else
            neve_collector_drain(w.collector);
        assert_int_equal(w.collector->later.items.count, 0);
        neve_collector_stats stats;
        neve_collector_get_stats(w.collector, &stats);
        assert_int_equal(stats.generations[2].collected, w.freed);
        if (w.freed == 0)
            assert_int_equal(neve_collect(w.collector, 2, NULL), NEVE_OK);
        assert_int_equal(w.freed, GROUP);
        assert_null(w.weak);
        end_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dead),
        cmocka_unit_test(test_finalizers),
        cmocka_unit_test(test_revived),
        cmocka_unit_test(test_alive),
        cmocka_unit_test(test_member_dies),
        cmocka_unit_test(test_member_untracked),
        cmocka_unit_test(test_not_to_be_reclaimed),
        cmocka_unit_test(test_abandoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
