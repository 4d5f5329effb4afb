/* SPDX-License-Identifier: MIT */
/*
 * Pacing of the incremental mode: when a cycle begins, how long its slices are, and
 * how many objects a young collection takes.
 *
 * The old population may grow to a quarter more than what was reachable of it when
 * the last cycles began: to its limit (invariant 4; docs/collector.md has the proof).
 * A cycle begins while there is still room for the promotions that it is expected to
 * last for, its goal; so it ends before the limit is reached, and what was garbage
 * when it began is gone. Cycles are few if their goals are small: these are as small
 * as slices within pause_us allow, and never larger than a ninth of the population.
 *
 * A cycle is expected to take the processor time per object that the dearer of the last
 * two took: what is garbage takes more than what is not.
 * After each young collection the part of what is left to do is due that its promotions
 * are of those that are left to the goal: in a slice of pause_us less what the young
 * collection took, and, where the program takes long to make a young set, in more slices
 * on the way to the next, as many as still leave it half of the time. So cycles
 * are short in terms of what the program creates meanwhile. Where that is not enough,
 * memory would break its bound: slices grow beyond the pause, and are counted.
 */
#include "collect_internal.h"

#include "platform/os.h"

/* Growth to the limit, of the reachable population; and goals, of the whole one. */
#define ROOM_PART 4
#define GOAL_PART_MOST 9
#define GOAL_PART_LEAST 24
/* In the last quarter of a cycle the population does not grow: while groups are verified,
 * the dead go. */
#define BEFORE_RECLAIM(goal) ((goal) / 4 * 3)
/* In a small population, growth by less is not worth a cycle: as much as the thresholds
 * ask for before a full collection, within these. */
#define ROOM_LEAST 8192
#define ROOM_ENOUGH 65536
#define GOAL_MIN 4096
/* A young set of more objects takes the rest out of the room of the old ones, up to a third of it. */
#define YOUNG_USUAL 10000
/* Before the first cycle has told: nanoseconds per object, and per candidate, * 16. */
#define CYCLE_COST (60 * 16)
#define VERIFY_COST (80 * 16)
/* Of a pause, at most so much is for a young collection. */
#define YOUNG_PART(pause) ((pause) / 4 * 3)
#define GATHER_MIN 256
/* The young generation is taken as a whole up to this, however slow the machine is
 * just now: a program that has lowered the threshold waits for its garbage. */
#define YOUNG_WHOLE 4096
/* The middle generation is for what dies soon after its first collection. Where less than
 * this part of it does, several times in a row, verifying everything a second time is for
 * nothing: then survivors of so many young collections get old at once, and of twice
 * as many each time that the next middle one is no better. */
#define MIDDLE_YIELD_PART 16
#define MIDDLE_VAIN 3
#define BYPASS_LEAST 8u
#define BYPASS_MOST 64u
/* Slices alone, between two young collections: at most so many stops in all for each young
 * set, each after at least so many allocations; more where young sets are large, one for each
 * set of a usual size. */
#define STOPS_MOST 10
#define STOP_ALLOCATIONS 64
#define STOP_USUAL_SET 2000
/* A cycle goes on, this slowly, where nothing gets old. */
#define CRAWL_NS 20000
/* Where nothing grows, a cycle begins now and then all the same, if anything has
 * become old since the last: after that time, and seldom enough to cost 1%. */
#define AGE_NS UINT64_C(10000000000)
#define AGE_DUTY 100
/* Bytes held: a cycle begins when they have grown by a third over their least since the
 * last one ended, and ought to end within another sixth; a young collection is due after a
 * sixteenth. No less than this; and twice and four times as much after cycles that bytes
 * have begun and that found nothing. */
#define BYTES_START(bytes) ((bytes) / 3 > BYTES_MIN ? (bytes) / 3 : BYTES_MIN)
#define BYTES_YOUNG(bytes) ((bytes) / 16 > BYTES_MIN / 4 ? (bytes) / 16 : BYTES_MIN / 4)
#define BYTES_MIN ((size_t)32 << 20)
#define BYTES_FUTILE 2
/* Slices of a cycle come at least after so many. */
#define BYTES_SLICE ((size_t)256 << 10)
/* Promotions per young collection are averaged in this unit. */
#define PACE_UNIT 16

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

/* What was reachable when one of the last two cycles began, or is the whole population
 * since, if that is less. */
static size_t reachable(const nv_cycle *cycle)
{
    size_t most =
        cycle->reachable > cycle->reachable_before ? cycle->reachable : cycle->reachable_before;
    return most != 0 && most < cycle->low ? most : cycle->low;
}

static size_t limit_of(const neve_collector *c)
{
    size_t base = reachable(&c->cycle), part = base / ROOM_PART;
    uint64_t room = c->thresholds[0];
    for (int i = 1; i < NEVE_GENERATIONS && room < ROOM_ENOUGH; i++)
        room *= c->thresholds[i];
    if (room < ROOM_LEAST)
        room = ROOM_LEAST;
    if (room > ROOM_ENOUGH)
        room = ROOM_ENOUGH;
    if (room < part)
        room = part;
    /* Of a program with very large young sets these are the larger part of its garbage. */
    uint64_t more = c->thresholds[0] > YOUNG_USUAL ? c->thresholds[0] - YOUNG_USUAL : 0;
    return base + (size_t)(room - (more < room / 3 ? more : room / 3));
}

static uint64_t expected_ns(const nv_cycle *cycle, size_t population)
{
    uint64_t cost = cycle->ns_per_object;
    if (cost < cycle->ns_per_object_before)
        cost = cycle->ns_per_object_before;
    return population * (cost != 0 ? cost : CYCLE_COST) / 16;
}

/* How often the program may be stopped for each young set: so that in all it runs for as long
 * as the slices do, one aside. */
static unsigned most_stops(const neve_collector *c)
{
    uint32_t most = c->thresholds[0] / STOP_ALLOCATIONS, sets = c->thresholds[0] / STOP_USUAL_SET;
    if (most > STOPS_MOST)
        most = sets > STOPS_MOST ? sets : STOPS_MOST;
    return most > 1 ? most : 1;
}

static unsigned stops_of(const neve_collector *c)
{
    uint64_t stops = 1 + c->cycle.program_ns * 2 / pause_ns(c);
    unsigned most = most_stops(c);
    return stops < most ? (unsigned)stops : most;
}

/* For how many promotions a cycle that begins now shall last: so many that slices are
 * enough of which one in each young set shares the pause with its collection. */
static size_t goal_of(const neve_collector *c)
{
    const nv_cycle *cycle = &c->cycle;
    size_t now = c->heap->old_objects;
    /* (The pause may have been set to less since the young ones were averaged.) */
    uint64_t young_ns = cycle->young_ns, most_ns = YOUNG_PART(pause_ns(c));
    uint64_t set_ns = stops_of(c) * pause_ns(c) - (young_ns < most_ns ? young_ns : most_ns);
    uint64_t sets = expected_ns(cycle, now) / (set_ns + 1) + 1;
    uint64_t goal = sets * (cycle->pace / PACE_UNIT + 1) / 3 * 4; /* see whole_ns */
    size_t least = now / GOAL_PART_LEAST, most = now / GOAL_PART_MOST;
    if (goal < least)
        goal = least;
    if (goal > most)
        goal = most;
    return goal > GOAL_MIN ? (size_t)goal : GOAL_MIN;
}

/* ---- bytes ---- */

size_t nv_pace_held(neve_collector *c)
{
    size_t held = c->heap->large_bytes + c->heap->used_pools * NV_POOL_BYTES;
    return c->host->held_bytes == NULL ? held : held + c->host->held_bytes(c->ctx);
}

static void look_at_bytes(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    cycle->held = nv_pace_held(c);
    if (cycle->held < cycle->low_held || cycle->low_held == 0)
        cycle->low_held = cycle->held;
    if (cycle->quiet_held == 0)
        cycle->quiet_held = cycle->held;
}

static size_t bytes_to_start(const nv_cycle *cycle)
{
    return BYTES_START(cycle->low_held) << cycle->futile;
}

static bool bytes_ask_for_cycle(const nv_cycle *cycle)
{
    return cycle->held - cycle->low_held >= bytes_to_start(cycle);
}

/* Whether enough has come since the last cycle that there may be garbage to speak of. */
static bool bytes_have_grown(const nv_cycle *cycle)
{
    return cycle->held >= cycle->quiet_held + BYTES_YOUNG(cycle->quiet_held);
}

/* When the next young collection is due by bytes. A cycle that is under way wants as many
 * as its slices are. */
static void set_alarm(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    look_at_bytes(c);
    size_t step = BYTES_YOUNG(cycle->low_held);
    if (cycle->phase != NV_CYCLE_IDLE && cycle->expected_ns > cycle->spent_ns) {
        uint64_t slices = (cycle->expected_ns - cycle->spent_ns) / (pause_ns(c) / 2 + 1) + 1;
        size_t part = cycle->held_goal / (size_t)slices;
        if (part < BYTES_SLICE)
            part = BYTES_SLICE;
        if (part < step)
            step = part;
    }
    cycle->held_alarm = cycle->held + step;
    /* The heap's own large blocks are looked at in each allocation of an object. */
    cycle->large_alarm = c->heap->large_bytes + step;
}

/* Of the promotions for which a cycle is to last, as many are gone as of the bytes. */
static size_t promotions_for_bytes(const nv_cycle *cycle)
{
    if (cycle->held <= cycle->held_start)
        return 0;
    return (size_t)((double)(cycle->held - cycle->held_start) / (double)cycle->held_goal *
                    (double)cycle->goal);
}

void nv_pace_start(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    cycle->held_alarm = 0;
    cycle->large_alarm = SIZE_MAX;
    if (neve_mode_has_cycles(c->mode))
        set_alarm(c);
}

size_t neve_collector_bytes_left(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    if (!neve_mode_has_cycles(c->mode))
        return SIZE_MAX;
    look_at_bytes(c);
    return cycle->held_alarm > cycle->held ? cycle->held_alarm - cycle->held : 0;
}

/* ---- when, and how long ---- */

static bool cycle_is_due(const neve_collector *c)
{
    const nv_cycle *cycle = &c->cycle;
    if (cycle->phase != NV_CYCLE_IDLE || c->later.items.count > 0)
        return false;
    if (c->is_stressed || cycle->is_wanted)
        return true;
    if (c->heap->old_objects + BEFORE_RECLAIM(goal_of(c)) >= limit_of(c))
        return true;
    if (bytes_ask_for_cycle(cycle))
        return true;
    if ((cycle->changes == 0 && !bytes_have_grown(cycle)) || cycle->end_ns == 0)
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
    look_at_bytes(c);
    bool has_grown = cycle->held >= cycle->held_alarm;
    /* The middle generation is verified while it still fits into a pause; where much
     * memory has come; and before a cycle, which begins when nothing is young. */
    size_t young = c->thresholds[0] < most / 2 ? c->thresholds[0] : most / 2;
    bool is_full = cycle->middle + 2 * young > most;
    return generation >= 1 || is_full || has_grown || cycle->bypass > 0 || cycle_is_due(c) ? 1 : 0;
}

bool nv_pace_passes_over_middle(const neve_collector *c)
{
    return c->cycle.bypass > 0 && !c->cycle.is_wanted;
}

void nv_pace_middle(neve_collector *c, size_t left, size_t dead)
{
    nv_cycle *cycle = &c->cycle;
    size_t entered = cycle->middle, alive = left - dead;
    if (cycle->bypass > 0) {
        cycle->bypass--;
        return;
    }
    if (entered == 0)
        return;
    /* Those that died by their counts are none to be made old either. */
    if (entered > alive && entered - alive > entered / MIDDLE_YIELD_PART) {
        cycle->vain = 0;
        return;
    }
    cycle->vain++;
    if (cycle->vain < MIDDLE_VAIN)
        return;
    unsigned doublings = cycle->vain - MIDDLE_VAIN;
    cycle->bypass = doublings < 3 ? BYPASS_LEAST << doublings : BYPASS_MOST;
}

static void plan(neve_collector *c, size_t goal)
{
    nv_cycle *cycle = &c->cycle;
    /* What came out of the middle generation just now may have taken some of the room. */
    size_t limit = limit_of(c), now = c->heap->old_objects;
    if (now < limit && limit - now < BEFORE_RECLAIM(goal))
        goal -= (BEFORE_RECLAIM(goal) - (limit - now)) / 2;
    cycle->goal = goal;
    cycle->expected_ns = expected_ns(cycle, cycle->population);
    cycle->is_for_bytes = bytes_ask_for_cycle(cycle);
    cycle->held_start = cycle->held;
    cycle->held_goal = bytes_to_start(cycle) / 2;
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

/* How much a young collection promotes, and how much of the pause it leaves. */
static void learn_pace(neve_collector *c, size_t promoted, uint64_t spent_ns)
{
    nv_cycle *cycle = &c->cycle;
    size_t pace = promoted * PACE_UNIT;
    cycle->pace = cycle->pace == 0 ? pace : (cycle->pace * 15 + pace) / 16;
    uint64_t most_ns = YOUNG_PART(pause_ns(c));
    cycle->young_ns = (cycle->young_ns * 15 + (spent_ns < most_ns ? spent_ns : most_ns)) / 16;
    /* The program's time between two young collections, but not idle time. */
    most_ns = 2 * pause_ns(c) * most_stops(c);
    cycle->program_ns =
        (cycle->program_ns * 15 + (cycle->ran_ns < most_ns ? cycle->ran_ns : most_ns)) / 16;
    cycle->ran_ns = 0;
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

/* What a slice after so many promotions has to do for the cycle to end with `goal`. */
static uint64_t due_ns(const nv_cycle *cycle, size_t goal, size_t promoted)
{
    uint64_t left_ns = cycle->expected_ns - cycle->spent_ns;
    size_t left = goal > cycle->promoted ? goal - cycle->promoted : 0;
    return left > promoted ? left_ns / left * promoted : left_ns;
}

/* How long so many stops may take in all, of which the first is a young collection with the
 * slice that follows. */
static uint64_t whole_ns(neve_collector *c, size_t promoted, unsigned stops)
{
    nv_cycle *cycle = &c->cycle;
    uint64_t most_ns = stops * pause_ns(c);
    /* A cycle that takes longer than the last is taken to be eight ninths through. */
    uint64_t least_ns = cycle->spent_ns + cycle->spent_ns / 8;
    if (cycle->expected_ns < least_ns)
        cycle->expected_ns = least_ns;
    /* The last quarter of the goal is for what was not foreseen, such as young sets of which
     * more than usual survives: there the pause is filled. */
    size_t quarter = cycle->goal / 4, early = cycle->goal - quarter;
    uint64_t ns = due_ns(cycle, early, promoted) + CRAWL_NS + cycle->young_ns;
    if (ns <= most_ns && cycle->promoted < early)
        return ns;
    ns = due_ns(cycle, cycle->goal, promoted) + cycle->young_ns;
    size_t quarters = cycle->promoted / quarter;
    if (ns <= most_ns && quarters <= 4)
        return most_ns;
    /* Late: as long as it takes, but at most twice the pause, with what a slice may take too
     * long; past the goal nearly four times, eight times with another quarter of it, and so on. */
    most_ns -= most_ns / 16;
    most_ns <<= quarters < 4 ? 1 : quarters < 16 ? quarters - 2 : 14;
    return ns < most_ns && quarters <= 4 ? ns : most_ns;
}

static bool is_under_way(const neve_collector *c)
{
    return c->cycle.phase != NV_CYCLE_IDLE || c->later.items.count > 0;
}

static void note_late(neve_collector *c)
{
    c->cycle.stats.late_slices += c->cycle.slice_ns > pause_ns(c);
}

void nv_pace_slice(neve_collector *c, int generation, uint64_t spent_ns)
{
    nv_cycle *cycle = &c->cycle;
    size_t promoted = cycle->unpaid;
    cycle->stops_left = 0;
    cycle->unpaid = 0;
    learn_candidate_cost(c, spent_ns);
    learn_pace(c, promoted, spent_ns);

    /* The young and middle ones that just died may have held what asked for a cycle. */
    look_at_bytes(c);
    if (generation == 1 && !c->is_partial && cycle_is_due(c)) {
        size_t goal = goal_of(c);
        nv_cycle_begin(c);
        plan(c, goal);
        cycle->is_wanted = false;
    }
    if (!is_under_way(c)) {
        set_alarm(c);
        return;
    }

    size_t for_bytes = cycle->phase != NV_CYCLE_IDLE ? promotions_for_bytes(cycle) : 0;
    if (for_bytes > cycle->promoted + promoted)
        promoted = for_bytes - cycle->promoted;
    /* What an abandoned cycle has condemned is to be cleared all the same. */
    bool has_plan = cycle->phase != NV_CYCLE_IDLE;
    bool has_work = has_plan && cycle->phase != NV_CYCLE_SNAPSHOT; /* that is not a child's */
    has_work &= !c->is_partial; /* the rest of the young ones comes soon, with a slice */
    unsigned stops = has_work ? stops_of(c) : 1;
    uint64_t whole = has_plan ? whole_ns(c, promoted, stops) : pause_ns(c);
    cycle->promoted += promoted;
    /* As few stops as can be without being longer than a pause; where they would be
     * longer, more of them. */
    uint64_t needed = (whole - 1) / pause_ns(c) + 1;
    if (needed < stops || (needed > stops && has_work))
        stops = needed < most_stops(c) ? (unsigned)needed : most_stops(c);
    cycle->stops = stops;
    cycle->stops_left = stops - 1;
    cycle->slice_ns = whole / stops;
    note_late(c);
    /* At least a little, however long the young collection took. */
    uint64_t ns = cycle->slice_ns;
    ns = ns > spent_ns + CRAWL_NS ? ns - spent_ns : CRAWL_NS;
    if (c->is_stressed)
        ns = 0; /* a quantum at a time */
    nv_cycle_run(c, nv_os_now_ns() + ns);
    set_alarm(c);
}

uint64_t nv_pace_stop(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    if (cycle->stopped_ns != 0)
        cycle->ran_ns += nv_os_now_ns() - cycle->stopped_ns;
    if (cycle->stops_left == 0 || !is_under_way(c) || c->is_stressed)
        return 0;
    if (c->thresholds[0] < cycle->stops) /* it was lowered since: nothing to divide */
        return 0;
    look_at_bytes(c);
    if (cycle->held >= cycle->held_alarm)
        return 0;
    cycle->stops_left--;
    note_late(c);
    return cycle->slice_ns;
}

uint32_t nv_pace_next_after(neve_collector *c, bool was_slice)
{
    nv_cycle *cycle = &c->cycle;
    cycle->stopped_ns = nv_os_now_ns();
    if (!was_slice && cycle->stops_left == 0)
        return 0;
    uint32_t part = c->thresholds[0] / cycle->stops;
    if (is_under_way(c))
        return part;
    /* The cycle has ended: nothing to do until the young set is full. */
    uint32_t rest = was_slice ? part * (cycle->stops_left + 1) : 0;
    cycle->stops_left = 0;
    return rest;
}

bool nv_pace_has_changed(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    look_at_bytes(c);
    return bytes_have_grown(cycle) || cycle->changes != 0 || cycle->middle != 0 ||
           cycle->quiet_count != c->counts[0] || cycle->quiet_old != c->heap->old_objects;
}

void nv_pace_all_collected(neve_collector *c)
{
    nv_cycle *cycle = &c->cycle;
    cycle->low = cycle->reachable = cycle->reachable_before = c->heap->old_objects;
    cycle->changes = cycle->middle = 0;
    cycle->end_ns = nv_os_now_ns();
    look_at_bytes(c);
    cycle->low_held = cycle->quiet_held = cycle->held;
    cycle->futile = 0;
}

void nv_pace_cycle_ended(neve_collector *c, uint64_t dead, uint64_t now_ns)
{
    nv_cycle *cycle = &c->cycle;
    cycle->end_ns = now_ns;
    cycle->low = cycle->quiet_old = c->heap->old_objects;
    cycle->quiet_count = c->counts[0];
    look_at_bytes(c);
    cycle->low_held = cycle->quiet_held = cycle->held;
    if (dead > 0)
        cycle->futile = 0;
    else if (cycle->is_for_bytes && cycle->futile < BYTES_FUTILE)
        cycle->futile++;
    cycle->reachable_before = cycle->reachable;
    cycle->reachable = cycle->population > dead ? cycle->population - (size_t)dead : 0;
    /* (Where a child has marked, nothing is learned of what marking takes.) */
    if (cycle->population > GATHER_MIN && cycle->spent_ns > 0 && !cycle->is_snapshot) {
        cycle->ns_per_object_before = cycle->ns_per_object;
        cycle->ns_per_object = cycle->spent_ns * 16 / cycle->population;
    }
}
