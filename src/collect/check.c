/* SPDX-License-Identifier: MIT */
/*
 * The collector's checker: what the host's functions must promise, tested on
 * all objects at once. Counts what traverse reports for each tracked object
 * and compares it with the object's count: more reported references than
 * counted ones would break soundness (host.h), and the types are named. And, while a
 * cycle has marks: that no mark is left where there is no old object (invariant 5).
 */
#include "collect_internal.h"

#include <stdio.h>

typedef struct edge_check {
    neve_collector *c;
    void *from;
    void *object;   /* the first one with too many referrers */
    void *referrer; /* ... and the one whose report was one too many */
} edge_check;

static int visit_count(void *object, void *arg)
{
    edge_check *check = arg;
    neve_collector *c = check->c;
    uint32_t number = nv_candidate_number(c, object);
    if (number == 0 || c->refs[number - 1] == NEVE_COUNT_HELD)
        return 0;
    if (c->refs[number - 1] == 0) {
        if (check->object == NULL) {
            check->object = object;
            check->referrer = check->from;
        }
        return 0;
    }
    c->refs[number - 1]--;
    return 0;
}

static int visit_push(void *object, void *arg)
{
    edge_check *check = arg;
    if (nv_vec_push(check->c->heap, &check->c->candidates, object))
        return 0;
    check->object = object;
    return 1;
}

/* Freeing looks for mark bits only where there are state bits. */
static void check_marks(nv_chunk *chunk, void *arg)
{
    bool *is_sound = arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++) {
        uint64_t marks = chunk->white[w] | chunk->grey[w];
        if ((marks & ~(chunk->high[w] | nv_low_bits(chunk, w))) != 0)
            *is_sound = false;
    }
}

neve_status neve_collector_check(neve_collector *c, char *message, size_t message_size)
{
    if (message != NULL && message_size > 0)
        message[0] = '\0';
    neve_status status = neve_heap_check(c->heap, message, message_size);
    if (status != NEVE_OK || c->is_collecting)
        return status;
    bool is_sound = true;
    if (c->heap->marking)
        nv_chunk_each(c->heap, check_marks, &is_sound);
    if (!is_sound) {
        if (message != NULL && message_size > 0)
            snprintf(message, message_size, "marks are left where there is no old object");
        return NEVE_ECORRUPT;
    }

    edge_check check = {.c = c};
    c->candidates.count = 0;
    c->gather_limit = SIZE_MAX;
    status = nv_gather(c, 1, &c->candidates);
    if (status == NEVE_OK && (neve_collector_walk(c, 2, visit_push, &check) != 0 ||
                              neve_collector_walk(c, 3, visit_push, &check) != 0))
        status = NEVE_ENOMEM;
    size_t n = c->candidates.count;
    void **objects = c->candidates.items;
    if (status == NEVE_OK && n > 0) {
        status = nv_verify_map(c, objects, n);
        if (status == NEVE_OK) {
            c->host->read_counts(c->ctx, objects, n, c->refs);
            for (size_t i = 0; i < n; i++) {
                size_t cursor = 0;
                check.from = objects[i];
                do
                    c->host->traverse(c->ctx, objects[i], visit_count, &check, &cursor);
                while (cursor != 0);
            }
        }
    }
    if (status == NEVE_OK && check.object != NULL) {
        status = NEVE_ECORRUPT;
        if (message != NULL && message_size > 0)
            snprintf(message, message_size,
                     "an object of type '%s' is referred to more often than its count says; the "
                     "last referrer found is of type '%s'",
                     c->host->type_name(c->ctx, check.object),
                     c->host->type_name(c->ctx, check.referrer));
    }
    nv_verify_finish(c);
    nv_vec_trim(c, &c->candidates);
    return status;
}

/* Walking everything around each collection is for small heaps. */
#define ASSERT_SOUND_MAX_POOLS 256u

void nv_collector_assert_sound(neve_collector *c)
{
#if NEVE_DEBUG >= 2
    if (c->heap->used_pools > ASSERT_SOUND_MAX_POOLS || c->heap->fail_in != 0)
        return;
    char message[256];
    if (neve_collector_check(c, message, sizeof message) == NEVE_ECORRUPT)
        nv_corrupt(c->heap, message);
#else
    (void)c;
#endif
}
