/* SPDX-License-Identifier: MIT */
/*
 * The permanent generation (invariant 7), and what hosts that are taken over
 * need: adopting objects, listing them, forgetting them.
 *
 * Frozen objects have both state bits. They are white at the beginning of a
 * marking, so that it reads through them, and never suspects.
 */
#include "collect_internal.h"

static bool holds_objects(const nv_chunk *chunk, unsigned word)
{
    if (!chunk->is_arena)
        return true;
    const nv_pool *pool = &chunk->pools[word / NV_POOL_BITS_WORDS];
    return pool->size_class != 0 && pool->domain != NEVE_DOMAIN_RAW;
}

static void freeze_chunk(nv_chunk *chunk, void *arg)
{
    (void)arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        if ((chunk->state[w].hi & ~chunk->state[w].lo) != 0 && holds_objects(chunk, w))
            chunk->state[w].lo |= chunk->state[w].hi;
}

static void unfreeze_chunk(nv_chunk *chunk, void *arg)
{
    (void)arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        if ((chunk->state[w].hi & chunk->state[w].lo) != 0 && holds_objects(chunk, w))
            chunk->state[w].lo &= ~chunk->state[w].hi;
}

static void forget_chunk(nv_chunk *chunk, void *arg)
{
    (void)arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        if ((chunk->state[w].hi | chunk->state[w].lo) != 0 && holds_objects(chunk, w))
            chunk->state[w] = (nv_state_word){0};
    chunk->has_middle = false;
}

neve_status neve_collector_freeze(neve_collector *c)
{
    if (c->is_collecting)
        return NEVE_EBUSY;
    neve_collector_drain(c);
    c->young.count = 0;
    neve_status status = nv_gather(c, 1, &c->young);
    if (status == NEVE_OK) {
        nv_promote(c, c->young.items, c->young.count, 3);
        nv_touched_reset(c, 2);
        nv_chunk_each(c->heap, freeze_chunk, NULL);
        c->counts[0] = c->counts[1] = c->counts[2] = 0;
    }
    nv_vec_trim(c->heap, &c->young);
    return status;
}

neve_status neve_collector_unfreeze(neve_collector *c)
{
    if (c->is_collecting)
        return NEVE_EBUSY;
    nv_chunk_each(c->heap, unfreeze_chunk, NULL);
    return NEVE_OK;
}

size_t neve_collector_frozen_count(const neve_collector *c)
{
    size_t old, frozen;
    nv_count_states(c->heap, &old, &frozen);
    return frozen;
}

int neve_collector_generation_of(const neve_collector *c, const void *object)
{
    return (int)nv_state_get(c->heap, object);
}

typedef struct walk {
    const neve_collector *c;
    nv_state state;
    neve_visit_fn visit;
    void *arg;
    int result;
} walk;

static void walk_chunk(nv_chunk *chunk, void *arg)
{
    walk *w = arg;
    for (unsigned i = 0; i < NV_CHUNK_WORDS && w->result == 0; i++) {
        nv_state_word word = chunk->state[i];
        uint64_t bits = w->state == NV_STATE_FROZEN ? word.hi & word.lo : word.hi & ~word.lo;
        if (bits == 0 || !holds_objects(chunk, i))
            continue;
        for (; bits != 0 && w->result == 0; bits &= bits - 1) {
            unsigned granule = i * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (nv_is_tracked(w->c, object))
                w->result = w->visit(object, w->arg);
        }
    }
}

int neve_collector_walk(const neve_collector *c, int generation, neve_visit_fn visit, void *arg)
{
    walk w = {.c = c,
              .state = generation == 3 ? NV_STATE_FROZEN : NV_STATE_OLD,
              .visit = visit,
              .arg = arg};
    nv_chunk_each(c->heap, walk_chunk, &w);
    return w.result;
}

neve_status neve_collector_adopt(neve_collector *c, void *object, int generation)
{
    return nv_state_set(c->heap, object, generation == 3 ? NV_STATE_FROZEN : NV_STATE_OLD)
               ? NEVE_OK
               : NEVE_ENOMEM;
}

void neve_collector_forget_all(neve_collector *c)
{
    nv_chunk_each(c->heap, forget_chunk, NULL);
}
