/* SPDX-License-Identifier: MIT */
/*
 * Marking from the host's known roots, over the mark tables.
 *
 * At the beginning every old object is white. An edge to a white
 * object makes it grey. An edge costs one look at the table, by address; the
 * referent itself is not touched unless it is a white object, so strings,
 * numbers and already marked objects cost no cache miss of their own.
 *
 * Grey objects go to a small stack; when that is full, or a large object is
 * being traversed, they get a grey bit instead, and their chunk joins a queue.
 * An empty stack is refilled by sweeping the grey bits of one chunk after the
 * other. So a narrow, deep graph is followed depth first, while a wide one is
 * traversed in the order of addresses, which caches and page tables like far
 * better than the order of references; and the grey set needs no memory that
 * could run out, but for the short list of large objects (cf. mark stack
 * overflow in Boehm's collector).
 *
 * Permanent objects are alive whatever refers to them. They need no colours: once
 * nothing else is grey, all of them are traversed, in the order of addresses. So the
 * child of a fork that inherited a large frozen heap has no table for it.
 *
 * The marking need not be complete: what it fails to reach for want of a root
 * is verified, at a cost in time only.
 */
#include "collect_internal.h"

/* Reads before it writes: pages of the tables that went back to the system stay there,
 * where nothing was old. */
static void clear_words(uint64_t *bits, unsigned first, unsigned end)
{
    for (unsigned w = first; w < end; w++)
        if (bits[w] != 0)
            bits[w] = 0;
}

void nv_mark_clear(nv_chunk *chunk, unsigned first, unsigned end)
{
    clear_words(chunk->white, first, end);
    clear_words(chunk->grey, first, end);
}

/* White bits of one pool's granules, or as many of a chunk that is no arena. */
static void whiten(neve_collector *c, nv_chunk *chunk, unsigned first)
{
    unsigned end = first + (unsigned)NV_POOL_BITS_WORDS;
    uint64_t any_old = 0, any_frozen = 0;
    for (unsigned w = first; w < end; w++) {
        any_old |= nv_old_bits(chunk, w);
        any_frozen |= nv_frozen_bits(chunk, w);
    }
    c->has_frozen |= any_frozen != 0;
    if (any_old == 0) {
        nv_mark_clear(chunk, first, end);
    } else {
        for (unsigned w = first; w < end; w++)
            chunk->white[w] = nv_old_bits(chunk, w);
        clear_words(chunk->grey, first, end);
    }
    if (c->mark_is_sliced || (any_old | any_frozen) == 0)
        return; /* nobody wants to know how many there are */
    size_t old = 0, frozen = 0;
    for (unsigned w = first; w < end; w++) {
        if (chunk->high[w] == 0)
            continue;
        size_t both = (size_t)__builtin_popcountll(nv_frozen_bits(chunk, w));
        frozen += both;
        old += (size_t)__builtin_popcountll(chunk->high[w]) - both;
    }
    c->old += old;
    c->frozen += frozen;
}

/* Whether the state bits of one pool's granules are those of objects. In pools of raw
 * buffers they mean something else (heap/fork.c). */
static bool has_objects(const nv_chunk *chunk, unsigned p)
{
    const nv_pool *pool = nv_pool_at(chunk->base, p);
    return !chunk->is_arena ||
           (p != 0 && pool->domain != NEVE_DOMAIN_RAW && (pool->tag & NV_POOL_HAS_STATE) != 0);
}

void nv_mark_whiten(neve_collector *c, nv_chunk *chunk)
{
    if (chunk->is_grey)
        chunk->is_grey = false;
    for (unsigned p = 0; p < NV_POOLS; p++) {
        unsigned first = p * (unsigned)NV_POOL_BITS_WORDS;
        if (has_objects(chunk, p))
            whiten(c, chunk, first);
        else
            nv_mark_clear(chunk, first, first + (unsigned)NV_POOL_BITS_WORDS);
    }
}

/* `chunk` joins the queue of those that have grey objects. */
static void queue_chunk(neve_collector *c, nv_chunk *chunk)
{
    if (chunk->is_grey)
        return;
    chunk->is_grey = true;
    chunk->next_grey = NULL;
    if (c->grey_first == NULL)
        c->grey_first = chunk;
    else
        c->grey_last->next_grey = chunk;
    c->grey_last = chunk;
}

/* An edge to `object`, which lies in `chunk`. */
static inline void mark(neve_collector *c, nv_chunk *chunk, void *object)
{
    unsigned granule = nv_granule(object);
    uint64_t bit = nv_bit(granule);
    uint64_t white = chunk->white[granule / 64];
    if ((white & bit) == 0)
        return;
    chunk->white[granule / 64] = white & ~bit;
    c->marker.fresh++;
    size_t depth = c->mark_depth;
    if (NEVE_LIKELY(depth < c->mark_room)) {
        __builtin_prefetch(object);
        c->mark_stack[depth] = object;
        c->mark_depth = depth + 1;
    } else {
        chunk->grey[granule / 64] |= bit;
        queue_chunk(c, chunk);
    }
}

int neve_mark_visit(void *object, void *marker)
{
    neve_collector *c = marker;
    c->mark_edges++;
    nv_chunk *chunk = nv_chunk_find(c->heap, object);
    if (chunk != NULL)
        mark(c, chunk, object);
    return 0;
}

/* Edges that all become grey bits: a large object is being traversed. Such a one is as dear as
 * so many others. */
#define GREY_COST 4
static void mark_items_grey(neve_collector *c, void *const *items, size_t n)
{
    uintptr_t number = UINTPTR_MAX;
    uint64_t *white = NULL, *grey = NULL;
    size_t fresh = 0;
    for (size_t i = 0; i < n; i++) {
        uintptr_t address = (uintptr_t)items[i];
        if (address >> NV_CHUNK_SHIFT != number) {
            number = address >> NV_CHUNK_SHIFT;
            nv_chunk *chunk = nv_chunk_find(c->heap, items[i]);
            white = chunk == NULL ? NULL : chunk->white;
            grey = chunk == NULL ? NULL : chunk->grey;
            if (chunk != NULL)
                queue_chunk(c, chunk);
        }
        if (white == NULL)
            continue;
        unsigned granule = nv_granule((void *)address);
        uint64_t bit = white[granule / 64] & nv_bit(granule);
        if (bit == 0)
            continue;
        white[granule / 64] ^= bit;
        grey[granule / 64] |= bit;
        fresh++;
    }
    c->marker.fresh += fresh;
    /* A grey bit may be the first on its page, for which there is no memory yet. */
    c->mark_edges += fresh * (GREY_COST - 1);
}

/* Neighbours often lie in the same chunk. (NULL lies in none.) */
typedef struct near_chunk {
    uintptr_t number;
    nv_chunk *chunk;
} near_chunk;

static inline void mark_near(neve_collector *c, near_chunk *near, void *object)
{
    if ((uintptr_t)object >> NV_CHUNK_SHIFT != near->number) {
        near->number = (uintptr_t)object >> NV_CHUNK_SHIFT;
        near->chunk = nv_chunk_find(c->heap, object);
    }
    if (near->chunk != NULL)
        mark(c, near->chunk, object);
}

void neve_mark_spans(neve_marker *marker, const neve_span *spans, size_t n)
{
    neve_collector *c = (neve_collector *)(void *)marker;
    near_chunk near = {UINTPTR_MAX, NULL};
    for (size_t s = 0; s < n; s++) {
        void *const *items = spans[s].items;
        void *const *end = items + spans[s].count;
        c->mark_edges += spans[s].count;
        for (; items != end; items++)
            mark_near(c, &near, *items);
    }
}

void neve_mark_strided(neve_marker *marker, void *const *items, size_t n, size_t stride)
{
    neve_collector *c = (neve_collector *)(void *)marker;
    near_chunk near = {UINTPTR_MAX, NULL};
    c->mark_edges += n;
    for (; n > 0; n--, items += stride)
        mark_near(c, &near, *items);
}

void neve_mark_items(neve_marker *marker, void *const *items, size_t n)
{
    neve_collector *c = (neve_collector *)(void *)marker;
    neve_span span = {items, n};
    if (c->mark_room != 0) {
        neve_mark_spans(marker, &span, 1);
        return;
    }
    c->mark_edges += n;
    mark_items_grey(c, items, n);
}

void neve_mark_defer(neve_marker *marker, void *object)
{
    neve_collector *c = (neve_collector *)(void *)marker;
    nv_vec_push(c->heap, &c->deferred, object);
}

bool neve_mark_is_known(const neve_marker *marker, const void *object)
{
    const neve_collector *c = (const neve_collector *)(const void *)marker;
    return nv_state_get(c->heap, object) >= NV_STATE_OLD;
}

void neve_mark_untrackable(neve_marker *marker, void *object)
{
    neve_collector *c = (neve_collector *)(void *)marker;
    /* Permanent ones stay as they are: their pages may be shared with a forked parent. */
    if (nv_state_get(c->heap, object) != NV_STATE_FROZEN)
        nv_vec_push(c->heap, &c->untrackable, object);
}

static void whiten_chunk(nv_chunk *chunk, void *arg)
{
    nv_mark_whiten(arg, chunk);
}

/* How large objects may be that are marked in one go: in slices, a batch of them
 * must not take long. */
#define PIECE 4096
#define PIECE_SLICED 64

void nv_mark_prepare(neve_collector *c, bool is_sliced)
{
    c->old = c->frozen = 0;
    c->heap->marking = true;
    c->marker = (neve_marker){.piece = is_sliced ? PIECE_SLICED : PIECE};
    c->mark_is_sliced = is_sliced;
    c->mark_edges = 0;
    c->mark_object = NULL;
    c->mark_cursor = 0;
    c->marked = 0;
    c->mark_depth = c->mark_stale = 0;
    c->mark_room = NV_MARK_STACK;
    c->grey_first = c->grey_last = c->grey_chunk = NULL;
    c->has_frozen = c->reads_frozen = false;
    c->frozen_chunk = 0;
    c->frozen_word = 0;
    c->deferred.count = c->untrackable.count = 0;
}

void nv_mark_resume(neve_collector *c)
{
    c->mark_stale = c->mark_depth;
}

void nv_mark_begin(neve_collector *c)
{
    nv_mark_prepare(c, false);
    nv_chunk_each(c->heap, whiten_chunk, c);
}

void nv_mark_roots(neve_collector *c)
{
    /* The first time: what the mutator hangs on permanent objects after they have been
     * read is left to the verification. */
    c->reads_frozen = c->frozen_chunk == 0 && c->has_frozen;
    if (c->host->visit_roots != NULL)
        c->host->visit_roots(c->ctx, neve_mark_visit, &c->marker);
}

/* As many objects as are handed to the host at once: enough for their cache
 * misses to overlap (Cher, Hosking and Vitek, "Software Prefetching for
 * Mark-Sweep Garbage Collection", 2004), few enough to stay in the cache. */
#define BATCH NEVE_MARK_BATCH

/* Whether an object that was noted in an earlier slice is still there: it may have
 * been freed since, which cleared its bits, and its memory reused. What became old
 * there since is live as well, and may be marked. */
static inline bool is_there(const neve_collector *c, const void *object)
{
    return nv_state_get(c->heap, object) >= NV_STATE_OLD;
}

/* Takes up to BATCH objects off the stack, and asks for the next ones. Of what was pushed in
 * this slice nothing can have been freed. */
static size_t take_stack(neve_collector *c, void *batch[BATCH])
{
    size_t n = c->mark_depth < BATCH ? c->mark_depth : BATCH;
    c->mark_depth -= n;
    memcpy(batch, c->mark_stack + c->mark_depth, n * sizeof *batch);
    c->marker.may_be_stale = c->mark_stale > c->mark_depth;
    if (c->marker.may_be_stale) {
        c->mark_stale = c->mark_depth;
        size_t there = 0;
        for (size_t i = 0; i < n; i++)
            if (is_there(c, batch[i]))
                batch[there++] = batch[i];
        n = there;
    }
    for (size_t i = c->mark_depth; i-- > 0 && i + BATCH > c->mark_depth;)
        __builtin_prefetch(c->mark_stack[i]);
    return n;
}

/* Takes up to BATCH grey objects out of the chunks in the queue. */
static size_t take_grey(neve_collector *c, void *batch[BATCH])
{
    size_t n = 0;
    c->marker.may_be_stale = c->mark_is_sliced;
    while (n == 0) {
        if (c->grey_chunk == NULL) {
            if (c->grey_first == NULL)
                return 0;
            c->grey_chunk = c->grey_first;
            c->grey_first = c->grey_chunk->next_grey;
            c->grey_chunk->is_grey = false; /* bits set behind the sweep queue it again */
            c->grey_word = 0;
        }
        nv_chunk *chunk = c->grey_chunk;
        unsigned w = c->grey_word;
        for (; w < NV_CHUNK_WORDS && n + 64 <= BATCH; w++) {
            uint64_t bits = chunk->grey[w];
            if (bits == 0)
                continue;
            chunk->grey[w] = 0;
            for (; bits != 0; bits &= bits - 1) {
                unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
                batch[n++] = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            }
        }
        c->grey_word = w;
        if (w == NV_CHUNK_WORDS)
            c->grey_chunk = NULL;
    }
    return n;
}

/* Takes up to BATCH permanent objects of one pool, which are tracked: others may be on
 * an interpreter's own free lists (invariant 5). */
static size_t take_frozen(neve_collector *c, void *batch[BATCH])
{
    nv_chunk *chunk = nv_chunk_next(c->heap, c->frozen_chunk);
    if (chunk == NULL) {
        c->reads_frozen = false;
        return 0;
    }
    if (chunk->base != c->frozen_chunk) { /* the one that was begun is gone, or none was */
        c->frozen_chunk = chunk->base;
        c->frozen_word = 0;
    }
    c->mark_edges++; /* also where there is nothing to take */
    c->marker.may_be_stale = false;
    unsigned w = c->frozen_word, n = 0;
    unsigned p = w / (unsigned)NV_POOL_BITS_WORDS, end = (p + 1) * (unsigned)NV_POOL_BITS_WORDS;
    if (!has_objects(chunk, p))
        w = end;
    for (; w < end && n + 64 <= BATCH; w++) {
        uint64_t bits = nv_frozen_bits(chunk, w);
        for (; bits != 0; bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (nv_is_tracked(c, object))
                batch[n++] = object;
        }
    }
    c->frozen_word = w;
    if (w == NV_CHUNK_WORDS) {
        c->frozen_chunk = chunk->base + NV_CHUNK_BYTES;
        c->frozen_word = 0;
    }
    return n;
}

static void mark_batch(neve_collector *c, void *const *batch, size_t n)
{
    c->mark_edges += n;
    c->marked += n;
    if (c->host->mark != NULL) {
        c->host->mark(c->ctx, batch, n, &c->marker);
        return;
    }
    for (size_t i = 0; i < n; i++)
        __builtin_prefetch(batch[i]);
    for (size_t i = 0; i < n; i++) {
        size_t cursor = 0;
        if (c->marker.may_be_stale && !nv_is_tracked(c, batch[i]))
            continue;
        c->host->traverse(c->ctx, batch[i], neve_mark_visit, &c->marker, &cursor);
        if (cursor != 0)
            neve_mark_defer(&c->marker, batch[i]);
    }
}

/* The next piece of a large object; false if there is none. What it refers to
 * gets grey bits, so that the stack does not fill with its first items. */
static bool mark_piece(neve_collector *c)
{
    if (c->mark_object == NULL) {
        if (c->deferred.count == 0)
            return false;
        c->mark_object = c->deferred.items[--c->deferred.count];
        c->mark_cursor = 0;
    }
    if (c->mark_is_sliced && (!is_there(c, c->mark_object) || !nv_is_tracked(c, c->mark_object))) {
        c->mark_object = NULL;
        return true;
    }
    c->mark_room = 0;
    c->mark_edges++;
    c->host->traverse(c->ctx, c->mark_object, neve_mark_visit, &c->marker, &c->mark_cursor);
    c->mark_room = NV_MARK_STACK;
    if (c->mark_cursor == 0)
        c->mark_object = NULL;
    return true;
}

bool nv_mark_step(neve_collector *c, size_t budget)
{
    c->mark_edges = 0;
    while (c->mark_edges < budget) {
        void *batch[BATCH];
        if (mark_piece(c))
            continue;
        bool has_stack = c->mark_depth > 0;
        size_t n = has_stack ? take_stack(c, batch) : take_grey(c, batch);
        if (n == 0 && !has_stack) {
            if (!c->reads_frozen)
                return true;
            n = take_frozen(c, batch);
        }
        mark_batch(c, batch, n);
    }
    return false;
}

void nv_mark_from(neve_collector *c, void *object)
{
    nv_chunk *chunk = nv_chunk_find(c->heap, object);
    if (chunk != NULL)
        mark(c, chunk, object);
}

bool nv_mark_is_white(const neve_collector *c, const void *object)
{
    const nv_chunk *chunk = nv_chunk_find(c->heap, object);
    unsigned granule = nv_granule(object);
    return chunk != NULL && nv_bit_is_set(chunk->white, granule);
}

void nv_mark_blacken(neve_collector *c, const void *object)
{
    nv_chunk *chunk = nv_chunk_find(c->heap, object);
    unsigned granule = nv_granule(object);
    chunk->white[granule / 64] &= ~nv_bit(granule);
}

void nv_mark_turn_grey(neve_collector *c, nv_chunk *chunk, const void *object)
{
    unsigned granule = nv_granule(object);
    chunk->white[granule / 64] &= ~nv_bit(granule);
    chunk->grey[granule / 64] |= nv_bit(granule);
    queue_chunk(c, chunk);
}

nv_chunk *nv_mark_take_chunk(neve_collector *c)
{
    nv_chunk *chunk = c->grey_first;
    if (chunk != NULL) {
        c->grey_first = chunk->next_grey;
        chunk->is_grey = false;
    }
    return chunk;
}

typedef struct suspects {
    neve_collector *c;
    nv_vec *into;
    size_t count;
} suspects;

/* White, old, and not permanent. */
static uint64_t suspect_bits(const nv_chunk *chunk, unsigned word)
{
    uint64_t white = chunk->white[word];
    return white == 0 ? 0 : white & nv_old_bits(chunk, word);
}

static void count_suspects(nv_chunk *chunk, void *arg)
{
    suspects *s = arg;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        s->count += (size_t)__builtin_popcountll(suspect_bits(chunk, w));
}

static void chunk_suspects(nv_chunk *chunk, void *arg)
{
    suspects *s = arg;
    bool asks = !s->c->host->held_if_untracked;
    void **next = s->into->items + s->into->count; /* reserved */
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++)
        for (uint64_t bits = suspect_bits(chunk, w); bits != 0; bits &= bits - 1) {
            unsigned granule = w * 64 + (unsigned)__builtin_ctzll(bits);
            void *object = (void *)(chunk->base + ((uintptr_t)granule << NV_GRANULE_SHIFT));
            if (!asks || nv_is_tracked(s->c, object))
                *next++ = object;
            else
                neve_collector_forget(s->c, object); /* it left our care without being freed */
        }
    s->into->count = (size_t)(next - s->into->items);
}

neve_status nv_mark_suspects(neve_collector *c, nv_vec *into)
{
    suspects s = {.c = c, .into = into};
    nv_chunk_each(c->heap, count_suspects, &s);
    if (!nv_vec_reserve_all(c->heap, into, into->count + s.count))
        return NEVE_ENOMEM;
    nv_chunk_each(c->heap, chunk_suspects, &s);
    return NEVE_OK;
}

void nv_mark_finish(neve_collector *c)
{
    c->heap->marking = false;
    c->mark_object = NULL;
    nv_marks_drop(c->heap);
    nv_vec_trim(c, &c->stack);
    nv_vec_trim(c, &c->deferred);
}
