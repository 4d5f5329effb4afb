/* SPDX-License-Identifier: MIT */
/*
 * Which automatic young collections verify what they gather, and which pass it on as it is:
 * to the middle generation, or in the incremental mode, while survivors pass over that one
 * (pace.c), to the old.
 *
 * A young collection finds cycles soon after they became garbage. A program that makes
 * none pays for it all the same, object by object, and pays again for the survivors when
 * the middle generation is verified, which takes in the young one. So after some
 * young collections in a row that found nobody dead, only every fourth still verifies; the
 * first collection, of any generation, that finds somebody ends that.
 *
 * What it costs to be wrong: the one of four finds out a program that goes on making cycles,
 * and the garbage of up to three young sets before it waits for the next collection of the
 * middle generation, or for the cycle that comes next, which counts it as promoted. Where the bytes held have grown by more than a part since everything
 * young was last verified, no set is passed on.
 */
#include "collect_internal.h"

/* So many in a row found nobody dead. */
#define VAIN_LEAST 8u
/* Of so many, one is verified. */
#define PASS_PERIOD 4u
/* The growth within which sets are passed on, of so many bytes. */
#define GROWTH(bytes) ((bytes) / 16 > GROWTH_LEAST ? (bytes) / 16 : GROWTH_LEAST)
#define GROWTH_LEAST ((size_t)2 << 20)

bool nv_young_passes(neve_collector *c, int generation)
{
    nv_young *young = &c->passing;
    if (c->is_stressed || young->vain < VAIN_LEAST)
        return false;
    /* The middle generation verifies it, or should have found nothing. */
    bool has_cycles = neve_mode_has_cycles(c->mode);
    if (generation != (has_cycles ? 1 : 0) || (has_cycles && !nv_pace_passes_over_middle(c)))
        return false;
    size_t held = nv_pace_held(c);
    if (held > young->held && held - young->held > GROWTH(young->held))
        return false;
    return ++young->turn % PASS_PERIOD != 0;
}

void nv_young_passed(neve_collector *c)
{
    c->passing.has_passed = true;
}

void nv_young_verified(neve_collector *c, int generation, bool is_explicit, size_t dead)
{
    nv_young *young = &c->passing;
    /* Who asks for a collection may be about to see that the next automatic one
     * collects, and perhaps has just ended one phase of the program. */
    if (is_explicit || dead > 0)
        young->vain = 0;
    else if ((generation == 0 || neve_mode_has_cycles(c->mode)) && young->vain < VAIN_LEAST)
        young->vain++;
    if (generation > 0)
        young->has_passed = false;
    if (!young->has_passed)
        young->held = nv_pace_held(c);
}

void nv_young_after_fork(neve_collector *c)
{
    /* The heap counts pools anew: against what the parent held, all that the child makes
     * would be no growth. So its sets are verified until there is a measure of its own. */
    c->passing.held = 0;
}
