/* SPDX-License-Identifier: MIT */
/*
 * Finalizers of one collection run holders first: whoever reaches another that does not
 * reach it is finalized before it, in whatever order they lie in memory.
 */
#include "object/support.h"

#define MOST 2600 /* more than a cycle verifies without group.c */
#define NONE MOST

static struct {
    size_t count;
    pair *nodes[MOST]; /* in the order of a topological sort; node 0 is in a cycle of its own */
    uint16_t to[MOST][2];
    bool is_final[MOST];
    uint32_t position[MOST]; /* when it was finalized, from 1 on */
    uint32_t finalized;
    uint64_t reached[MOST / 64 + 1];
} graph;

static uint32_t random_below(uint64_t *state, uint32_t n)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*state >> 33) % n);
}

static void note_position(neve_runtime *runtime, pair *self)
{
    (void)runtime;
    graph.position[self->store - (neve_object **)0] = ++graph.finalized;
}

static void refer(neve_runtime *runtime, size_t from, size_t to, bool is_new)
{
    pair *p = graph.nodes[from];
    neve_object *object = &graph.nodes[to]->base;
    (void)runtime;
    if (p->a == NULL)
        p->a = is_new ? object : neve_retain(object);
    else
        p->b = is_new ? object : neve_retain(object);
    graph.to[from][graph.to[from][0] == NONE ? 0 : 1] = (uint16_t)to;
}

/* A graph without cycles but for node 0, which refers to itself, and on which all hang.
 * Memory knows nothing of the order: nodes are made in a random one. */
static void make_graph(neve_runtime *runtime, size_t n, uint64_t seed)
{
    uint64_t state = seed;
    static uint16_t order[MOST];
    memset(&graph, 0, sizeof graph);
    graph.count = n;
    for (size_t i = 0; i < n; i++)
        order[i] = (uint16_t)i;
    for (size_t i = n; i > 1; i--) {
        size_t other = random_below(&state, (uint32_t)i);
        uint16_t swap = order[i - 1];
        order[i - 1] = order[other];
        order[other] = swap;
    }
    for (size_t i = 0; i < n; i++) {
        size_t at = order[i];
        graph.is_final[at] = random_below(&state, 3) != 0;
        pair *p = new_pair(runtime, graph.is_final[at] ? &finalized_pair_type : &pair_type, '\0');
        p->on_finalize = note_position;
        p->store = (neve_object **)0 + at;
        graph.nodes[at] = p;
        graph.to[at][0] = graph.to[at][1] = NONE;
    }
    graph.nodes[0]->a = neve_retain(&graph.nodes[0]->base);
    for (size_t i = 1; i < n; i++) {
        size_t from = i - 1; /* has a slot left, unless an edge below took it */
        for (int attempt = 0; attempt < 8; attempt++) {
            size_t other = random_below(&state, (uint32_t)i);
            if (graph.nodes[other]->b == NULL)
                from = other;
        }
        while (graph.nodes[from]->b != NULL)
            from--;
        refer(runtime, from, i, true);
        size_t holder = random_below(&state, (uint32_t)i);
        if (random_below(&state, 2) == 0 && i - holder > 1 && graph.nodes[holder]->b == NULL &&
            holder != i - 1)
            refer(runtime, holder, i, false);
    }
}

static void reach(size_t from)
{
    for (int i = 0; i < 2; i++) {
        size_t to = graph.to[from][i];
        if (to == NONE || (graph.reached[to / 64] >> (to % 64) & 1) != 0)
            continue;
        graph.reached[to / 64] |= (uint64_t)1 << (to % 64);
        reach(to);
    }
}

static void check_order(void)
{
    for (size_t from = 0; from < graph.count; from++) {
        assert_int_equal(graph.position[from] != 0, graph.is_final[from]);
        if (!graph.is_final[from])
            continue;
        memset(graph.reached, 0, sizeof graph.reached);
        reach(from);
        for (size_t to = 0; to < graph.count; to++)
            if ((graph.reached[to / 64] >> (to % 64) & 1) != 0 && graph.is_final[to])
                assert_true(graph.position[from] < graph.position[to]);
    }
}

static void test_of_a_collection(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        neve_runtime *runtime = new_runtime(NULL);
        make_graph(runtime, (size_t)(1 + seed * 5), seed);
        neve_release(runtime, &graph.nodes[0]->base);
        assert_int_equal(collect(runtime, (int)(seed % 3)).collected, graph.count);
        check_order();
        neve_runtime_destroy(runtime);
    }
}

/* A cycle has groups verified at once, in batches, or large ones by one sum. */
static void test_of_a_cycle(void **unused)
{
    (void)unused;
    static const size_t sizes[] = {40, 900, MOST};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        neve_runtime *runtime = new_runtime(NULL);
        neve_collector *collector = neve_runtime_collector(runtime);
        assert_int_equal(neve_collector_set_mode(collector, NEVE_MODE_INCREMENTAL), NEVE_OK);
        make_graph(runtime, sizes[i], i + 1);
        collect(runtime, 2);
        neve_release(runtime, &graph.nodes[0]->base);
        neve_collection done;
        for (int steps = 0; graph.finalized == 0 && steps < 1000000; steps++)
            (void)neve_step(collector, 1, &done);
        while (neve_step(collector, 1, &done))
            continue;
        check_order();
        neve_collector_stats stats;
        neve_collector_get_stats(collector, &stats);
        assert_int_equal(stats.cycle.largest_group, sizes[i]);
        neve_runtime_destroy(runtime);
    }
}

/* Independent garbage keeps the order in which it is found, and a cycle begins with what is
 * found first of it; what refers to some garbage goes in front of that alone. */
static void test_what_is_not_ordered_stays(void **unused)
{
    (void)unused;
    journal j;
    neve_runtime *runtime = new_runtime(&j);
    pair *nodes[6];
    for (int i = 0; i < 6; i++)
        nodes[i] = new_pair(runtime, &finalized_pair_type, (char)('a' + i));
    /* a and b are found first; c <-> d is a cycle; f refers to b, and e to nobody. */
    for (int i = 0; i < 6; i++)
        if (i != 2 && i != 3)
            nodes[i]->a = neve_retain(&nodes[i]->base);
    nodes[2]->a = neve_retain(&nodes[3]->base);
    nodes[3]->a = neve_retain(&nodes[2]->base);
    nodes[5]->b = neve_retain(&nodes[1]->base);
    for (int i = 0; i < 6; i++)
        neve_release(runtime, &nodes[i]->base);
    assert_int_equal(collect(runtime, 2).collected, 6);
    assert_memory_equal(j.text, "fa ff fb fc fd fe ", 18);
    neve_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_of_a_collection),
        cmocka_unit_test(test_of_a_cycle),
        cmocka_unit_test(test_what_is_not_ordered_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
