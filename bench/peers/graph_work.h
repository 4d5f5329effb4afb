/* SPDX-License-Identifier: MIT */
/*
 * The work on graphs, for peers that are called from C. A peer is a file that defines, before
 * it includes this one:
 *
 *   typedef ... *node;
 *   node node_new(void);                   a node, owned by the caller
 *   void node_give(node in, int slot, node held);   slot 0 or 1, empty so far; `held` is given up
 *   void node_share(node in, int slot, node held);  the same; the caller keeps its own reference
 *   void ring_drop(node head, int length); gives up the last outside reference to a ring
 *   void tree_drop(node root);
 *   node node_slot(node in, int slot);
 *   void peer_begin(void);  void peer_collector_off(void);  void peer_safepoint(void);
 *   void peer_collect(void);  double peer_collected(void);   -1: the peer does not tell
 *   node *peer_roots(size_t count);                  room for nodes that the peer keeps alive
 * and, where it can measure its counts and what its collector keeps, PEER_MEASURES_ITSELF with
 *
 *   void peer_pairs(size_t pairs, double *counted_ns, double *plain_ns);
 *   double peer_metadata(size_t objects);            bytes per object
 *
 * Every program of this folder, in whatever language, takes the same words and prints the same
 * lines, `name value`; run.py reads them. Times are processor time of the process; the longest
 * pause is the dearest of many short batches of work.
 */
#ifndef PEERS_GRAPH_WORK_H
#define PEERS_GRAPH_WORK_H

#include "../native/bench_common.h"

#ifndef PEER_MEASURES_ITSELF
static void peer_pairs(size_t pairs, double *counted_ns, double *plain_ns)
{
    (void)pairs;
    *counted_ns = *plain_ns = 0;
}

static double peer_metadata(size_t objects)
{
    (void)objects;
    return -1;
}
#endif

enum { RING = 10, CHURN_RING = 4, BATCH = 32 };

static void print_peak(void)
{
    char value[64];
    bench_file_field("/proc/self/status", "VmHWM", value, sizeof value);
    printf("peak_kb %ld\n", strtol(value, NULL, 10));
}

/* A ring: each node holds the next in slot 0; slot 1 shares `linked`, if there is one. */
static node ring_new(int length, node linked)
{
    node head = node_new(), last = head;
    for (int i = 1; i < length; i++) {
        node next = node_new();
        node_give(last, 0, next);
        last = next;
    }
    node_share(last, 0, head);
    if (linked != NULL)
        node_share(last, 1, linked);
    return head;
}

static void rings(size_t nodes)
{
    size_t count = nodes / RING;
    node *heads = bench_map(count * sizeof *heads);
    peer_collector_off();
    double start = bench_cpu_ns();
    for (size_t i = 0; i < count; i++)
        heads[i] = ring_new(RING, NULL);
    double built = bench_cpu_ns();
    for (size_t i = 0; i < count; i++) {
        node head = heads[i];
        heads[i] = NULL;
        ring_drop(head, RING);
    }
    double dropped = bench_cpu_ns();
    peer_collect();
    double end = bench_cpu_ns();
    printf("ms %.3f\nbuild_ms %.3f\ndrop_ms %.3f\ncollect_ms %.3f\n", (end - start) / 1e6,
           (built - start) / 1e6, (dropped - built) / 1e6, (end - dropped) / 1e6);
    if (peer_collected() >= 0)
        printf("collected %.0f\n", peer_collected());
}

enum { YOUNG, AGED, LINKED };

/* Rings come and go beside a live graph of `live` nodes, each of which refers to two others at
 * random. Aged rings live until 20,000 others have come; linked ones die at once and
 * refer to a node of the graph. */
static void churn(int kind, size_t live, double seconds)
{
    enum { WINDOW = 20000 };
    node *graph = live == 0 ? NULL : peer_roots(live);
    node *window = peer_roots(WINDOW);
    uint64_t random = 42;
    for (size_t i = 0; i < live; i++)
        graph[i] = node_new();
    for (size_t i = 0; i < live; i++)
        for (int slot = 0; slot < 2; slot++)
            node_share(graph[i], slot, graph[(bench_random(&random) >> 20) % live]);
    peer_collect();
    double start = bench_cpu_ns(), before = start, longest = 0;
    size_t made = 0, at = 0;
    while (before - start < seconds * 1e9) {
        for (int i = 0; i < BATCH; i++, made++) {
            node linked =
                kind == LINKED && live > 0 ? graph[(bench_random(&random) >> 20) % live] : NULL;
            node ring = ring_new(CHURN_RING, linked);
            if (kind == AGED) {
                node old = window[at];
                window[at] = ring;
                at = at + 1 == WINDOW ? 0 : at + 1;
                ring = old;
            }
            if (ring != NULL)
                ring_drop(ring, CHURN_RING);
            peer_safepoint();
        }
        double now = bench_cpu_ns();
        longest = fmax(longest, now - before);
        before = now;
    }
    printf("rings_per_s %.0f\npause_ms %.4f\n", (double)made / ((before - start) / 1e9),
           longest / 1e6);
}

static node tree_new(int depth)
{
    node root = node_new();
    if (depth > 0) {
        node_give(root, 0, tree_new(depth - 1));
        node_give(root, 1, tree_new(depth - 1));
    }
    return root;
}

static size_t tree_count(node root)
{
    node left = node_slot(root, 0);
    return left == NULL ? 1 : 1 + tree_count(left) + tree_count(node_slot(root, 1));
}

/* The binary trees of the Computer Language Benchmarks Game. */
static void trees(int depth)
{
    double start = bench_cpu_ns();
    size_t nodes = 0;
    node *roots = peer_roots(2);
    roots[0] = tree_new(depth + 1);
    nodes += tree_count(roots[0]);
    node stretched = roots[0];
    roots[0] = NULL;
    tree_drop(stretched);
    roots[0] = tree_new(depth);
    for (int d = 4; d <= depth; d += 2)
        for (size_t i = (size_t)1 << (depth - d + 4); i > 0; i--) {
            roots[1] = tree_new(d);
            nodes += tree_count(roots[1]);
            node root = roots[1];
            roots[1] = NULL; /* roots are looked at in collections */
            tree_drop(root);
            peer_safepoint();
        }
    nodes += tree_count(roots[0]);
    printf("ms %.3f\nnodes %zu\n", (bench_cpu_ns() - start) / 1e6, nodes);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    size_t size = argc > 2 ? (size_t)strtoul(argv[2], NULL, 10) : 0;
    peer_begin();
    if (strcmp(what, "rings") == 0 && size >= RING) {
        rings(size);
    } else if (strcmp(what, "churn") == 0 && argc == 5) {
        int kind = strcmp(argv[4], "aged") == 0     ? AGED
                   : strcmp(argv[4], "linked") == 0 ? LINKED
                                                    : YOUNG;
        churn(kind, size, strtod(argv[3], NULL));
    } else if (strcmp(what, "trees") == 0 && size >= 4) {
        trees((int)size);
    } else if (strcmp(what, "counting") == 0 && size > 0) {
        double counted = 0, plain = 0;
        peer_pairs(size, &counted, &plain);
        if (counted != 0)
            printf("pair_ns %.4f\nplain_ns %.4f\n", counted, plain);
    } else if (strcmp(what, "metadata") == 0 && size > 0) {
        printf("bytes %.4f\n", peer_metadata(size));
    } else {
        fprintf(stderr,
                "usage: %s rings NODES | churn LIVE SECONDS young|aged|linked | trees DEPTH"
                " | counting PAIRS | metadata OBJECTS\n",
                argv[0]);
        return 2;
    }
    print_peak();
    return 0;
}

#endif
