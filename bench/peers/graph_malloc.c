/* SPDX-License-Identifier: MIT */
/* malloc and free by hand as a peer: whoever serves malloc (LD_PRELOAD), and no collector. */
#include "../native/bench_common.h"

typedef struct graph_node {
    struct graph_node *slots[2];
    long value;
} graph_node;
typedef graph_node *node;

static node node_new(void)
{
    node made = calloc(1, sizeof *made);
    if (made == NULL)
        exit(1);
    return made;
}

static void node_give(node in, int slot, node held)
{
    in->slots[slot] = held;
}

static void node_share(node in, int slot, node held)
{
    in->slots[slot] = held;
}

static node node_slot(node in, int slot)
{
    return in->slots[slot];
}

static void ring_drop(node head, int length)
{
    for (int i = 0; i < length; i++) {
        node next = head->slots[0];
        free(head);
        head = next;
    }
}

static void tree_drop(node root)
{
    if (root->slots[0] != NULL) {
        tree_drop(root->slots[0]);
        tree_drop(root->slots[1]);
    }
    free(root);
}

static void peer_begin(void) {}

static void peer_collector_off(void) {}

static void peer_safepoint(void) {}

static void peer_collect(void) {}

static double peer_collected(void)
{
    return -1;
}

static node *peer_roots(size_t count)
{
    return bench_map(count * sizeof(node));
}

#include "graph_work.h"
