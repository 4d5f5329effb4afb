/* SPDX-License-Identifier: MIT */
/*
 * A cycle of the incremental mode: everything that is garbage in the old generation
 * when it begins is reclaimed when it ends, by slices between which the mutator
 * runs (invariant 3; docs/collector.md has the proof).
 *
 *   whiten          every old object is white; what gets old later is not
 *   mark            white objects that the host's roots reach stop being white
 *   snapshot, take  (snapshot mode; in place of these two) a child marks, and what it
 *                   did not reach is white
 *   number, group, rescue
 *                   filter.c: what is white falls into groups, and what looks alive stops
 *                   being white
 *   untangle, sever, group again
 *                   where some of these were in a large group: the others are grouped without
 *                   them
 *   verify          groups are verified exactly, a batch at a time, each in one go,
 *                   and the dead are reclaimed up to the point where the mutator
 *                   may run on; a queue of them is cleared before the next batch
 *   end             the tables go back, a piece at a time
 *
 * What makes it right although the mutator runs: freeing a block clears its bits
 * (invariant 5), so nothing that was noted in an earlier slice is used without a
 * look at its bits; and only the verification decides (invariant 2).
 */
#include "collect_internal.h"

#include "platform/os.h"

/* References per quantum, between two looks at the clock. */
#define QUANTUM 512u
/* So many candidates per verification, and so many references of theirs, until the group
 * with which there are as many. */
#define VERIFY_OBJECTS 1024u
#define VERIFY_REFERENCES 16384u
/* What a large group takes for each of its objects, about. */
#define SUM_NS 40u
/* Large mappings go back to the system in pieces of this size. */
#define RELEASE_BYTES ((size_t)256 << 10)

static void mark_in_slices(neve_collector *c)
{
    nv_mark_prepare(c, true);
    c->cycle.phase = NV_CYCLE_WHITEN;
    c->cycle.is_snapshot = false;
}

void nv_cycle_begin(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    NV_ASSERT(cycle->phase == NV_CYCLE_IDLE);
    cycle->is_snapshot = nv_snapshot_is_due(c);
    if (cycle->is_snapshot)
        cycle->phase = NV_CYCLE_SNAPSHOT;
    else
        mark_in_slices(c);
    cycle->has_rescanned = cycle->is_tangled = false;
    cycle->chunk = 0;
    cycle->word = 0;
    cycle->suspects.count = 0;
    cycle->nominated = cycle->alive = 0;
    cycle->released_bytes = 0;
    cycle->spent_ns = 0;
    cycle->start_ns = nv_os_now_ns();
    cycle->sum = (neve_collection){.generation = 2, .start_ns = cycle->start_ns};
    cycle->population = c->heap->old_objects;
    cycle->promoted = 0;
    cycle->changes = 0;
}

/* False: there is nothing to do but to wait for the child, which no slice does. */
static bool snapshot_next(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    switch (nv_snapshot_step(c)) {
    case NV_SNAPSHOT_AWAITED:
        return false;
    case NV_SNAPSHOT_READY:
        nv_mark_prepare(c, true);
        cycle->phase = NV_CYCLE_TAKE;
        break;
    case NV_SNAPSHOT_FAILED:
        mark_in_slices(c);
        break;
    }
    return true;
}

static bool take_next(neve_collector *c)
{
    nv_chunk *chunk = nv_chunk_next(c->heap, c->cycle.chunk);
    if (chunk == NULL) {
        nv_snapshot_taken(c);
        c->cycle.chunk = 0;
        return true;
    }
    nv_snapshot_take(c, chunk);
    c->cycle.chunk = chunk->base + NV_CHUNK_BYTES;
    return false;
}

static bool whiten_next(neve_collector *c)
{
    nv_chunk *chunk = nv_chunk_next(c->heap, c->cycle.chunk);
    if (chunk == NULL) {
        nv_mark_roots(c);
        return true;
    }
    nv_mark_whiten(c, chunk);
    c->cycle.chunk = chunk->base + NV_CHUNK_BYTES;
    return false;
}

/* Those that need not be tracked leave while what was found out about them holds. */
static void untrack_marked(neve_collector *c)
{
    if (c->untrackable.count == 0)
        return;
    if (c->host->untrack != NULL)
        c->host->untrack(c->ctx, c->untrackable.items, c->untrackable.count, true);
    c->untrackable.count = 0;
}

static bool mark_next(neve_collector *c)
{
    bool is_done = nv_mark_step(c, QUANTUM);
    untrack_marked(c);
    if (!is_done)
        return false;
    if (!c->cycle.has_rescanned) {
        /* What the mutator has hung on the roots since. */
        c->cycle.has_rescanned = true;
        nv_mark_roots(c);
        return false;
    }
    c->cycle.chunk = 0;
    return true;
}

static bool rescue_next(neve_collector *c)
{
    bool is_done = nv_filter_rescue(c);
    untrack_marked(c);
    return is_done;
}

static bool verify_next(neve_collector *c, neve_status *status)
{
    nv_cycle *cycle = &c->cycle;
    if (cycle->group.stage != NV_GROUP_NONE) {
        if (!nv_group_next(c, status) || c->candidates.count == 0)
            return false; /* it is under way still, or condemned as a whole */
    } else {
        if (!nv_filter_take(c, VERIFY_OBJECTS, VERIFY_REFERENCES))
            return true;
        if (c->candidates.count == 0 || nv_group_verify_few(c))
            return false;
    }
    if (nv_collect_candidates(c, &c->later, NV_SLICE, false) != NEVE_OK)
        c->failed++; /* these stay old, and the next cycle finds them */
    else
        cycle->alive += c->survivors;
    nv_verify_finish(c);
    c->candidates.count = 0;
    return false;
}

/* What the largest group took, which cannot be split. */
static bool verify_and_measure(neve_collector *c, neve_status *status)
{
    neve_cycle_stats *stats = &c->cycle.stats;
    size_t largest = stats->largest_group;
    uint64_t before_ns = nv_os_thread_ns();
    bool is_over = verify_next(c, status);
    if (stats->largest_group > largest)
        stats->largest_group_ns = nv_os_thread_ns() - before_ns;
    return is_over;
}

static bool end_suspects_next(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    nv_chunk *chunk = nv_chunk_next(c->heap, cycle->chunk);
    if (chunk == NULL)
        return true;
    if (chunk->numbered != NULL)
        nv_numbered_drop(c->heap, chunk);
    cycle->chunk = chunk->base + NV_CHUNK_BYTES;
    return false;
}

void nv_cycle_drop(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    NV_ASSERT(cycle->phase == NV_CYCLE_IDLE);
    nv_heap_unmap(c->heap, cycle->links, cycle->link_bytes);
    cycle->links = NULL;
    cycle->link_bytes = 0;
    nv_vec_destroy(c->heap, &cycle->suspects);
}

/* Gives the pages back before the mapping, so that no call takes long. */
static bool end_groups_next(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    size_t bytes = cycle->link_bytes, at = cycle->released_bytes;
    if (bytes > nv_vec_keep_bytes(c)) {
        if (at < bytes) {
            size_t piece = bytes - at < RELEASE_BYTES ? bytes - at : RELEASE_BYTES;
            nv_os_discard((char *)cycle->links + at, piece);
            cycle->released_bytes += piece;
            return false;
        }
        nv_heap_unmap(c->heap, cycle->links, bytes);
        cycle->links = NULL;
        cycle->link_bytes = 0;
    }
    nv_vec_trim(c, &cycle->suspects);
    nv_group_drop(c);
    nv_vec_trim(c, &c->candidates);
    nv_vec_trim(c, &c->deferred);
    nv_vec_trim(c, &c->untrackable);
    c->heap->marking = false;
    c->mark_object = NULL;
    cycle->slab = c->heap->slabs;
    return true;
}

static bool end_marks_next(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    if (cycle->slab == NULL)
        return true;
    nv_marks_drop_slab(cycle->slab);
    cycle->slab = cycle->slab->next;
    return false;
}

/* What the cycle found, and what it took, counts for the old generation, whether it
 * ends or is abandoned. */
static void add_sum(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    neve_generation_stats *stats = &c->stats[2];
    stats->collected += cycle->sum.collected;
    stats->uncollectable += cycle->sum.uncollectable;
    stats->time_ns += cycle->spent_ns;
    cycle->sum.collected = cycle->sum.uncollectable = 0;
}

static void add_up(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    cycle->stats.cycles++;
    cycle->stats.suspects = cycle->nominated;
    /* Of the suspects those that were not found dead, at the latest by verifying. */
    size_t dead = cycle->sum.collected;
    cycle->stats.false_suspects = dead < cycle->nominated ? cycle->nominated - dead : 0;
    c->stats[2].collections++;
    add_sum(c);
    c->long_lived_total = c->heap->old_objects;
    c->long_lived_pending = 0;
    c->current.ended_cycle = true;
}

static void abandon(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    nv_snapshot_abandon(c);
    cycle->chunk = 0;
    while (!end_suspects_next(c))
        continue;
    cycle->released_bytes = cycle->link_bytes;
    end_groups_next(c);
    nv_marks_drop(c->heap);
    cycle->phase = NV_CYCLE_IDLE;
    cycle->stats.abandoned++;
    cycle->changes = 1; /* its garbage is still there */
    cycle->low = c->heap->old_objects;
}

/* A quantum of work: some 10 microseconds, but for what cannot be split (the roots,
 * one group, one object that its host cannot traverse in pieces, making a child).
 * False: there is nothing more to do now. */
static bool quantum(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    neve_status status = NEVE_OK;
    bool is_over = false;
    if (c->later.items.count > 0) {
        nv_reclaim_step(c, &c->later, 1);
        return true;
    }
    switch (cycle->phase) {
    case NV_CYCLE_IDLE:
        return false;
    case NV_CYCLE_SNAPSHOT:
        return snapshot_next(c);
    case NV_CYCLE_TAKE:
        is_over = take_next(c);
        if (is_over) {
            cycle->phase = NV_CYCLE_NUMBER;
            return true;
        }
        break;
    case NV_CYCLE_WHITEN:
        is_over = whiten_next(c);
        break;
    case NV_CYCLE_MARK:
        is_over = mark_next(c);
        break;
    case NV_CYCLE_NUMBER:
        is_over = nv_filter_number(c, &status);
        break;
    case NV_CYCLE_GROUP:
        is_over = nv_filter_group(c);
        break;
    case NV_CYCLE_RESCUE:
        is_over = rescue_next(c);
        if (is_over && !cycle->is_tangled) {
            cycle->phase = NV_CYCLE_VERIFY;
            return true;
        }
        break;
    case NV_CYCLE_UNTANGLE:
        is_over = nv_filter_untangle(c);
        break;
    case NV_CYCLE_SEVER:
        is_over = nv_filter_sever(c);
        break;
    case NV_CYCLE_GROUP_AGAIN:
        is_over = nv_filter_group_again(c);
        break;
    case NV_CYCLE_VERIFY:
        is_over = verify_and_measure(c, &status);
        if (is_over)
            cycle->chunk = 0;
        break;
    case NV_CYCLE_END_SUSPECTS:
        is_over = end_suspects_next(c);
        break;
    case NV_CYCLE_END_GROUPS:
        is_over = end_groups_next(c);
        break;
    case NV_CYCLE_END_MARKS:
        is_over = end_marks_next(c);
        if (is_over) {
            cycle->phase = NV_CYCLE_IDLE;
            return true;
        }
        break;
    }
    if (status != NEVE_OK) {
        c->failed++;
        abandon(c);
    } else if (is_over) {
        cycle->phase++;
    }
    return true;
}

/* Whether a group is to be verified next that takes longer than a pause by itself. */
static bool sum_is_long(const neve_collector *c)
{
    const nv_group *group = &c->cycle.group;
    return group->stage == NV_GROUP_SUM &&
           group->members.count * SUM_NS > (size_t)c->pause_us * 1000;
}

void nv_cycle_run(neve_collector *c, uint64_t deadline_ns)
{
    nv_cycle *cycle = &c->cycle;
    bool was_running = cycle->phase != NV_CYCLE_IDLE;
    uint64_t abandoned = cycle->stats.abandoned;
    if (!was_running && c->later.items.count == 0)
        return;
    uint64_t now_ns, used_ns = nv_os_thread_ns();
    bool has_more;
    neve_collection before = c->current;
    c->current.collected = c->current.uncollectable = 0;
    if (c->host->begin != NULL)
        c->host->begin(c->ctx, 2, true);
    nv_mark_resume(c);
    do {
        has_more = quantum(c);
        now_ns = nv_os_now_ns();
        if (sum_is_long(c))
            break; /* it comes first in the next slice */
    } while (has_more && now_ns < deadline_ns &&
             (cycle->phase != NV_CYCLE_IDLE || c->later.items.count > 0));

    uint64_t spent_ns = nv_os_thread_ns() - used_ns;
    cycle->spent_ns += spent_ns;
    cycle->stats.slices++;
    cycle->stats.time_ns += spent_ns;
    if (cycle->stats.longest_slice_ns < spent_ns)
        cycle->stats.longest_slice_ns = spent_ns;
    cycle->sum.collected += c->current.collected;
    cycle->sum.uncollectable += c->current.uncollectable;
    cycle->stats.collected += c->current.collected;
    c->current.cycle_collected = c->current.collected;
    c->current.cycle_uncollectable = c->current.uncollectable;
    c->current.collected += before.collected;
    c->current.uncollectable += before.uncollectable;
    if (was_running && cycle->phase == NV_CYCLE_IDLE && cycle->stats.abandoned == abandoned) {
        nv_pace_cycle_ended(c, cycle->sum.collected, now_ns);
        add_up(c);
    } else if (was_running && cycle->phase == NV_CYCLE_IDLE) {
        add_sum(c); /* this slice abandoned it */
    }
}

void nv_cycle_take_back(neve_collector *c, size_t collected)
{
    nv_cycle *cycle = &c->cycle;
    cycle->stats.collected -=
        collected < cycle->stats.collected ? collected : cycle->stats.collected;
    /* Of a cycle that was abandoned the sum has been added already. */
    size_t from_sum = collected < cycle->sum.collected ? collected : cycle->sum.collected;
    uint64_t rest = collected - from_sum;
    cycle->sum.collected -= from_sum;
    c->stats[2].collected -= rest < c->stats[2].collected ? rest : c->stats[2].collected;
}

void nv_cycle_abandon(neve_collector *c)
{
    if (c->cycle.phase == NV_CYCLE_IDLE)
        return;
    abandon(c);
    add_sum(c);
}

void neve_collector_after_fork_child(neve_collector *c)
{
    /* A finalizer may fork: then the slice goes on here as in the parent. */
    if (c->is_collecting)
        return;
    nv_cycle_abandon(c);
    nv_pace_start(c); /* the host may count its bytes anew */
    nv_young_after_fork(c);
}
