/* SPDX-License-Identifier: MIT */
/*
 * Pacing of the incremental mode: when a cycle begins, how long its slices are, and
 * how many objects a young collection takes.
 *
 * With P the old population at its least since the last cycle, a cycle begins when
 * it has grown by P / START_PART, and ought to end within P / GOAL_PART promotions
 * more. What becomes garbage in one cycle is gone when the next one has ended, so
 * that the population stays within 1.24 times the reachable one, plus one young set,
 * as long as slices are as long as they have to be (invariant 4; docs/collector.md
 * has the proof).
 *
 * Time is the unit of work: a cycle is expected to take what the last one took per
 * object, and each promoted object owes its part of that. A slice pays what is owed,
 * up to pause_us less what the young collection before it took. When a cycle is
 * late, its slices fill the pause; when it is so late that memory would break its
 * bound, they grow beyond it, and are counted.
 */
#include "collect_internal.h"

#include "platform/os.h"

#define START_PART 32
#define GOAL_PART 12
/* Of a population that is so small, growth by less is not worth a cycle. */
#define START_MIN 4096
#define GOAL_MIN 2048
/* Before the first cycle has told: nanoseconds per object, and per candidate, * 16. */
#define CYCLE_COST (120 * 16)
#define VERIFY_COST (80 * 16)
/* Of a pause, at most so much is for a young collection. */
#define YOUNG_PART(pause) ((pause) / 4 * 3)
#define GATHER_MIN 256
/* The young generation is taken as a whole up to this, however slow the machine is
 * just now: a program that has lowered the threshold waits for its garbage. */
#define YOUNG_WHOLE 4096
/* A cycle goes on, this slowly, where nothing gets old. */
#define CRAWL_NS 20000
/* Where nothing grows, a cycle begins now and then all the same, if anything has
 * become old since the last: after that time, and seldom enough to cost 1%. */
#define AGE_NS UINT64_C(10000000000)
#define AGE_DUTY 100

static uint64_t pause_ns(const neve_collector *c)
{
    return (uint64_t)c->pause_us * 1000;
}

static size_t candidates_in(const neve_collector *c, uint64_t ns)
{
    size_t cost = c->cycle.candidate_cost != 0 ? c->cycle.candidate_cost : VERIFY_COST;
    size_t n = (size_t)(ns * 16 / cost);
    return n > GATHER_MIN ? n : GATHER_MIN;
}

static bool cycle_is_due(const neve_collector *c)
{
    const nv_cycle *cycle = &c->cycle;
    if (cycle->phase != NV_CYCLE_IDLE || c->later.items.count > 0)
        return false;
    if (c->is_stressed || cycle->is_wanted)
        return true;
    size_t now = c->heap->old_objects;
    size_t part = cycle->low / START_PART;
    if (now >= cycle->low + (part > START_MIN ? part : START_MIN))
        return true;
    if (cycle->changes == 0 || cycle->end_ns == 0)
        return false;
    uint64_t age_ns = nv_os_now_ns() - cycle->end_ns;
    return age_ns > AGE_NS && age_ns > AGE_DUTY * cycle->spent_ns;
}

int nv_pace_generation(neve_collector *c, int generation)
{
    nv_cycle *cycle = &c->cycle;
    size_t most = candidates_in(c, YOUNG_PART(pause_ns(c)));
    c->gather_limit = most > YOUNG_WHOLE ? most : YOUNG_WHOLE;
    if (cycle->low > c->heap->old_objects || cycle->low == 0)
        cycle->low = c->heap->old_objects;
    /* The middle generation is verified while it still fits into a pause; and
     * before a cycle, which begins when nothing is young. */
    size_t young = c->thresholds[0] < most / 2 ? c->thresholds[0] : most / 2;
    return generation >= 1 || cycle->middle + 2 * young > most || cycle_is_due(c) ? 1 : 0;
}

/* A cycle is expected to take as long per object as the last one did. */
static void plan(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    size_t part = cycle->population / GOAL_PART;
    cycle->goal = part > GOAL_MIN ? part : GOAL_MIN;
    uint64_t cost = cycle->ns_per_object != 0 ? cycle->ns_per_object : CYCLE_COST;
    cycle->expected_ns = cycle->population * cost / 16;
    cycle->owed_ns = 0;
}

static void learn_candidate_cost(neve_collector *c, uint64_t ns)
{
    size_t n = c->current.candidates;
    if (n < GATHER_MIN / 2)
        return;
    size_t cost = (size_t)(ns * 16 / n);
    size_t old = c->cycle.candidate_cost != 0 ? c->cycle.candidate_cost : VERIFY_COST;
    /* Quick to believe that they are dear, slow that they are cheap. */
    c->cycle.candidate_cost = cost > old ? (old + cost) / 2 : (old * 15 + cost) / 16;
}

void nv_pace_promoted(neve_collector *c, int generation, size_t n)
{
    nv_cycle *cycle = &c->cycle;
    if (c->is_partial || generation == 1)
        cycle->changes += n;
    /* What comes to the middle generation is taken as promoted, and paid for, there:
     * so the slices after one collection and another are alike. */
    if (c->is_partial || generation == 0)
        cycle->unpaid += n;
    else
        cycle->unpaid += n > cycle->middle ? n - cycle->middle : 0;
    if (!c->is_partial)
        cycle->middle = generation == 0 ? cycle->middle + n : 0;
}

void nv_pace_slice(neve_collector *c, int generation, uint64_t spent_ns)
{
    nv_cycle *cycle = &c->cycle;
    size_t promoted = cycle->unpaid;
    cycle->unpaid = 0;
    learn_candidate_cost(c, spent_ns);

    if (generation == 1 && !c->is_partial && cycle_is_due(c)) {
        nv_cycle_begin(c);
        plan(c);
        cycle->is_wanted = false;
    }
    if (cycle->phase == NV_CYCLE_IDLE && c->later.items.count == 0)
        return;

    cycle->promoted += promoted;
    /* A cycle that takes longer than the last asks for as much as it takes. */
    if (cycle->expected_ns < cycle->spent_ns + cycle->spent_ns / 8)
        cycle->expected_ns = cycle->spent_ns + cycle->spent_ns / 8;
    cycle->owed_ns += promoted * (cycle->expected_ns / cycle->goal) + CRAWL_NS;
    uint64_t most_ns = pause_ns(c);
    uint64_t budget_ns = cycle->owed_ns;
    if (cycle->promoted > cycle->goal)
        budget_ns = most_ns;
    size_t quarter = cycle->goal / 4;
    if (cycle->promoted > cycle->goal + quarter) {
        /* Late: twice the pause, four times, ... for each quarter of the goal more. */
        size_t quarters = (cycle->promoted - cycle->goal) / quarter;
        most_ns <<= quarters < 16 ? quarters : 16;
        budget_ns = most_ns;
        cycle->stats.late_slices++;
    }
    if (budget_ns > most_ns)
        budget_ns = most_ns;
    /* At least a little, however long the young collection took. */
    uint64_t left_ns = most_ns > spent_ns + CRAWL_NS ? most_ns - spent_ns : CRAWL_NS;
    if (budget_ns > left_ns)
        budget_ns = left_ns;
    if (c->is_stressed)
        budget_ns = 0; /* a quantum at a time */
    uint64_t before_ns = cycle->spent_ns;
    nv_cycle_run(c, nv_os_now_ns() + budget_ns);
    spent_ns = cycle->spent_ns - before_ns;
    cycle->owed_ns = cycle->owed_ns > spent_ns ? cycle->owed_ns - spent_ns : 0;
}

bool nv_pace_has_changed(const neve_collector *c)
{
    const nv_cycle *cycle = &c->cycle;
    return cycle->changes != 0 || cycle->middle != 0 || cycle->quiet_count != c->counts[0] ||
           cycle->quiet_old != c->heap->old_objects;
}

void nv_pace_all_collected(neve_collector *c)
{
    c->cycle.low = c->heap->old_objects;
    c->cycle.changes = c->cycle.middle = 0;
    c->cycle.end_ns = nv_os_now_ns();
}

void nv_pace_cycle_ended(neve_collector *c, uint64_t now_ns)
{
    nv_cycle *cycle = &c->cycle;
    cycle->end_ns = now_ns;
    cycle->low = cycle->quiet_old = c->heap->old_objects;
    cycle->quiet_count = c->counts[0];
    /* (Where a child has marked, nothing is learned of what marking takes.) */
    if (cycle->population > GATHER_MIN && cycle->spent_ns > 0 && !cycle->is_snapshot)
        cycle->ns_per_object = cycle->spent_ns * 16 / cycle->population;
}
