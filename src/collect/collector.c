/* SPDX-License-Identifier: MIT */
/*
 * The collector's control: safe points, thresholds, the order of a collection,
 * statistics, listeners.
 */
#include "collect_internal.h"

#include <stdlib.h>

#include "platform/os.h"

static const uint32_t default_thresholds[NEVE_GENERATIONS] = {2000, 10, 10};

neve_status neve_collector_create(neve_heap *heap, const neve_host *host, void *host_ctx,
                                  const neve_collector_options *options, neve_collector **out)
{
    neve_collector_options given;
    if (heap == NULL || host == NULL || out == NULL || host->struct_size != sizeof *host ||
        nv_collector_options_read(&given, options, NULL, 0) != NEVE_OK)
        return NEVE_EINVAL;
    options = &given;
    if (host->read_counts == NULL || host->traverse == NULL || host->retain == NULL ||
        host->release == NULL || host->clear == NULL || host->type_name == NULL)
        return NEVE_EINVAL;
    /* In the heap's RAW domain: the collector lives and dies with its heap. */
    neve_collector *c = neve_heap_calloc(heap, NEVE_DOMAIN_RAW, 1, sizeof *c);
    if (c == NULL)
        return NEVE_ENOMEM;
    c->heap = heap;
    c->host = host;
    c->ctx = host_ctx;
    c->breaker = options->breaker != NULL ? options->breaker : &c->own_breaker;
    bool has_thresholds = false;
    for (int i = 0; i < NEVE_GENERATIONS; i++)
        has_thresholds |= options->thresholds[i] != 0;
    neve_collector_set_thresholds(c, has_thresholds ? options->thresholds : default_thresholds);
    c->is_enabled = true;
    c->mode = options->mode;
    (void)neve_collector_set_pause_us(c, options->pause_us); /* it has been checked */
    if (host->gather == NULL)
        nv_touched_begin(heap);
    const char *stress = getenv("NEVE_GC_STRESS");
#ifdef NEVE_GC_STRESS_DEFAULT
    c->is_stressed = stress == NULL || strtol(stress, NULL, 10) != 0;
#else
    c->is_stressed = stress != NULL && strtol(stress, NULL, 10) != 0;
#endif
    nv_pace_start(c);
    c->cycle.large_above = c->is_stressed ? 0 : NV_LARGE_GROUP;
    nv_snapshot_init(c);
    if (c->is_stressed)
        neve_breaker_set(c->breaker, NEVE_EVENT_COLLECT);
    *out = c;
    return NEVE_OK;
}

void neve_collector_destroy(neve_collector *c)
{
    if (c == NULL)
        return;
    neve_breaker_clear(c->breaker, NEVE_EVENT_COLLECT);
    neve_heap *heap = c->heap;
    nv_cycle_abandon(c);
    nv_snapshot_reap(c, true);
    nv_verify_finish(c);
    nv_possible_drop(c);
    nv_vec_destroy(heap, &c->young);
    nv_vec_destroy(heap, &c->candidates);
    nv_vec_destroy(heap, &c->untrackable);
    nv_vec_destroy(heap, &c->deferred);
    nv_vec_destroy(heap, &c->stack);
    nv_vec_destroy(heap, &c->finals);
    nv_vec_destroy(heap, &c->now.items);
    nv_vec_destroy(heap, &c->later.items);
    nv_cycle_drop(c);
    nv_vec_destroy(heap, &c->cycle.group.chunks);
    nv_vec_destroy(heap, &c->cycle.group.members);
    nv_vec_destroy(heap, &c->cycle.group.special);
    nv_heap_unmap(heap, c->map.buckets, c->map.bucket_bytes);
    nv_heap_unmap(heap, c->refs, c->refs_bytes);
    neve_heap_free(heap, c);
}

void nv_tables_drop(neve_collector *c)
{
    nv_verify_finish(c);
    /* Nothing in these two is needed any more; a cycle may have filled others. */
    c->young.count = c->candidates.count = 0;
    nv_vec *const vecs[] = {&c->young, &c->candidates, &c->untrackable, &c->deferred,
                            &c->stack, &c->now.items,  &c->later.items};
    for (size_t i = 0; i < sizeof vecs / sizeof vecs[0]; i++)
        if (vecs[i]->count == 0)
            nv_vec_destroy(c->heap, vecs[i]);
    nv_heap_unmap(c->heap, c->refs, c->refs_bytes);
    c->refs = NULL;
    c->refs_bytes = 0;
    nv_heap_unmap(c->heap, c->map.buckets, c->map.bucket_bytes);
    c->map.buckets = NULL;
    c->map.bucket_bytes = 0;
    if (c->cycle.phase == NV_CYCLE_IDLE)
        nv_cycle_drop(c);
    nv_possible_drop(c);
}

/* After so many allocations the next part of an oversized young generation is due. */
#define MORE_SOON 200u

/* ---- the order of a collection ---- */

/* Survivors of a collection of 0 .. generation < 2 move up; to the old ones, where
 * not all that are young were looked at. */
static void promote_survivors(neve_collector *c, void **survivors, size_t n, int generation)
{
    if (c->host->untrack != NULL)
        n = c->host->untrack(c->ctx, survivors, n, false);
    int to_generation = c->is_partial ? 2 : generation + 1;
    size_t moved = nv_promote(c, survivors, n, to_generation);
    if (to_generation == 2)
        c->long_lived_pending += moved;
    c->survivors = n;
    nv_pace_promoted(c, generation, n);
}

/* The full collection's survivors are old already. Objects that can be in no
 * cycle leave the collector's care: among the formerly young in the order in
 * which they were made, then among those that the marking noted, and those that
 * it did not reach. */
static void untrack_survivors(neve_collector *c, void **survivors, size_t n)
{
    if (c->host->untrack == NULL)
        return;
    size_t kept = 0;
    for (size_t i = 0; i < c->young.count; i++)
        if (nv_candidate_number(c, c->young.items[i]) == 0)
            c->young.items[kept++] = c->young.items[i];
    c->host->untrack(c->ctx, c->young.items, kept, true);
    c->host->untrack(c->ctx, c->untrackable.items, c->untrackable.count, true);
    c->host->untrack(c->ctx, survivors, n, true);
}

/* Young objects that are not verified: all of them survive. Those that pass over the middle
 * generation leave the collector's care here, or never, if they can be in no cycle. */
static void pass_on_young(neve_collector *c, int generation)
{
    size_t n = c->candidates.count;
    if (generation == 0) {
        c->survivors = nv_promote(c, c->candidates.items, n, 1);
        nv_pace_promoted(c, 0, n);
    } else {
        nv_pace_middle(c, n, 0);
        promote_survivors(c, c->candidates.items, n, generation);
    }
    nv_touched_take(c, generation);
    nv_young_passed(c);
}

static neve_status nominate(neve_collector *c, int generation)
{
    const nv_nominator *nominator = generation >= 2 ? &nv_nominate_full : &nv_nominate_generation;
    neve_status status = nominator->begin(c, generation);
    if (status != NEVE_OK)
        return status;
    while (!nominator->step(c, SIZE_MAX))
        continue;
    return nominator->finish(c, generation);
}

/* Reports those on which references besides the collector's own are left. */
static void report_uncollectable(neve_collector *c, void **objects, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t count;
        c->host->read_counts(c->ctx, &objects[i], 1, &count);
        if (count > 1) {
            void *object = objects[i];
            objects[i] = objects[left];
            objects[left++] = object;
        }
    }
    c->current.uncollectable += left;
    if (left > 0 && c->host->report_uncollectable != NULL)
        c->host->report_uncollectable(c->ctx, objects, left, NEVE_UNCOLLECTABLE_FINALIZER);
    c->host->release(c->ctx, objects, n);
}

neve_status nv_collect_candidates(neve_collector *c, nv_queue *queue, int generation,
                                  bool is_proved)
{
    neve_collection *current = &c->current;
    uint64_t start = nv_os_now_ns();
    current->candidates += c->candidates.count;

    /* Room for all that may be found dead, while giving up is still simple. */
    if (!nv_vec_reserve(c->heap, &queue->items, c->candidates.count + 1))
        return NEVE_ENOMEM;

    nv_verdict verdict = {.dead = c->candidates.count, .is_closed = true};
    neve_status status = NEVE_OK;
    if (!is_proved || NEVE_DEBUG >= 2)
        status = nv_verify(c, c->candidates.items, c->candidates.count, 0, true, &verdict);
    NV_ASSERT(!is_proved || status != NEVE_OK || verdict.is_closed);
    uint64_t verified = nv_os_now_ns();
    current->verify_ns += verified - start;
    if (status != NEVE_OK)
        return status;

    /* What the host gathered is in its order, at the end. */
    size_t gathered = c->host->gather == NULL || generation == NV_SLICE ? 0
                      : generation < 2                                  ? c->candidates.count
                                                                        : c->fresh;
    size_t in_order =
        nv_verify_count_dead(c, &verdict, c->candidates.count - gathered, c->candidates.count);

    /* No code of the mutator has run since the candidates were nominated. */
    void **uncollectable = c->candidates.items + verdict.dead;
    void **survivors = uncollectable + verdict.uncollectable;
    size_t survivor_count = c->candidates.count - verdict.dead - verdict.uncollectable;
    int to_generation = generation < 2 && !c->is_partial ? generation + 1 : 2;
    if (generation == NV_SLICE) {
        c->survivors = survivor_count;
    } else if (generation >= 2) {
        untrack_survivors(c, survivors, survivor_count);
        c->long_lived_total = c->old - verdict.dead;
        c->long_lived_pending = 0;
        nv_pace_all_collected(c);
    } else {
        if (generation == 1 && !c->is_partial && neve_mode_has_cycles(c->mode))
            nv_pace_middle(c, c->middle_end - c->middle_begin,
                           nv_verify_count_dead(c, &verdict, c->middle_begin, c->middle_end));
        promote_survivors(c, survivors, survivor_count, generation);
        nv_touched_take(c, generation);
    }
    if (verdict.uncollectable > 0) {
        nv_promote(c, uncollectable, verdict.uncollectable, 2);
        /* Held until the others are gone: what was referred to by the dead
         * only dies with them. */
        c->host->retain(c->ctx, uncollectable, verdict.uncollectable);
    }
    nv_reclaim_begin(c, queue, &verdict, in_order, to_generation);
    nv_verify_finish(c);
    /* The vector of candidates is still that of the uncollectable. */
    while ((queue == &c->now || verdict.uncollectable > 0) && !nv_reclaim_step(c, queue, SIZE_MAX))
        continue;
    if (verdict.uncollectable > 0)
        report_uncollectable(c, uncollectable, verdict.uncollectable);
    current->reclaim_ns += nv_os_now_ns() - verified;
    return NEVE_OK;
}

static neve_status collect(neve_collector *c, int generation, bool passes_on)
{
    c->candidates.count = c->young.count = c->untrackable.count = 0;
    c->marked = 0;
    if (generation >= 2)
        nv_tables_drop(c); /* what young collections keep is not held beside the marks */
    if (!nv_vec_reserve(c->heap, &c->candidates, 1)) /* so that it has an address */
        return NEVE_ENOMEM;
    neve_status status = nominate(c, generation);
    c->current.marked = c->marked;
    c->current.nominate_ns = nv_os_now_ns() - c->current.start_ns;
    if (status != NEVE_OK)
        return status;
    if (passes_on) {
        pass_on_young(c, generation);
        return NEVE_OK;
    }
    return nv_collect_candidates(c, &c->now, generation, false);
}

static void add_to_stats(neve_generation_stats *stats, const neve_collection *collection)
{
    stats->collections++;
    stats->collected += collection->collected;
    stats->uncollectable += collection->uncollectable;
    stats->time_ns += collection->duration_ns;
    if (stats->longest_pause_ns < collection->duration_ns)
        stats->longest_pause_ns = collection->duration_ns;
}

/* Goes on with the cycle, and does nothing else. */
static void run_slice(neve_collector *c, uint64_t budget_ns)
{
    c->is_collecting = true;
    c->current = (neve_collection){.generation = 2, .is_slice = true, .start_ns = nv_os_now_ns()};
    if (c->listener.begin != NULL)
        c->listener.begin(c->listener.ctx, &c->current);
    nv_cycle_run(c, c->current.start_ns + budget_ns);
    uint64_t now_ns = nv_os_now_ns();
    nv_cache_tick(c->heap, now_ns);
    nv_arena_tick(c->heap, now_ns);
    c->current.duration_ns = now_ns - c->current.start_ns;
    c->is_collecting = false;
    if (c->listener.end != NULL)
        c->listener.end(c->listener.ctx, &c->current);
}

/* A stop between two young collections. */
static void run_due_slice(neve_collector *c, uint64_t budget_ns, neve_collection *result)
{
    neve_breaker_clear(c->breaker, NEVE_EVENT_COLLECT);
    run_slice(c, budget_ns);
    c->current.next_after = nv_pace_next_after(c, true);
    c->counts[0] = c->thresholds[0] - c->current.next_after;
    if (result != NULL)
        *result = c->current;
}

/* What has lost references is looked at, in all generations but the young. */
static void collect_possible(neve_collector *c)
{
    neve_collection *current = &c->current;
    *current = (neve_collection){.generation = 2, .start_ns = nv_os_now_ns()};
    c->is_collecting = true;
    if (c->listener.begin != NULL)
        c->listener.begin(c->listener.ctx, current);
    if (c->host->begin != NULL)
        c->host->begin(c->ctx, 2, true);
    /* What dies here is not young, and no reason to wait longer for a young collection. */
    uint32_t young = c->counts[0];
    neve_status status = nv_possible_nominate(c);
    current->nominate_ns = nv_os_now_ns() - current->start_ns;
    if (status == NEVE_OK && c->candidates.count > 0)
        status = nv_collect_candidates(c, &c->now, NV_SLICE, c->possible.is_proved);
    if (c->counts[0] < young)
        c->counts[0] = young;
    nv_verify_finish(c);
    nv_vec_trim(c, &c->candidates);
    if (status != NEVE_OK)
        c->failed++;
    nv_possible_verified(c, current->collected);
    c->stats[2].collected += current->collected;
    size_t *pending = &c->long_lived_pending;
    *pending = current->collected < *pending ? *pending - current->collected : 0;
    current->duration_ns = nv_os_now_ns() - current->start_ns;
    c->stats[2].time_ns += current->duration_ns;
    c->is_collecting = false;
    if (c->listener.end != NULL)
        c->listener.end(c->listener.ctx, current);
    nv_collector_assert_sound(c);
}

static neve_status collect_and_record(neve_collector *c, int generation, bool is_explicit,
                                      neve_collection *result)
{
    if (c->is_collecting)
        return NEVE_EBUSY;
    if (!is_explicit && c->possible.count > 0)
        collect_possible(c);  /* given back, they would be forgotten */
    nv_possible_give_back(c); /* or else these would look held from outside */
    bool in_slices = neve_mode_has_cycles(c->mode) && !is_explicit;
    uint64_t slice_ns = in_slices ? nv_pace_stop(c) : 0;
    if (slice_ns != 0) {
        run_due_slice(c, slice_ns, result);
        return NEVE_OK;
    }
    c->is_collecting = true;
    neve_breaker_clear(c->breaker, NEVE_EVENT_COLLECT);
    c->gather_limit = SIZE_MAX;
    int asked = generation;
    if (in_slices)
        generation = nv_pace_generation(c, generation);
    if (asked < generation)
        asked = generation;
    neve_collection *current = &c->current;
    *current = (neve_collection){
        .generation = generation, .is_explicit = is_explicit, .start_ns = nv_os_now_ns()};
    if (!in_slices && generation >= 2) { /* a part of this pause */
        nv_cycle_abandon(c);
        nv_reclaim_drain(c);
    }
    nv_collector_assert_sound(c);

    if (c->listener.begin != NULL)
        c->listener.begin(c->listener.ctx, current);
    /* Where cycles stand in for full collections the count that asked for one begins
     * anew as well: else it would ask for the middle generation from now on. */
    for (int i = 0; i <= asked; i++)
        c->counts[i] = 0;
    if (asked + 1 < NEVE_GENERATIONS)
        c->counts[asked + 1]++;

    if (c->host->begin != NULL)
        c->host->begin(c->ctx, generation, false);
    c->survivors = 0;
    bool passes_on = !is_explicit && nv_young_passes(c, generation);
    /* (The thread's clock is a system call, and long for what only passes on.) */
    uint64_t used_ns = in_slices && !passes_on ? nv_os_thread_ns() : 0;
    neve_status status = collect(c, generation, passes_on);
    if (status != NEVE_OK && generation >= 2 && c->heap->marking)
        nv_mark_finish(c);
    nv_verify_finish(c);
    if (generation >= 2) {
        /* Such collections are rare, and in a forked child every page counts. */
        nv_tables_drop(c);
    } else {
        nv_vec_trim(c, &c->young);
        nv_vec_trim(c, &c->candidates);
    }
    uint64_t now_ns = nv_os_now_ns();
    current->duration_ns = now_ns - current->start_ns;
    if (status == NEVE_OK && !passes_on)
        nv_young_verified(c, generation, is_explicit, current->collected + current->uncollectable);
    if (status == NEVE_OK)
        add_to_stats(&c->stats[generation], current);
    else
        c->failed++;
    current->is_partial = status == NEVE_OK && c->is_partial;
    if (in_slices)
        nv_snapshot_reap(c, false);
    /* A collection that failed is told of as one that reclaimed nothing: no slice
     * follows it. */
    if (in_slices && status == NEVE_OK) {
        nv_pace_slice(c, generation,
                      passes_on ? current->duration_ns : nv_os_thread_ns() - used_ns);
        now_ns = nv_os_now_ns();
        current->duration_ns = now_ns - current->start_ns;
    } else {
        nv_pace_start(c); /* from what is held now */
    }
    nv_cache_tick(c->heap, now_ns);
    nv_arena_tick(c->heap, now_ns);
    c->is_collecting = false;
    if (in_slices)
        current->next_after = nv_pace_next_after(c, false);
    uint32_t threshold = c->thresholds[0];
    if (current->is_partial) /* the rest of the young ones comes soon, but not in the same pause */
        current->next_after = threshold / 4 < MORE_SOON ? threshold / 4 : MORE_SOON;
    if (current->next_after != 0)
        c->counts[0] = threshold - current->next_after;

    if (status != NEVE_OK) {
        if (c->listener.failed != NULL)
            c->listener.failed(c->listener.ctx, current, status);
    } else if (c->listener.end != NULL) {
        c->listener.end(c->listener.ctx, current);
    }
    if (c->is_stressed)
        neve_breaker_set(c->breaker, NEVE_EVENT_COLLECT);
    if (result != NULL)
        *result = *current;
    nv_collector_assert_sound(c);
    return status;
}

neve_status neve_collect(neve_collector *c, int generation, neve_collection *result)
{
    if (generation < 0 || generation >= NEVE_GENERATIONS)
        return NEVE_EINVAL;
    return collect_and_record(c, generation, true, result);
}

neve_status neve_collect_due(neve_collector *c, int generation, neve_collection *result)
{
    if (generation < 0 || generation >= NEVE_GENERATIONS)
        return NEVE_EINVAL;
    return collect_and_record(c, generation, false, result);
}

static bool cycle_is_pending(const neve_collector *c)
{
    return c->cycle.phase != NV_CYCLE_IDLE || c->later.items.count > 0;
}

bool neve_step(neve_collector *c, uint32_t budget_us, neve_collection *result)
{
    neve_collection nothing = {.generation = 2};
    if (result != NULL)
        *result = nothing;
    if (!neve_mode_has_cycles(c->mode) || c->is_collecting)
        return false;
    nv_snapshot_reap(c, false);
    if (!cycle_is_pending(c)) {
        if (c->possible.count > 0)
            collect_possible(c);
        if (!nv_pace_has_changed(c))
            return false;
        /* It begins with a collection of the middle generation, and, should the young
         * ones be too many for one, at a later call. */
        c->cycle.is_wanted = true;
        collect_and_record(c, 1, false, result);
        return cycle_is_pending(c) || c->cycle.is_wanted;
    }
    run_slice(c, (uint64_t)budget_us * 1000);
    if (result != NULL)
        *result = c->current;
    return cycle_is_pending(c);
}

/* ---- safe points ---- */

void neve_collector_count_alloc(neve_collector *c)
{
    if (NEVE_UNLIKELY((++c->counts[0] > c->thresholds[0]) |
                      (c->heap->large_bytes >= c->cycle.large_alarm)) &&
        c->thresholds[0] != 0 && c->is_enabled && !c->is_collecting)
        neve_breaker_set(c->breaker, NEVE_EVENT_COLLECT);
}

void neve_collector_set_young_count(neve_collector *c, uint32_t count)
{
    c->counts[0] = count;
}

void neve_collector_count_free(neve_collector *c)
{
    if (c->counts[0] > 0)
        c->counts[0]--;
}

void neve_collector_safepoint(neve_collector *c)
{
    if (c->is_collecting)
        return;
    if (!c->is_stressed)
        neve_breaker_clear(c->breaker, NEVE_EVENT_COLLECT);
    if (!c->is_enabled || c->thresholds[0] == 0) {
        nv_possible_give_back(c); /* nobody will look at them */
        return;
    }
    if (c->is_stressed) {
        collect_and_record(c, 2, false, NULL);
        return;
    }
    if (nv_possible_is_due(c))
        collect_possible(c);
    if (c->counts[0] <= c->thresholds[0] && c->heap->large_bytes < c->cycle.large_alarm)
        return; /* enough was freed since the event was set */
    int generation = 0;
    for (int i = NEVE_GENERATIONS - 1; i > 0; i--) {
        if (c->counts[i] <= c->thresholds[i])
            continue;
        /* The 25% rule: full collections at a constant ratio of growth make
         * their total cost linear in the number of objects created. */
        if (i == NEVE_GENERATIONS - 1 && c->long_lived_pending < c->long_lived_total / 4)
            continue;
        generation = i;
        break;
    }
    collect_and_record(c, generation, false, NULL);
}

void neve_collector_drain(neve_collector *c)
{
    if (c->is_collecting)
        return;
    c->is_collecting = true;
    nv_cycle_abandon(c);
    nv_snapshot_reap(c, true);
    nv_reclaim_drain(c);
    c->is_collecting = false;
}

/* ---- settings ---- */

neve_eval_breaker *neve_collector_breaker(neve_collector *c)
{
    return c->breaker;
}

void neve_collector_enable(neve_collector *c)
{
    c->is_enabled = true;
    if (c->is_stressed || (c->thresholds[0] != 0 && c->counts[0] > c->thresholds[0]))
        neve_breaker_set(c->breaker, NEVE_EVENT_COLLECT);
}

/* Switched off, by one function or the other: the next safe point gives back what is held. */
static void ask_to_give_back(neve_collector *c)
{
    if (c->possible.count > 0 && (!c->is_enabled || c->thresholds[0] == 0))
        neve_breaker_set(c->breaker, NEVE_EVENT_COLLECT);
}

void neve_collector_disable(neve_collector *c)
{
    c->is_enabled = false;
    ask_to_give_back(c);
}

bool neve_collector_is_enabled(const neve_collector *c)
{
    return c->is_enabled;
}

bool neve_collector_is_collecting(const neve_collector *c)
{
    return c->is_collecting;
}

void neve_collector_set_thresholds(neve_collector *c, const uint32_t thresholds[NEVE_GENERATIONS])
{
    memcpy(c->thresholds, thresholds, sizeof c->thresholds);
    ask_to_give_back(c);
}

void neve_collector_get_thresholds(const neve_collector *c, uint32_t thresholds[NEVE_GENERATIONS])
{
    memcpy(thresholds, c->thresholds, sizeof c->thresholds);
}

void neve_collector_get_counts(const neve_collector *c, uint32_t counts[NEVE_GENERATIONS])
{
    memcpy(counts, c->counts, sizeof c->counts);
}

neve_status neve_collector_set_mode(neve_collector *c, neve_mode mode)
{
    if (c->is_collecting)
        return NEVE_EBUSY;
    if (mode != NEVE_MODE_GENERATIONAL && !neve_mode_has_cycles(mode))
        return NEVE_EINVAL;
    neve_collector_drain(c);
    c->mode = mode;
    nv_pace_start(c);
    return NEVE_OK;
}

neve_mode neve_collector_mode(const neve_collector *c)
{
    return c->mode;
}

neve_status neve_collector_set_pause_us(neve_collector *c, uint32_t pause_us)
{
    if (pause_us > NEVE_MAX_PAUSE_US)
        return NEVE_EINVAL;
    c->pause_us = pause_us != 0 ? pause_us : NEVE_DEFAULT_PAUSE_US;
    return NEVE_OK;
}

void neve_collector_set_listener(neve_collector *c, const neve_listener *listener)
{
    c->listener = listener != NULL ? *listener : (neve_listener){0};
}

/* ---- statistics ---- */

void neve_collector_get_stats(const neve_collector *collector, neve_collector_stats *stats)
{
    /* Gathering needs a vector; one of its own, for a collection may be on. */
    neve_collector *c = (neve_collector *)(uintptr_t)collector;
    memset(stats, 0, sizeof *stats);
    memcpy(stats->generations, c->stats, sizeof c->stats);
    for (int i = 0; i < NEVE_GENERATIONS; i++) {
        stats->generations[i].threshold = c->thresholds[i];
        stats->generations[i].count = c->counts[i];
    }
    nv_count_states(c->heap, &stats->generations[2].objects, &stats->frozen);
    nv_vec young = {0};
    size_t limit = c->gather_limit, pools = c->gathered_pools;
    bool is_partial = c->is_partial;
    c->gather_limit = SIZE_MAX;
    if (nv_gather(c, 0, &young) == NEVE_OK) {
        stats->generations[0].objects = young.count;
        young.count = 0;
        if (nv_gather(c, 1, &young) == NEVE_OK)
            stats->generations[1].objects = young.count - stats->generations[0].objects;
    }
    nv_vec_destroy(c->heap, &young);
    c->gather_limit = limit;
    c->gathered_pools = pools;
    c->is_partial = is_partial;
    stats->roots_explored = c->possible.explored_count;
    stats->roots_collected = c->possible.collected;
    stats->long_lived_total = c->long_lived_total;
    stats->long_lived_pending = c->long_lived_pending;
    stats->condemned = c->later.items.count - c->later.at;
    stats->cycle = c->cycle.stats;
    stats->cycle.is_running = c->cycle.phase != NV_CYCLE_IDLE;
    stats->failed = c->failed;
}

void neve_collector_get_long_lived(const neve_collector *c, size_t *total, size_t *pending)
{
    *total = c->long_lived_total;
    *pending = c->long_lived_pending;
}

void neve_collector_set_long_lived(neve_collector *c, size_t total, size_t pending)
{
    c->long_lived_total = total;
    c->long_lived_pending = pending;
}
