/* SPDX-License-Identifier: MIT */
/*
 * The order of finalizers. What a host gathers itself is finalized in the order in which it
 * was gathered. What is listed by address, old objects and all of hosts that do not gather,
 * would come in any order: there whoever refers to others is finalized before them, so that
 * a finalizer finds what its object is built upon as it left it. (A text file hands what it
 * holds to a buffer, which then closes the file below it: the other way round data are
 * lost.) Garbage of which no part reaches the other keeps the order in which it was found,
 * a cycle begins with its member that was found first, and what one object refers to follows
 * in the order of its references.
 *
 * A depth-first search from each object that has a finalizer, through the dead: what one
 * search comes to is a segment, and stands in it in reverse postorder (Tarjan, 1972; Cormen
 * et al., "Topological sort"). A search that comes to an earlier segment goes in front of
 * the first that it must precede: segments are sorted by a key, which is their own number
 * or the least key of those that they came to, and later ones first where keys are equal.
 */
#include "collect_internal.h"

/* In c->refs, by number: the segment, plus one; 0: not visited yet. */
#define HAS_FINALIZER 0x80000000u
#define LEAVE ((uintptr_t)1)  /* an entry of the stack: the object's references are done */
#define SORTED ((uintptr_t)1) /* an entry of c->finals: its place is for whoever comes first */

typedef struct segment {
    uint32_t key;
    uint32_t end;         /* in the postorder; it begins where the one before ends */
    uint32_t first, next; /* lists of the segments with one key, plus one: its head; a link */
} segment;

typedef struct search {
    neve_collector *c;
    segment *segments;
    uint32_t segment; /* the one that is being made */
    bool has_failed;  /* no memory */
} search;

static int visit_condemned(void *object, void *arg)
{
    search *s = arg;
    neve_collector *c = s->c;
    uint32_t number = nv_candidate_number(c, object);
    if (number == 0)
        return 0;
    uint32_t seen = c->refs[number - 1] & ~HAS_FINALIZER;
    if (seen == 0) {
        s->has_failed |= !nv_vec_push(c->heap, &c->stack, object);
    } else if (seen - 1 != s->segment) {
        segment *own = &s->segments[s->segment];
        uint32_t key = s->segments[seen - 1].key;
        if (own->key > key)
            own->key = key;
    }
    return 0;
}

/* Appends to `order`, behind its first `n` entries, those with finalizers that the object
 * reaches and that no search has come to, in postorder. */
static size_t search_from(search *s, void *start, void **order, size_t n)
{
    neve_collector *c = s->c;
    visit_condemned(start, s);
    while (c->stack.count > 0 && !s->has_failed) {
        uintptr_t entry = (uintptr_t)c->stack.items[--c->stack.count];
        void *object = (void *)(entry & ~LEAVE);
        if ((entry & LEAVE) != 0) {
            order[n++] = object;
            continue;
        }
        uint32_t *state = &c->refs[nv_candidate_number(c, object) - 1];
        if ((*state & ~HAS_FINALIZER) != 0)
            continue; /* on the stack twice */
        *state |= s->segment + 1;
        if ((*state & HAS_FINALIZER) != 0)
            s->has_failed |= !nv_vec_push(c->heap, &c->stack, (char *)object + LEAVE);
        size_t cursor = 0;
        do
            c->host->traverse(c->ctx, object, visit_condemned, s, &cursor);
        while (cursor != 0);
    }
    c->stack.count = 0;
    return n;
}

/* Writes the objects of all segments, by their keys, to the places for them. */
static void write_segments(segment *segments, uint32_t count, void *const *order, void **places)
{
    for (uint32_t i = 0; i < count; i++) {
        segment *head = &segments[segments[i].key];
        segments[i].next = head->first;
        head->first = i + 1;
    }
    for (uint32_t key = 0; key < count; key++)
        for (uint32_t i = segments[key].first; i != 0; i = segments[i - 1].next) {
            uint32_t begin = i == 1 ? 0 : segments[i - 2].end;
            for (uint32_t at = segments[i - 1].end; at > begin; at--) {
                while (((uintptr_t)*places & SORTED) == 0)
                    places++;
                *places++ = order[at - 1];
            }
        }
}

static bool is_to_be_sorted(void *entry)
{
    return ((uintptr_t)entry & SORTED) != 0;
}

static void *object_of(void *entry)
{
    return (void *)((uintptr_t)entry & ~SORTED);
}

/* Where there is no memory, the order stays as it is. */
static void sort_finals(neve_collector *c, size_t condemned)
{
    size_t n = c->finals.count, sorted = 0, found = 0;
    size_t room = (n * sizeof(segment) + sizeof(void *) - 1) / sizeof(void *);
    if (!nv_vec_reserve(c->heap, &c->finals, 2 * n + room))
        return;
    void **finals = c->finals.items, **order = finals + n;
    search s = {.c = c, .segments = (segment *)(void *)(order + n)};
    memset(c->refs, 0, condemned * sizeof *c->refs);
    for (size_t i = 0; i < n; i++)
        if (is_to_be_sorted(finals[i])) {
            c->refs[nv_candidate_number(c, object_of(finals[i])) - 1] = HAS_FINALIZER;
            sorted++;
        }
    c->stack.count = 0;
    for (size_t i = 0; i < n && sorted > 1 && !s.has_failed; i++) {
        void *object = object_of(finals[i]);
        if (!is_to_be_sorted(finals[i]) ||
            c->refs[nv_candidate_number(c, object) - 1] != HAS_FINALIZER)
            continue;
        s.segments[s.segment] = (segment){.key = s.segment};
        found = search_from(&s, object, order, found);
        s.segments[s.segment++].end = (uint32_t)found;
    }
    if (!s.has_failed && found == sorted)
        write_segments(s.segments, s.segment, order, finals);
}

/* Fills c->finals with those of the objects that have a finalizer. False: no memory. */
static bool find_finals(neve_collector *c, void *const *objects, size_t n, size_t to_sort)
{
    const neve_host *host = c->host;
    c->finals.count = 0;
    for (size_t i = 0; i < n;) {
        void *special[NEVE_MARK_BATCH];
        size_t m = n - i < NEVE_MARK_BATCH ? n - i : NEVE_MARK_BATCH;
        if (i < to_sort && m > to_sort - i)
            m = to_sort - i;
        size_t next = i + m;
        bool has_finalizers = host->find_special == NULL;
        if (has_finalizers)
            memcpy(special, objects + i, m * sizeof *special);
        else
            m = host->find_special(c->ctx, objects + i, m, special, &has_finalizers);
        for (size_t k = 0; has_finalizers && k < m; k++) {
            void *same;
            bool is_final = host->find_special == NULL;
            if (!is_final)
                host->find_special(c->ctx, &special[k], 1, &same, &is_final);
            char *entry = (char *)special[k] + (i < to_sort ? SORTED : 0);
            if (is_final && !nv_vec_push(c->heap, &c->finals, entry))
                return false;
        }
        i = next;
    }
    return true;
}

void nv_finalize(neve_collector *c, void *const *objects, size_t n, size_t to_sort,
                 size_t condemned, bool *ran_code)
{
    if (c->host->finalize == NULL)
        return;
    if (!find_finals(c, objects, n, to_sort)) {
        /* In whatever order: it is better than not at all. */
        c->host->finalize(c->ctx, objects, n, ran_code);
        return;
    }
    if (c->finals.count > 1 && condemned > 0)
        sort_finals(c, condemned);
    for (size_t i = 0; i < c->finals.count; i++)
        c->finals.items[i] = object_of(c->finals.items[i]);
    if (c->finals.count > 0)
        c->host->finalize(c->ctx, c->finals.items, c->finals.count, ran_code);
    nv_vec_trim(c, &c->finals);
}
