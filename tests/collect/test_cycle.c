/* SPDX-License-Identifier: MIT */
/*
 * The phases of a cycle, a quantum at a time, and what may happen between two
 * quanta: suspects that are freed, references that move, a full collection, a
 * fork, an end. (tests/collect/oracle.h compares random programs; here each thing
 * happens at each phase.) Nothing is timed: a step with a budget of 0 is one
 * quantum.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "cycle_steps.h"

/* ---- a world: live objects, known to the roots or not, and old garbage ---- */

/* So many hidden ones hang together that they are a large group: it is filtered. */
enum { LIVE = 300, HIDDEN = 2200, RINGS = 60, RING = 5 };
enum { GARBAGE = RINGS * RING };

typedef struct world {
    journal j;
    neve_runtime *runtime;
    neve_object *root;           /* a bag of LIVE pairs */
    neve_object *hidden[HIDDEN]; /* held from here; the collector knows no root of them */
    neve_object *refs[RINGS];    /* weak, to one of each ring, without callbacks */
    neve_object *calling;        /* a live weak reference with a callback, to a ring */
    int called;
} world;

static void count_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)weakref;
    (void)arg;
    world *w = (world *)(void *)journal_of(runtime);
    w->called++;
}

/* The callback of a weak reference that is garbage itself. */
static void never_call(neve_runtime *runtime, neve_object *weakref, neve_object *arg)
{
    (void)runtime;
    (void)weakref;
    (void)arg;
    abort();
}

static void make_world(world *w)
{
    memset(w, 0, sizeof *w);
    w->runtime = new_incremental(&w->j);
    bag *root = new_bag(w->runtime, LIVE);
    for (int i = 0; i < LIVE; i++) {
        pair *p = new_pair(w->runtime, &pair_type, '\0');
        p->a = neve_retain(&root->var.base);
        bag_put(root, &p->base);
    }
    for (int i = 0; i < HIDDEN; i++) {
        pair *p = new_pair(w->runtime, &finalized_pair_type, '\0');
        p->a = i == 0 ? NULL : neve_retain(w->hidden[i - 1]);
        w->hidden[i] = &p->base;
    }
    w->root = &root->var.base;
    assert_int_equal(neve_root_add(w->runtime, &w->root), NEVE_OK);
    neve_object *rings[RINGS];
    for (int r = 0; r < RINGS; r++) {
        pair *first = new_pair(w->runtime, &finalized_pair_type, '\0'), *last = first;
        for (int i = 1; i < RING; i++) {
            pair *p = new_pair(w->runtime, i % 2 == 0 ? &finalized_pair_type : &pair_type, '\0');
            last->a = &p->base;
            last = p;
        }
        last->a = neve_retain(&first->base);
        /* Garbage that refers to what is alive must leave it alone. */
        last->b = neve_retain(r % 2 == 0 ? root->items[r] : w->hidden[r]);
        rings[r] = &first->base;
        w->refs[r] = neve_weakref_new(w->runtime, rings[r], NULL, NULL);
        assert_non_null(w->refs[r]);
        if (r == 7) {
            w->calling = neve_weakref_new(w->runtime, rings[r], count_call, NULL);
            first->b = neve_weakref_new(w->runtime, rings[r], never_call, NULL);
            assert_true(w->calling != NULL && first->b != NULL);
        }
    }
    make_old(w->runtime);
    for (int r = 0; r < RINGS; r++)
        neve_release(w->runtime, rings[r]);
    assert_int_equal(w->j.freed, 0);
}

/* All of the garbage is gone, each finalizer ran once, nothing else was touched. */
static void check_garbage_gone(world *w)
{
    enum { FINALIZED = RINGS * (RING / 2 + 1) };
    assert_int_equal(w->j.freed, GARBAGE);
    assert_int_equal(w->j.finalized, FINALIZED);
    assert_int_equal(w->called, 1);
    for (int r = 0; r < RINGS; r++)
        assert_null(neve_weakref_get(w->runtime, w->refs[r]));
    const bag *root = (const bag *)w->root;
    for (int i = 0; i < LIVE; i++)
        assert_int_equal(neve_count(root->items[i]), 1);
    for (int i = 0; i < HIDDEN; i++)
        assert_int_equal(neve_count(w->hidden[i]), i == HIDDEN - 1 ? 1 : 2);
    /* The bag is a large block. */
    assert_int_equal(live_objects(w->runtime), LIVE + HIDDEN + RINGS + 1);
    check_runtime(w->runtime);
}

static void end_world(world *w)
{
    neve_root_remove(w->runtime, &w->root);
    neve_release(w->runtime, w->root);
    for (int i = 0; i < HIDDEN; i++)
        neve_release(w->runtime, w->hidden[i]);
    for (int r = 0; r < RINGS; r++)
        neve_release(w->runtime, w->refs[r]);
    neve_release(w->runtime, w->calling);
    (void)collect(w->runtime, 2);
    assert_int_equal(live_objects(w->runtime), 0);
    neve_runtime_destroy(w->runtime);
}

/* ---- a cycle that nobody disturbs ---- */

static void test_phases(void **unused)
{
    (void)unused;
    static world w;
    make_world(&w);
    bool seen[STOPS] = {false};
    begin_cycle(w.runtime);
    assert_true(cycle_stats(w.runtime).is_running);
    uint64_t slices = cycle_stats(w.runtime).slices;
    nv_phase before = NV_CYCLE_IDLE;
    int freed = 0;
    bool has_more;
    do {
        nv_phase phase = phase_of(w.runtime);
        assert_true(phase >= before || phase == NV_CYCLE_IDLE);
        before = phase;
        seen[phase] = true;
        seen[CLEARING] |= is_at(w.runtime, CLEARING);
        check_runtime(w.runtime);
        /* Until it is verified, nothing happens to anything. */
        assert_true(phase >= NV_CYCLE_VERIFY || w.j.finalized + w.j.freed + w.called == 0);
        has_more = quantum(w.runtime);
        assert_int_equal(cycle_stats(w.runtime).slices, ++slices);
        assert_true(w.j.freed - freed <= 64);
        freed = w.j.freed;
    } while (has_more);
    for (int stop = NV_CYCLE_WHITEN; stop < STOPS; stop++)
        assert_true(seen[stop]);
    check_garbage_gone(&w);
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(w.runtime), &stats);
    assert_int_equal(stats.cycle.cycles, 1);
    assert_int_equal(stats.cycle.abandoned, 0);
    assert_false(stats.cycle.is_running);
    assert_int_equal(stats.condemned, 0);
    /* The garbage and its weak reference; the hidden ones and the weak references
     * of the program are suspects too, and found alive. */
    assert_int_equal(stats.cycle.collected, GARBAGE + 1);
    assert_int_equal(stats.cycle.suspects, GARBAGE + 1 + HIDDEN + RINGS + 1);
    assert_int_equal(stats.cycle.false_suspects, HIDDEN + RINGS + 1);
    /* One ring with two weak references that have callbacks, of which one is live:
     * the filter finds that out. */
    assert_int_equal(stats.cycle.largest_group, RING + 1);
    assert_int_equal(stats.generations[2].collections, 1);
    assert_int_equal(stats.generations[2].collected, GARBAGE + 1);
    /* Nothing has changed since. */
    assert_false(quantum(w.runtime));
    assert_int_equal(cycle_stats(w.runtime).slices, slices);
    end_world(&w);
}

/* The phases of the next cycle in their order, each once for each time that it begins. */
static size_t note_phases(world *w, nv_phase *phases, size_t room)
{
    size_t n = 0;
    begin_cycle(w->runtime);
    do {
        if (n == 0 || phases[n - 1] != phase_of(w->runtime)) {
            assert_true(n < room);
            phases[n++] = phase_of(w->runtime);
        }
    } while (quantum(w->runtime));
    return n;
}

static void drop_large_ring(neve_runtime *runtime)
{
    bag *first = new_bag(runtime, 1), *last = first;
    for (unsigned i = 0; i < NV_LARGE_GROUP; i++) {
        bag *next = new_bag(runtime, 1);
        bag_put(last, (neve_object *)next);
        last = next;
    }
    bag_put(last, neve_retain((neve_object *)first));
    (void)collect(runtime, 1); /* so that it dies old */
    neve_release(runtime, (neve_object *)first);
}

/* What is alive in a large group has it taken apart; a large group that is garbage as a whole
 * is grouped once. */
static void test_large_groups_are_grouped_again_if_alive(void **unused)
{
    (void)unused;
    static const nv_phase tangled[] = {NV_CYCLE_WHITEN, NV_CYCLE_MARK,        NV_CYCLE_NUMBER,
                                       NV_CYCLE_GROUP,  NV_CYCLE_RESCUE,      NV_CYCLE_UNTANGLE,
                                       NV_CYCLE_SEVER,  NV_CYCLE_GROUP_AGAIN, NV_CYCLE_VERIFY};
    static const nv_phase plain[] = {NV_CYCLE_WHITEN, NV_CYCLE_MARK,   NV_CYCLE_NUMBER,
                                     NV_CYCLE_GROUP,  NV_CYCLE_RESCUE, NV_CYCLE_VERIFY};
    static world w;
    nv_phase phases[32];
    make_world(&w);
    assert_in_range(note_phases(&w, phases, 32), 11, 32);
    assert_memory_equal(phases, tangled, sizeof tangled);
    check_garbage_gone(&w);
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(w.runtime), &stats);
    assert_int_equal(stats.cycle.largest_group, RING + 1);
    end_world(&w);

    neve_runtime *runtime = new_incremental(NULL);
    w.runtime = runtime;
    drop_large_ring(runtime);
    assert_in_range(note_phases(&w, phases, 32), 8, 32);
    assert_memory_equal(phases, plain, sizeof plain);
    neve_collector_get_stats(neve_runtime_collector(runtime), &stats);
    assert_int_equal(stats.cycle.collected, NV_LARGE_GROUP + 1);
    neve_runtime_destroy(runtime);
}

/* ---- one thing at each phase ---- */

typedef void (*action)(world *w, int stop);

static void at_each_stop(action act)
{
    static world w;
    for (int stop = NV_CYCLE_WHITEN; stop < STOPS; stop++) {
        make_world(&w);
        go_to(w.runtime, stop);
        act(&w, stop);
    }
}

static void then_destroy(world *w, int stop)
{
    (void)stop;
    if (IS_SANITIZED) { /* so that no leak is hidden by what is still referred to */
        for (int i = 0; i < HIDDEN; i++)
            w->hidden[i] = NULL;
    }
    neve_runtime_destroy(w->runtime);
    assert_int_equal(w->j.freed, GARBAGE);
    assert_int_equal(w->called, 1);
}

static void then_collect(world *w, int stop)
{
    (void)collect(w->runtime, 2);
    check_garbage_gone(w);
    assert_int_equal(cycle_stats(w->runtime).cycles, 0);
    assert_int_equal(cycle_stats(w->runtime).abandoned, 1);
    assert_int_equal(neve_runtime_collector(w->runtime)->later.items.count, 0);
    begin_cycle(w->runtime);
    end_cycle(w->runtime);
    assert_int_equal(cycle_stats(w->runtime).suspects, HIDDEN + RINGS + 1);
    (void)stop;
    end_world(w);
}

static void then_freeze(world *w, int stop)
{
    neve_collector *c = neve_runtime_collector(w->runtime);
    assert_int_equal(neve_collector_freeze(c), NEVE_OK);
    assert_int_equal(cycle_stats(w->runtime).abandoned, 1);
    size_t frozen = neve_collector_frozen_count(c);
    assert_int_equal(frozen, live_objects(w->runtime) + 1); /* the bag */
    check_runtime(w->runtime);
    /* A cycle with everything frozen finds nothing. */
    begin_cycle(w->runtime);
    end_cycle(w->runtime);
    assert_int_equal(cycle_stats(w->runtime).suspects, 0);
    assert_int_equal(neve_collector_frozen_count(c), frozen);
    /* There is no large group then, and nothing to clear. */
    bool is_reached =
        stop < (int)NV_CYCLE_UNTANGLE || (stop > (int)NV_CYCLE_GROUP_AGAIN && stop < CLEARING);
    go_to(w->runtime, is_reached ? stop : (int)NV_CYCLE_VERIFY);
    assert_int_equal(neve_collector_unfreeze(c), NEVE_OK);
    assert_int_equal(cycle_stats(w->runtime).abandoned, 2);
    begin_cycle(w->runtime);
    end_cycle(w->runtime);
    check_garbage_gone(w);
    end_world(w);
}

static void then_change_mode(world *w, int stop)
{
    neve_collector *c = neve_runtime_collector(w->runtime);
    assert_int_equal(neve_collector_set_mode(c, NEVE_MODE_GENERATIONAL), NEVE_OK);
    assert_false(cycle_stats(w->runtime).is_running);
    assert_false(quantum(w->runtime));
    check_runtime(w->runtime);
    if (stop % 2 == 0) {
        (void)collect(w->runtime, 2);
    } else {
        assert_int_equal(neve_collector_set_mode(c, NEVE_MODE_INCREMENTAL), NEVE_OK);
        begin_cycle(w->runtime);
        end_cycle(w->runtime);
    }
    check_garbage_gone(w);
    end_world(w);
}

static void then_drain(world *w, int stop)
{
    neve_collector *c = neve_runtime_collector(w->runtime);
    neve_collector_drain(c);
    assert_int_equal(c->later.items.count, 0);
    assert_int_equal(cycle_stats(w->runtime).abandoned, 1);
    (void)stop;
    begin_cycle(w->runtime);
    end_cycle(w->runtime);
    check_garbage_gone(w);
    end_world(w);
}

/* Suspects that the program takes apart by way of their weak references, and others
 * at their addresses, which get old while the cycle goes on. */
static void then_free_and_reuse(world *w, int stop)
{
    for (int r = 0; r < RINGS; r++) {
        pair *first = (pair *)neve_weakref_get(w->runtime, w->refs[r]);
        if (first == NULL)
            continue; /* condemned, or gone */
        neve_clear_slot(w->runtime, &first->b);
        neve_clear_slot(w->runtime, &first->a);
        neve_release(w->runtime, &first->base);
    }
    if (stop < (int)NV_CYCLE_VERIFY)
        assert_int_equal(w->j.freed, GARBAGE);
    static neve_object *made[GARBAGE];
    for (int i = 0; i < GARBAGE; i++) {
        pair *p = new_pair(w->runtime, &pair_type, '\0');
        p->a = neve_retain(((bag *)w->root)->items[i]);
        made[i] = &p->base;
    }
    (void)collect(w->runtime, 0);
    (void)quantum(w->runtime);
    (void)collect(w->runtime, 1);
    end_cycle(w->runtime);
    for (int i = 0; i < GARBAGE; i++) {
        assert_int_equal(neve_count(made[i]), 1);
        assert_int_equal(neve_collector_generation_of(neve_runtime_collector(w->runtime), made[i]),
                         2);
        neve_release(w->runtime, made[i]);
    }
    w->j.freed -= GARBAGE;
    check_garbage_gone(w);
    end_world(w);
}

/* What only an unmarked object referred to moves to one that is marked already, and
 * back, while marking and filtering look at one after the other. */
static void then_hide(world *w, int stop)
{
    bag *root = (bag *)w->root;
    pair *hidden = (pair *)w->hidden[HIDDEN - 1];
    pair *marked = (pair *)root->items[0];
    (void)stop;
    for (unsigned i = 0; i == 0 || phase_of(w->runtime) != NV_CYCLE_IDLE; i++) {
        /* From the chain of hidden ones, from its end on, to the root and back. */
        neve_object *moving;
        if (i % 2 == 0) {
            moving = hidden->a;
            hidden->a = NULL;
            marked->b = moving;
        } else {
            moving = marked->b;
            marked->b = NULL;
            hidden->a = moving;
            hidden = hidden->a == NULL ? hidden : (pair *)w->hidden[HIDDEN - 1];
        }
        assert_true(moving != NULL && neve_count(moving) == 2);
        (void)quantum(w->runtime);
    }
    if (marked->b != NULL) {
        hidden->a = marked->b;
        marked->b = NULL;
    }
    check_garbage_gone(w);
    end_world(w);
}

/* Garbage that a weak reference gives back at that phase is alive again. */
static void then_revive(world *w, int stop)
{
    neve_object *revived[RINGS];
    int n = 0;
    for (int r = 0; r < RINGS; r++) {
        neve_object *got = neve_weakref_get(w->runtime, w->refs[r]);
        if (got != NULL)
            revived[n++] = got;
    }
    assert_true(n == RINGS || stop >= (int)NV_CYCLE_VERIFY);
    assert_true(n == 0 || stop <= (int)NV_CYCLE_VERIFY);
    if (is_at(w->runtime, CLEARING))
        assert_int_equal(w->j.finalized > 0, true);
    end_cycle(w->runtime);
    assert_int_equal(w->j.freed, GARBAGE - n * RING);
    if (n > 0)
        assert_int_equal(w->j.finalized, 0);
    for (int i = 0; i < n; i++)
        neve_release(w->runtime, revived[i]);
    begin_cycle(w->runtime);
    end_cycle(w->runtime);
    check_garbage_gone(w);
    end_world(w);
}

/* Middle collections go on during a cycle, and what they promote is left alone. */
static void then_promote(world *w, int stop)
{
    neve_object *kept[50];
    (void)stop;
    for (int i = 0; i < 50; i++) {
        pair *a = new_pair(w->runtime, &pair_type, '\0');
        pair *b = new_pair(w->runtime, &pair_type, '\0');
        a->a = neve_retain(&b->base);
        b->a = neve_retain(&a->base);
        b->b = neve_retain(w->hidden[i]);
        neve_release(w->runtime, &b->base);
        kept[i] = &a->base;
    }
    (void)due(w->runtime, 1);
    while (phase_of(w->runtime) != NV_CYCLE_IDLE)
        (void)quantum(w->runtime);
    assert_int_equal(cycle_stats(w->runtime).cycles, 1);
    assert_int_equal(w->j.freed, GARBAGE);
    for (int i = 0; i < 50; i++)
        neve_release(w->runtime, kept[i]);
    begin_cycle(w->runtime);
    end_cycle(w->runtime);
    w->j.freed -= 100;
    check_garbage_gone(w);
    end_world(w);
}

static int go_on_in_child(world *w, int stop)
{
    neve_collector *c = neve_runtime_collector(w->runtime);
    neve_runtime_after_fork_child(w->runtime);
    char message[256];
    if (cycle_stats(w->runtime).is_running)
        return 1;
    for (int i = 0; i < 500; i++) {
        pair *p = (pair *)neve_object_new(w->runtime, &pair_type);
        if (p == NULL)
            return 2;
        p->a = neve_retain(w->hidden[i]);
        p->b = neve_retain(&p->base);
        neve_release(w->runtime, &p->base);
    }
    if (stop % 2 == 0) {
        if (neve_collect(c, 2, NULL) != NEVE_OK)
            return 3;
    } else {
        while (c->later.items.count > 0)
            (void)neve_step(c, 0, NULL);
        c->cycle.changes = 1;
        while (neve_step(c, 0, NULL))
            continue;
    }
    if (w->j.freed != GARBAGE + 500 || w->called != 1)
        return 4;
    if (neve_collector_check(c, message, sizeof message) != NEVE_OK)
        return 5;
    for (int i = 0; i < HIDDEN; i++)
        if (neve_count(w->hidden[i]) != (i == HIDDEN - 1 ? 1u : 2u))
            return 6;
    neve_runtime_destroy(w->runtime);
    return 0;
}

static void then_fork(world *w, int stop)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(go_on_in_child(w, stop));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    end_cycle(w->runtime);
    check_garbage_gone(w);
    end_world(w);
}

#define AT_EACH_STOP(name, act)                                                                    \
    static void name(void **unused)                                                                \
    {                                                                                              \
        (void)unused;                                                                              \
        at_each_stop(act);                                                                         \
    }
AT_EACH_STOP(test_destroy, then_destroy)
AT_EACH_STOP(test_full_collection, then_collect)
AT_EACH_STOP(test_freeze, then_freeze)
AT_EACH_STOP(test_change_of_mode, then_change_mode)
AT_EACH_STOP(test_drain, then_drain)
AT_EACH_STOP(test_freed_suspects_and_reused_addresses, then_free_and_reuse)
AT_EACH_STOP(test_references_that_move, then_hide)
AT_EACH_STOP(test_weak_references_that_revive, then_revive)
AT_EACH_STOP(test_promotion, then_promote)
AT_EACH_STOP(test_fork, then_fork)

/* ---- shapes ---- */

/* Deep lists: nothing recurses, nothing cascades, live or dead. */
static void test_deep_lists(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    int n = is_slow() ? 6000 : 100000;
    neve_object *lists[3]; /* rooted, hidden, garbage */
    for (int l = 0; l < 3; l++) {
        pair *first = new_pair(runtime, &pair_type, '\0'), *last = first;
        for (int i = 1; i < n; i++) {
            pair *p = new_pair(runtime, &pair_type, '\0');
            last->a = &p->base;
            last = p;
        }
        if (l == 2)
            last->a = neve_retain(&first->base);
        lists[l] = &first->base;
    }
    assert_int_equal(neve_root_add(runtime, &lists[0]), NEVE_OK);
    make_old(runtime);
    neve_release(runtime, lists[2]);
    begin_cycle(runtime);
    int freed = 0;
    do {
        assert_true(j.freed - freed <= 64);
        freed = j.freed;
    } while (quantum(runtime));
    assert_int_equal(j.freed, n);
    assert_int_equal(cycle_stats(runtime).suspects, 2 * n);
    assert_int_equal(cycle_stats(runtime).largest_group, n);
    assert_int_equal(live_objects(runtime), 2 * n);
    neve_root_remove(runtime, &lists[0]);
    neve_release(runtime, lists[0]);
    neve_release(runtime, lists[1]);
    assert_int_equal(live_objects(runtime), 0);
    neve_runtime_destroy(runtime);
}

/* Goes on until the object is being traversed, and not for the first time. */
static bool go_into(neve_runtime *runtime, const void *object, nv_phase phase)
{
    const neve_collector *c = neve_runtime_collector(runtime);
    while (c->cycle.phase <= phase) {
        if (phase == NV_CYCLE_MARK && c->mark_object == object && c->mark_cursor > 0)
            return true;
        if (c->cycle.phase == phase && c->cycle.cursor > 0)
            return true;
        if (!quantum(runtime))
            break;
    }
    return false;
}

/* Large objects that shrink, or die, between two pieces. */
static void test_large_objects_in_pieces(void **unused)
{
    (void)unused;
    enum { ITEMS = 6000 };
    static const struct {
        nv_phase phase;
        bool is_garbage;
    } cases[] = {{NV_CYCLE_MARK, false},
                 {NV_CYCLE_GROUP, false},
                 {NV_CYCLE_GROUP, true},
                 {NV_CYCLE_GROUP_AGAIN, true}};
    for (unsigned p = 0; p < sizeof cases / sizeof cases[0]; p++)
        for (int dies = 0; dies < 2; dies++) {
            journal j;
            neve_runtime *runtime = new_incremental(&j);
            bag *large = new_bag(runtime, ITEMS);
            for (int i = 0; i < ITEMS - 1; i++) {
                pair *item = new_pair(runtime, &pair_type, '\0');
                item->a = i % 100 == 0 ? neve_retain(&large->var.base) : NULL;
                bag_put(large, &item->base);
            }
            neve_object *ref = neve_weakref_new(runtime, &large->var.base, NULL, NULL);
            neve_object *held = &large->var.base, *root = NULL;
            if (cases[p].phase == NV_CYCLE_MARK)
                root = neve_retain(held);
            /* Alive, and in the group of what refers to it. */
            pair *alive = new_pair(runtime, &pair_type, '\0');
            ((pair *)large->items[1])->b = neve_retain(&alive->base);
            assert_int_equal(neve_root_add(runtime, &root), NEVE_OK);
            make_old(runtime);
            if (cases[p].is_garbage) {
                neve_release(runtime, held);
                held = NULL;
            }
            begin_cycle(runtime);
            assert_true(go_into(runtime, large, cases[p].phase));
            if (held == NULL)
                held = neve_weakref_get(runtime, ref);
            assert_ptr_equal(held, large);
            bag_shrink(runtime, large, dies ? 0 : 10);
            assert_int_equal(j.freed, dies ? ITEMS - 1 : ITEMS - 11);
            if (dies) { /* and another comes to lie there, perhaps */
                neve_clear_slot(runtime, &root);
                neve_clear_slot(runtime, &held);
                held = &new_bag(runtime, ITEMS)->var.base;
                (void)collect(runtime, 1);
            }
            end_cycle(runtime);
            assert_int_equal(j.freed, dies ? ITEMS - 1 : ITEMS - 11);
            assert_int_equal(((bag *)held)->count, dies ? 0 : 10);
            check_runtime(runtime);
            neve_root_remove(runtime, &root);
            neve_release(runtime, root);
            neve_release(runtime, held);
            neve_release(runtime, ref);
            (void)collect(runtime, 2);
            assert_int_equal(j.freed, ITEMS - 1);
            assert_int_equal(neve_count(&alive->base), 1);
            neve_release(runtime, &alive->base);
            assert_int_equal(j.freed, ITEMS);
            neve_runtime_destroy(runtime);
        }
}

/* A weak reference that is garbage, of one ring to another which is: its callback is not called,
 * though the rings are verified one at a time, the other first or last. */
static void test_callbacks_between_groups(void **unused)
{
    (void)unused;
    for (int order = 0; order < 2; order++) {
        journal j;
        neve_runtime *runtime = new_incremental(&j);
        neve_runtime_collector(runtime)->cycle.large_above = 1;
        pair *rings[2];
        for (int r = 0; r < 2; r++) {
            rings[r] = new_pair(runtime, &pair_type, '\0');
            pair *other = new_pair(runtime, &pair_type, '\0');
            rings[r]->a = &other->base;
            other->a = neve_retain(&rings[r]->base);
        }
        neve_object *ref = neve_weakref_new(runtime, &rings[!order]->base, never_call, NULL);
        assert_non_null(ref);
        rings[order]->b = ref;
        make_old(runtime);
        for (int r = 0; r < 2; r++)
            neve_release(runtime, &rings[r]->base);
        begin_cycle(runtime);
        end_cycle(runtime);
        assert_int_equal(j.freed, 4);
        assert_int_equal(live_objects(runtime), 0);
        assert_int_equal(cycle_stats(runtime).largest_group, 5);
        neve_runtime_destroy(runtime);
    }
}

/* Rings whose members lie in different chunks, some of them no arenas. */
static void test_rings_across_chunks(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    static neve_type huge;
    huge = pair_type;
    huge.size = 5000;
    enum { STRIDE = 16384, PER_RING = 4, LARGE = 16 };
    size_t n = (size_t)STRIDE * PER_RING;
    neve_object **all = malloc((n + LARGE) * sizeof *all);
    assert_non_null(all);
    for (size_t i = 0; i < n + LARGE; i++)
        all[i] = &new_pair(runtime, i < n ? &pair_type : &huge, '\0')->base;
    /* Every other ring is garbage; a large object is a member of each of the first. */
    for (size_t i = 0; i < STRIDE; i++)
        for (size_t k = 0; k < PER_RING; k++) {
            pair *p = (pair *)all[i + k * STRIDE];
            p->a = neve_retain(all[i + (k + 1) % PER_RING * STRIDE]);
            if (k == 0 && i < LARGE) {
                p->b = neve_retain(all[n + i]);
                ((pair *)all[n + i])->a = neve_retain(&p->base);
            }
        }
    make_old(runtime);
    size_t garbage = 0;
    for (size_t i = 0; i < n + LARGE; i++) {
        size_t ring = i < n ? i % STRIDE : i - n;
        if (ring % 2 == 0) {
            neve_release(runtime, all[i]);
            garbage++;
        }
    }
    assert_int_not_equal((uintptr_t)all[0] >> NV_CHUNK_SHIFT,
                         (uintptr_t)all[n - 1] >> NV_CHUNK_SHIFT);
    begin_cycle(runtime);
    end_cycle(runtime);
    assert_int_equal(j.freed, garbage);
    assert_int_equal(cycle_stats(runtime).collected, garbage);
    assert_int_equal(cycle_stats(runtime).largest_group, PER_RING + 1);
    for (size_t i = 0; i < n + LARGE; i++) {
        size_t ring = i < n ? i % STRIDE : i - n;
        if (ring % 2 != 0)
            neve_release(runtime, all[i]);
    }
    begin_cycle(runtime);
    end_cycle(runtime);
    assert_int_equal(live_objects(runtime), 0);
    assert_int_equal(j.freed, n + LARGE);
    free(all);
    neve_runtime_destroy(runtime);
}

static int count_walked(void *object, void *arg)
{
    (void)object;
    ++*(size_t *)arg;
    return 0;
}

/* A group that is larger than a batch is verified in one go and said so, and its
 * clearing goes on in slices while the program allocates and collects. */
static void test_large_group_is_cleared_in_slices(void **unused)
{
    (void)unused;
    enum { GROUP = 5000, MADE = 20 };
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    neve_collector *c = neve_runtime_collector(runtime);
    pair *first = new_pair(runtime, &finalized_pair_type, '\0'), *last = first;
    for (int i = 1; i < GROUP; i++) {
        pair *p = new_pair(runtime, &finalized_pair_type, '\0');
        last->a = &p->base;
        last = p;
    }
    last->a = neve_retain(&first->base);
    neve_object *ref = neve_weakref_new(runtime, &first->base, NULL, NULL);
    make_old(runtime);
    neve_release(runtime, &first->base);
    begin_cycle(runtime);
    neve_collector_stats stats;
    do {
        assert_true(quantum(runtime));
        neve_collector_get_stats(c, &stats);
    } while (stats.condemned == 0);
    assert_int_equal(stats.condemned, GROUP);
    assert_int_equal(stats.cycle.largest_group, GROUP);
    assert_int_equal(stats.cycle.collected, GROUP);
    assert_int_equal(j.finalized, GROUP);
    assert_int_equal(j.freed, 0);
    neve_object *kept = NULL;
    size_t before = stats.condemned, made = 0;
    for (unsigned slices = 0; stats.condemned > 0; slices++) {
        assert_null(neve_weakref_get(runtime, ref));
        size_t walked = 0;
        (void)neve_collector_walk(c, 2, count_walked, &walked);
        assert_true(walked <= made + 1); /* the weak reference, and what got old */
        for (int i = 0; i < MADE; i++) {
            pair *p = new_pair(runtime, &pair_type, '\0');
            p->a = kept;
            kept = &p->base;
            make_garbage_ring(runtime, &pair_type, '\0', '\0');
        }
        made += MADE;
        if (slices % 4 == 3)
            (void)collect(runtime, (int)(slices / 4 % 2));
        else
            assert_true(quantum(runtime));
        check_runtime(runtime);
        neve_collector_get_stats(c, &stats);
        assert_true(stats.condemned <= before && before - stats.condemned <= 64);
        before = stats.condemned;
    }
    assert_true(made > GROUP / 64 * MADE);
    end_cycle(runtime);
    (void)collect(runtime, 1);
    assert_int_equal(j.freed, GROUP + 2 * made);
    assert_int_equal(live_objects(runtime), made + 1);
    neve_release(runtime, kept);
    neve_release(runtime, ref);
    neve_runtime_destroy(runtime);
}

/* Objects that nothing can clear are reported, and live on. */
static void test_uncollectable(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_incremental(&j);
    pair *a = new_pair(runtime, &unclearable_pair_type, '\0');
    pair *b = new_pair(runtime, &unclearable_pair_type, '\0');
    a->a = &b->base;
    b->a = neve_retain(&a->base);
    make_old(runtime);
    neve_release(runtime, &a->base);
    begin_cycle(runtime);
    end_cycle(runtime);
    assert_int_equal(neve_uncollectable_count(runtime), 2);
    neve_collector_stats stats;
    neve_collector_get_stats(neve_runtime_collector(runtime), &stats);
    assert_int_equal(stats.generations[2].uncollectable, 2);
    assert_int_equal(stats.generations[2].collected, 0);
    assert_int_equal(stats.cycle.collected, 0);
    assert_int_equal(j.freed, 0);
    neve_release(runtime, a->a);
    a->a = NULL;
    neve_uncollectable_clear(runtime);
    assert_int_equal(j.freed, 2);
    neve_runtime_destroy(runtime);
}

/* ---- want of memory ---- */

/* What the collector keeps from one collection for the next. */
static void forget_memory(neve_collector *c)
{
    nv_vec_destroy(c->heap, &c->candidates);
    nv_vec_destroy(c->heap, &c->young);
    nv_vec_destroy(c->heap, &c->stack);
    nv_vec_destroy(c->heap, &c->later.items);
    nv_vec_destroy(c->heap, &c->now.items);
    nv_heap_unmap(c->heap, c->refs, c->refs_bytes);
    nv_heap_unmap(c->heap, c->map.buckets, c->map.bucket_bytes);
    c->refs = NULL;
    c->map.buckets = NULL;
    c->refs_bytes = c->map.bucket_bytes = 0;
}

/* Every allocation of a cycle fails once, the collection before it included. */
static void test_no_memory(void **unused)
{
    (void)unused;
    if (NEVE_DEBUG == 0) {
        print_message("# builds without NEVE_DEBUG cannot fail allocations on purpose\n");
        return;
    }
    static world w;
    uint64_t n = 0, failures = 0;
    bool ran_through;
    do {
        make_world(&w);
        neve_heap *heap = neve_runtime_heap(w.runtime);
        neve_collector *c = neve_runtime_collector(w.runtime);
        /* Young garbage that hangs on old garbage: with neither alone it goes. */
        pair *old = (pair *)neve_weakref_get(w.runtime, w.refs[0]);
        pair *young = new_pair(w.runtime, &pair_type, '\0');
        young->a = &old->base;
        old->b = &young->base;
        c->cycle.changes = 1;
        forget_memory(c);
        assert_int_equal(neve_heap_fail_alloc_at(heap, ++n), NEVE_OK);
        c->is_stressed = true;
        uint64_t failed = c->failed;
        (void)neve_step(c, 0, NULL);
        c->is_stressed = false;
        /* Nothing began if the young ones could not be collected first. */
        if (c->failed != failed)
            assert_int_equal(c->cycle.phase, NV_CYCLE_IDLE);
        for (unsigned steps = 0; steps < 10000 && c->cycle.phase != NV_CYCLE_IDLE; steps++)
            (void)quantum(w.runtime);
        assert_int_equal(c->cycle.phase, NV_CYCLE_IDLE);
        ran_through = heap->fail_in != 0;
        assert_int_equal(neve_heap_fail_alloc_at(heap, 0), NEVE_OK);
        failures += c->failed;
        /* What was garbage when the cycle began is gone, or it was said that something
         * failed. */
        if (c->failed == 0)
            assert_int_equal(w.j.freed, GARBAGE + 1);
        check_runtime(w.runtime);
        while (quantum(w.runtime))
            continue;
        begin_cycle(w.runtime);
        end_cycle(w.runtime);
        w.j.freed--;
        check_garbage_gone(&w);
        end_world(&w);
    } while (!ran_through);
    assert_true(failures >= 3);
    print_message("%llu allocations of a cycle, %llu of which it could not do without\n",
                  (unsigned long long)n - 1, (unsigned long long)failures);
}

static void check_failed(void *ctx, const neve_collection *collection, neve_status status)
{
    assert_int_equal(status, NEVE_ENOMEM);
    assert_int_equal(collection->collected, 0);
    ++*(int *)ctx;
}

/* What is told of as a collection that failed has reclaimed nothing: no slice follows it. */
static void test_no_slice_after_failure(void **unused)
{
    (void)unused;
    if (NEVE_DEBUG == 0)
        return;
    static world w;
    make_world(&w);
    go_to(w.runtime, NV_CYCLE_VERIFY);
    neve_collector *c = neve_runtime_collector(w.runtime);
    int failures = 0;
    neve_listener listener = {.failed = check_failed, .ctx = &failures};
    neve_collector_set_listener(c, &listener);
    make_garbage_ring(w.runtime, &pair_type, '\0', '\0');
    forget_memory(c);
    assert_int_equal(neve_heap_fail_alloc_at(neve_runtime_heap(w.runtime), 1), NEVE_OK);
    assert_int_equal(neve_collect_due(c, 0, NULL), NEVE_ENOMEM);
    assert_int_equal(failures, 1);
    assert_int_equal(c->later.items.count, 0);
    assert_int_equal(c->cycle.phase, NV_CYCLE_VERIFY);
    end_cycle(w.runtime);
    (void)collect(w.runtime, 1);
    assert_int_equal(w.j.freed, GARBAGE + 2);
    w.j.freed -= 2;
    check_garbage_gone(&w);
    end_world(&w);
}

/* What is forgotten between two slices may be freed before the marking comes to it. */
static void test_forgotten_objects_are_not_grey(void **unused)
{
    (void)unused;
    neve_runtime *runtime = new_incremental(NULL);
    neve_collector *c = neve_runtime_collector(runtime);
    pair *p = new_pair(runtime, &pair_type, '\0');
    make_old(runtime);
    go_to(runtime, NV_CYCLE_MARK);
    const nv_chunk *chunk = nv_chunk_find(neve_runtime_heap(runtime), p);
    assert_true(nv_mark_is_white(c, p));
    nv_mark_blacken(c, p);
    nv_mark_turn_grey(c, nv_chunk_find(c->heap, p), p);
    neve_collector_forget(c, p);
    assert_int_equal(neve_collector_generation_of(c, p), 0);
    assert_int_equal(neve_runtime_heap(runtime)->old_objects, 0);
    assert_false(nv_bit_is_set(chunk->grey, nv_granule(p)));
    neve_release(runtime, &p->base);
    end_cycle(runtime);
    assert_int_equal(live_objects(runtime), 0);

    p = new_pair(runtime, &pair_type, '\0');
    make_old(runtime);
    go_to(runtime, NV_CYCLE_MARK);
    neve_collector_forget_all(c);
    assert_int_equal(phase_of(runtime), NV_CYCLE_IDLE);
    assert_false(neve_runtime_heap(runtime)->marking);
    neve_release(runtime, &p->base);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_phases),
        cmocka_unit_test(test_large_groups_are_grouped_again_if_alive),
        cmocka_unit_test(test_destroy),
        cmocka_unit_test(test_full_collection),
        cmocka_unit_test(test_freeze),
        cmocka_unit_test(test_change_of_mode),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_freed_suspects_and_reused_addresses),
        cmocka_unit_test(test_forgotten_objects_are_not_grey),
        cmocka_unit_test(test_references_that_move),
        cmocka_unit_test(test_weak_references_that_revive),
        cmocka_unit_test(test_promotion),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_deep_lists),
        cmocka_unit_test(test_large_objects_in_pieces),
        cmocka_unit_test(test_callbacks_between_groups),
        cmocka_unit_test(test_rings_across_chunks),
        cmocka_unit_test(test_large_group_is_cleared_in_slices),
        cmocka_unit_test(test_uncollectable),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_slice_after_failure),
    };
    setenv("NEVE_GC_STRESS", "0", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
