/* SPDX-License-Identifier: MIT */
/*
 * The snapshot nominator: the marking of a cycle, done by a child process on its
 * copy-on-write copy of the memory while the program goes on.
 *
 * The child whitens and marks as a full collection does, from the roots as they are
 * when it is made, and writes what is white in the end into a report in shared memory:
 * for each word of 64 granules that has suspects one entry, in address order. The
 * collector looks at the report between slices of the program, never waits for it,
 * and makes white what the report names and is old, chunk by chunk. From there on
 * a cycle is that of the incremental mode.
 *
 * Stale entries. While the child works, objects that it will report may be freed,
 * and others get old at their addresses. Those are taken for suspects: that is
 * harmless, since they are live, initialised and tracked, and verification is exact
 * for any set of such objects (invariant 2). What is freed and not used again is not
 * old any more, for freeing clears that bit (invariant 5).
 *
 * Completeness (invariant 3). What is garbage when the child is made stays so, and is
 * old then; it is not reached from the roots in the child's memory, so it is reported;
 * until it is verified nothing but a full collection frees it.
 *
 * The child calls the host's traversal functions and nothing that allocates or locks;
 * a traversal that waits for a lock that another thread held would hang, so the
 * child has a time limit, and so has the collector's patience. Whatever goes
 * wrong, the cycle goes on with marking in slices, and the next cycles do not try at
 * all: one, two, four, ... of them with each failure in a row.
 */
#include "collect_internal.h"

#include <stdlib.h>

#include "platform/os.h"

/* Fewer old objects are marked in slices in little more time than making a child takes. */
#define LEAST_OBJECTS 100000u
/* Patience: the child shares its core with others, perhaps, and has a low priority. */
#define SLACK_NS UINT64_C(5000000000)
#define NS_PER_OBJECT 2000u
/* The child ends itself so much later than it is given up, by hung host or exec. */
#define CHILD_SLACK_S 5u
#define MOST_FAILURES 6u
/* References between two looks at what cannot be of use in the child. */
#define CHILD_QUANTUM 65536u

/* The granules from `address` on that are suspects: bit i for granule i. */
typedef struct nv_report_entry {
    uintptr_t address;
    uint64_t bits;
} nv_report_entry;

struct nv_report {
    uint32_t is_ready; /* set last, by the child */
    uint64_t child_ns; /* processor time of its */
    size_t count, capacity;
    nv_report_entry entries[];
};

/* ---- in the child ---- */

static void report_chunk(nv_chunk *chunk, void *arg)
{
    neve_collector *c = arg;
    nv_report *report = c->snapshot.report;
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++) {
        uint64_t bits = chunk->white[w];
        /* Old, and not permanent. */
        if (bits == 0 || (bits &= nv_old_bits(chunk, w)) == 0)
            continue;
        NV_ASSERT(report->count < report->capacity);
        report->entries[report->count++] = (nv_report_entry){
            .address = chunk->base + ((uintptr_t)w * 64 << NV_GRANULE_SHIFT), .bits = bits};
    }
}

static void child_main(void *arg)
{
    neve_collector *c = arg;
    nv_report *report = c->snapshot.report;
    nv_mark_begin(c);
    nv_mark_roots(c);
    while (!nv_mark_step(c, CHILD_QUANTUM))
        c->untrackable.count = 0; /* nobody would untrack them */
    nv_chunk_each(c->heap, report_chunk, c);
    report->child_ns = nv_os_thread_ns();
    __atomic_store_n(&report->is_ready, 1, __ATOMIC_RELEASE);
}

/* ---- in the process that collects ---- */

static void drop_report(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    nv_heap_unmap(c->heap, s->report, s->bytes);
    s->report = NULL;
    s->bytes = s->read = 0;
}

static void fail(neve_collector *c, neve_snapshot_failure why)
{
    nv_snapshot *s = &c->snapshot;
    c->cycle.stats.snapshot_failures[why]++;
    drop_report(c);
    s->held_back = 0;
    if (why == NEVE_SNAPSHOT_ABANDONED || why == NEVE_SNAPSHOT_FORKED)
        return; /* the next one may well succeed */
    if (s->failures < MOST_FAILURES)
        s->failures++;
    s->skip = 1u << (s->failures - 1);
}

/* After a fork the parent's child is not ours: it is neither to be ended nor reaped. */
static bool disown(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    if (s->child == 0 || s->owner == nv_os_process())
        return false;
    s->child = 0;
    return true;
}

void nv_snapshot_init(neve_collector *c)
{
    const char *least = getenv("NEVE_SNAPSHOT_LEAST");
    c->snapshot.least = least != NULL ? strtoul(least, NULL, 10) : LEAST_OBJECTS;
    c->snapshot.slack_ns = SLACK_NS;
}

bool nv_snapshot_is_due(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    if (c->mode != NEVE_MODE_SNAPSHOT || c->heap->old_objects < s->least)
        return false;
    if (s->skip > 0) {
        s->skip--;
        return false;
    }
    return true;
}

static void count_chunk(nv_chunk *chunk, void *arg)
{
    (void)chunk;
    ++*(size_t *)arg;
}

/* Room for an entry for each word of each chunk; what is not touched costs nothing. */
static bool make_report(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    size_t chunks = 0;
    nv_chunk_each(c->heap, count_chunk, &chunks);
    size_t capacity = chunks * NV_CHUNK_WORDS;
    size_t page = nv_os_page_bytes();
    size_t bytes = sizeof(nv_report) + capacity * sizeof(nv_report_entry);
    bytes = (bytes + page - 1) & ~(page - 1);
    s->report = nv_fails_now(c->heap) ? NULL : nv_os_map_shared(bytes);
    if (s->report == NULL)
        return false;
    s->bytes = bytes;
    s->report->capacity = capacity;
    c->heap->table_bytes += bytes;
    return true;
}

static nv_outcome begin(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    neve_cycle_stats *stats = &c->cycle.stats;
    stats->snapshots++;
    uint64_t before_ns = nv_os_now_ns();
    uint64_t patience_ns = s->slack_ns + c->heap->old_objects * (uint64_t)NS_PER_OBJECT;
    bool is_made = false;
    if (make_report(c)) {
        s->owner = nv_os_process();
        unsigned limit_s = (unsigned)(patience_ns / 1000000000) + CHILD_SLACK_S;
        s->child = nv_os_child_begin(child_main, c, limit_s, "neve-snapshot");
        is_made = s->child != 0;
    }
    uint64_t now_ns = nv_os_now_ns();
    stats->fork_ns += now_ns - before_ns;
    if (stats->longest_fork_ns < now_ns - before_ns)
        stats->longest_fork_ns = now_ns - before_ns;
    s->end_ns = now_ns + patience_ns;
    s->promoted = c->cycle.promoted;
    if (is_made)
        return NV_SNAPSHOT_AWAITED;
    fail(c, NEVE_SNAPSHOT_REFUSED);
    return NV_SNAPSHOT_FAILED;
}

nv_outcome nv_snapshot_step(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    if (s->report == NULL) {
        nv_snapshot_reap(c, false);
        if (s->child == 0)
            return begin(c);
        /* The last one is on its way out, which takes a while where there is much memory:
         * two at once are too many. */
        return c->cycle.promoted > c->cycle.goal / 2 ? NV_SNAPSHOT_FAILED : NV_SNAPSHOT_AWAITED;
    }
    if (disown(c)) {
        fail(c, NEVE_SNAPSHOT_FORKED);
        return NV_SNAPSHOT_FAILED;
    }
    /* A cycle that is past its goal cannot wait: its slices are soon to grow. */
    bool is_late = c->cycle.promoted - s->promoted > c->cycle.goal;
    if (s->held_back > 0 && !is_late) {
        s->held_back--;
        return NV_SNAPSHOT_AWAITED;
    }
    if (__atomic_load_n(&s->report->is_ready, __ATOMIC_ACQUIRE) != 0)
        return NV_SNAPSHOT_READY;
    if (nv_os_child_reap(s->child) == NV_OS_CHILD_ENDED) {
        s->child = 0;
        /* It may have finished between the two looks. */
        if (__atomic_load_n(&s->report->is_ready, __ATOMIC_ACQUIRE) != 0)
            return NV_SNAPSHOT_READY;
        fail(c, NEVE_SNAPSHOT_DIED);
        return NV_SNAPSHOT_FAILED;
    }
    if (!is_late && nv_os_now_ns() < s->end_ns)
        return NV_SNAPSHOT_AWAITED;
    nv_os_child_end(s->child, false);
    fail(c, NEVE_SNAPSHOT_LATE);
    return NV_SNAPSHOT_FAILED;
}

void nv_snapshot_take(neve_collector *c, nv_chunk *chunk)
{
    nv_snapshot *s = &c->snapshot;
    const nv_report_entry *entries = s->report->entries;
    size_t count = s->report->count;
    while (s->read < count && entries[s->read].address < chunk->base)
        s->read++; /* of a chunk that is gone */
    if (s->read == count || entries[s->read].address - chunk->base >= NV_CHUNK_BYTES) {
        /* Nothing here. Reading commits no memory; what the last cycle left would be rare. */
        nv_mark_clear(chunk, 0, NV_CHUNK_WORDS);
        return;
    }
    nv_mark_whiten(c, chunk);
    for (unsigned w = 0; w < NV_CHUNK_WORDS; w++) {
        uintptr_t address = chunk->base + ((uintptr_t)w * 64 << NV_GRANULE_SHIFT);
        uint64_t bits = 0;
        if (s->read < count && entries[s->read].address == address)
            bits = entries[s->read++].bits;
        chunk->white[w] &= bits;
    }
}

void nv_snapshot_taken(neve_collector *c)
{
    c->cycle.stats.snapshots_taken++;
    c->cycle.stats.child_ns += c->snapshot.report->child_ns;
    c->snapshot.failures = 0;
    drop_report(c);
    nv_snapshot_reap(c, false);
}

void nv_snapshot_abandon(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    if (s->report == NULL)
        return;
    bool is_ours = !disown(c);
    if (s->child != 0)
        nv_os_child_end(s->child, false);
    fail(c, is_ours ? NEVE_SNAPSHOT_ABANDONED : NEVE_SNAPSHOT_FORKED);
}

void neve_collector_end_snapshot(neve_collector *c)
{
    nv_snapshot *s = &c->snapshot;
    /* (A report that is ready is read on.) */
    if (c->cycle.phase == NV_CYCLE_SNAPSHOT)
        nv_snapshot_abandon(c);
    if (s->child != 0 && !disown(c)) {
        nv_os_child_end(s->child, true);
        s->child = 0;
    }
}

void nv_snapshot_reap(neve_collector *c, bool waits)
{
    nv_snapshot *s = &c->snapshot;
    if (s->child == 0 || s->report != NULL || disown(c))
        return;
    if (waits)
        nv_os_child_end(s->child, true);
    if (waits || nv_os_child_reap(s->child) == NV_OS_CHILD_ENDED)
        s->child = 0;
}
