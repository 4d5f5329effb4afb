/* SPDX-License-Identifier: MIT */
/*
 * The heap in the child of a fork (invariant 8): new blocks come from fresh
 * pools, and an inherited OS page is written only where the program itself has
 * just written. Checked page by page in the kernel's page map (memory.h).
 *
 * "Inherited" are the pages of pools with live blocks when the process forked;
 * a pool that was empty then, or whose last block the child has freed, is
 * memory like any other.
 */
#include "inheritance.h"

#include "heap/heap_internal.h"

static const char *allocate_much(void *arg)
{
    (void)arg;
    watch w;
    growth g;
    neve_heap_after_fork_child(inherited.heap);
    CHECK(watch_begin(&w), "no page map");
    CHECK(w.pages.count > 1000, "only %zu inherited pages", w.pages.count);
    const char *wrong = grow(&g, 100000);
    if (wrong != NULL)
        return wrong;
    CHECK(watch_dirtied(&w) == 0, "allocating wrote to %zu of %zu inherited pages",
          watch_dirtied(&w), w.pages.count);
    for (size_t i = 0; i < g.count; i++) {
        size_t usable = neve_heap_usable_size(inherited.heap, g.blocks[i]);
        CHECK(!page_set_has(&w.pages, g.blocks[i]) &&
                  !page_set_has(&w.pages, g.blocks[i] + usable - 1),
              "new block %zu lies on an inherited page", i);
    }
    CHECK_HEAP(inherited.heap);
    if ((wrong = check_growth(&g)) != NULL || (wrong = check_inherited_contents()) != NULL)
        return wrong;
    /* Churn among the new ones stays among them. */
    uint64_t random = 3;
    for (size_t i = 0; i < 100000; i++) {
        size_t k = random_below(&random, g.count);
        size_t usable = neve_heap_usable_size(inherited.heap, g.blocks[k]);
        neve_heap_free(inherited.heap, g.blocks[k]);
        g.blocks[k] = neve_heap_alloc(inherited.heap, (neve_domain)(i % 3), usable);
        CHECK(g.blocks[k] != NULL, "no memory");
        pattern_fill(g.blocks[k], usable, k);
    }
    CHECK(watch_dirtied(&w) == 0, "churn wrote to %zu inherited pages", watch_dirtied(&w));
    for (size_t i = 0; i < g.count; i++)
        neve_heap_free(inherited.heap, g.blocks[i]);
    neve_heap_trim(inherited.heap);
    CHECK(watch_dirtied(&w) == 0, "freeing new blocks wrote to %zu inherited pages",
          watch_dirtied(&w));
    CHECK_HEAP(inherited.heap);
    watch_end(&w);
    free(g.blocks);
    return check_inherited_contents();
}

static void allocating_dirties_no_inherited_page(void **state)
{
    (void)state;
    NEEDS_PAGE_MAP();
    inherit(16, 256);
    assert_child(allocate_much, NULL);
    disinherit();
}

static void nor_on_a_heap_of_one_class(void **state)
{
    (void)state;
    NEEDS_PAGE_MAP();
    inherit(64, 64);
    assert_child(allocate_much, NULL);
    disinherit();
}

static const char *allocate_and_weigh(void *arg)
{
    (void)arg;
    growth g;
    size_t before = private_dirty_bytes();
    neve_heap_after_fork_child(inherited.heap);
    size_t entry = private_dirty_bytes();
    const char *wrong = grow(&g, 100000);
    if (wrong != NULL)
        return wrong;
    size_t after = private_dirty_bytes();
    size_t own = g.bytes + g.count * sizeof *g.blocks;
    CHECK(entry <= before + 256 * 1024, "neve_heap_after_fork_child alone dirtied %zu kB",
          (entry - before) / 1024);
    CHECK(after - before <= own + own / 20 + MIB, "%zu kB became private for %zu kB of new blocks",
          (after - before) / 1024, own / 1024);
    return NULL;
}

static void the_child_pays_for_its_own_blocks_only(void **state)
{
    (void)state;
    if (IS_SANITIZED || is_emulated() || private_dirty_bytes() == 0)
        SKIP_BECAUSE("no figures for the process as a whole");
    inherit(16, 256);
    assert_child(allocate_and_weigh, NULL);
    disinherit();
}

/* ---- few blocks of many sizes ---- */

enum { SIZES = NEVE_SMALL_MAX / NEVE_GRANULE, MANY = 2000 };

/* One block of each size and domain. */
static const char *hold_one_of_each(unsigned char *blocks[NEVE_DOMAINS][SIZES])
{
    for (size_t d = 0; d < NEVE_DOMAINS; d++)
        for (size_t s = 0; s < SIZES; s++) {
            size_t size = (s + 1) * NEVE_GRANULE;
            blocks[d][s] = neve_heap_alloc(inherited.heap, (neve_domain)d, size);
            CHECK(blocks[d][s] != NULL, "no memory");
            CHECK(neve_heap_usable_size(inherited.heap, blocks[d][s]) >= size, "too small");
            pattern_fill(blocks[d][s], size, d * SIZES + s);
        }
    return NULL;
}

static const char *free_one_of_each(unsigned char *blocks[NEVE_DOMAINS][SIZES])
{
    for (size_t d = 0; d < NEVE_DOMAINS; d++)
        for (size_t s = 0; s < SIZES; s++) {
            CHECK(pattern_holds(blocks[d][s], (s + 1) * NEVE_GRANULE, d * SIZES + s),
                  "a block of %zu bytes is damaged", (s + 1) * NEVE_GRANULE);
            neve_heap_free(inherited.heap, blocks[d][s]);
        }
    return NULL;
}

static size_t pages_of(unsigned char *blocks[NEVE_DOMAINS][SIZES])
{
    page_set pages;
    memset(&pages, 0, sizeof pages);
    for (size_t d = 0; d < NEVE_DOMAINS; d++)
        for (size_t s = 0; s < SIZES; s++)
            page_set_add(&pages, blocks[d][s], (s + 1) * NEVE_GRANULE);
    page_set_finish(&pages);
    size_t count = pages.count;
    page_set_clear(&pages);
    return count;
}

static const char *hold_little(void *arg)
{
    (void)arg;
    static unsigned char *few[NEVE_DOMAINS][SIZES], *many[SIZES][MANY];
    const char *wrong;
    neve_heap_after_fork_child(inherited.heap);
    if ((wrong = hold_one_of_each(few)) != NULL)
        return wrong;
    size_t bytes = NEVE_DOMAINS * SIZES * (SIZES + 1) / 2 * NEVE_GRANULE, pages = pages_of(few);
    CHECK(pages <= 2 * bytes / page_bytes() + 2 * NEVE_DOMAINS, "%zu pages for %zu kB", pages,
          bytes / 1024);
    CHECK_HEAP(inherited.heap);
    /* A size that is in use gets pools of its own, with no more waste than elsewhere. */
    for (size_t i = 0; i < MANY; i++)
        for (size_t s = 0; s < SIZES; s++) {
            many[s][i] =
                neve_heap_alloc(inherited.heap, NEVE_DOMAIN_OBJECT, (s + 1) * NEVE_GRANULE);
            CHECK(many[s][i] != NULL, "no memory");
            pattern_fill(many[s][i], (s + 1) * NEVE_GRANULE, i);
        }
    CHECK_HEAP(inherited.heap);
    for (size_t s = 0; s < SIZES; s++)
        CHECK(neve_heap_usable_size(inherited.heap, many[s][MANY - 1]) == (s + 1) * NEVE_GRANULE,
              "the last block of %zu bytes has %zu", (s + 1) * NEVE_GRANULE,
              neve_heap_usable_size(inherited.heap, many[s][MANY - 1]));
    for (size_t i = 0; i < MANY; i++)
        for (size_t s = 0; s < SIZES; s++) {
            CHECK(pattern_holds(many[s][i], (s + 1) * NEVE_GRANULE, i), "damaged");
            neve_heap_free(inherited.heap, many[s][i]);
        }
    if ((wrong = free_one_of_each(few)) != NULL)
        return wrong;
    CHECK_HEAP(inherited.heap);
    return NULL;
}

static const char *give_little_back(void *arg)
{
    (void)arg;
    static unsigned char *few[NEVE_DOMAINS][SIZES];
    neve_heap_after_fork_child(inherited.heap);
    for (int round = 0; round < 3; round++) {
        const char *wrong = hold_one_of_each(few);
        if (wrong != NULL || (wrong = free_one_of_each(few)) != NULL)
            return wrong;
        neve_heap_trim(inherited.heap);
        CHECK_HEAP(inherited.heap);
    }
    return NULL;
}

static void few_blocks_of_many_sizes_share_pages(void **state)
{
    (void)state;
    inherit(16, 256);
    unsigned char *few[NEVE_DOMAINS][SIZES];
    assert_null(hold_one_of_each(few));
    for (size_t d = 0; d < NEVE_DOMAINS; d++) /* not in a process that was not forked */
        for (size_t s = 0; s < SIZES; s++)
            assert_int_equal(neve_heap_usable_size(inherited.heap, few[d][s]),
                             (s + 1) * NEVE_GRANULE);
    assert_null(free_one_of_each(few));
    assert_child(hold_little, NULL);
    assert_child(give_little_back, NULL);
    disinherit();
}

/* ---- freeing ---- */

static void free_inherited(size_t i)
{
    neve_heap_free(inherited.heap, inherited.blocks[i]);
    inherited.freed[i] = true;
}

static const char *free_buffers(void *arg)
{
    size_t every = *(const size_t *)arg;
    watch w;
    neve_heap_after_fork_child(inherited.heap);
    neve_heap_stats before;
    neve_heap_get_stats(inherited.heap, &before);
    CHECK(watch_begin(&w), "no page map");
    size_t freed = 0;
    for (size_t i = 0; i < COUNT; i += every) {
        if (inherited.blocks[i] == NULL || inherited.domains[i] != NEVE_DOMAIN_RAW)
            continue;
        if (i % (2 * every) == 0) {
            free_inherited(i);
        } else { /* moves to a larger block, and the old one is freed */
            unsigned char *moved =
                neve_heap_realloc(inherited.heap, NEVE_DOMAIN_RAW, inherited.blocks[i], 1500);
            CHECK(moved != NULL && moved != inherited.blocks[i], "did not move");
            CHECK(pattern_holds(moved, inherited.sizes[i], stamp_of(i)), "lost its contents");
            inherited.freed[i] = true;
            neve_heap_free(inherited.heap, moved);
        }
        freed++;
    }
    CHECK(freed > 100, "too few buffers");
    CHECK(watch_dirtied(&w) == 0, "freeing %zu raw buffers wrote to %zu inherited pages", freed,
          watch_dirtied(&w));
    CHECK_HEAP(inherited.heap);
    neve_heap_stats after;
    neve_heap_get_stats(inherited.heap, &after);
    CHECK(before.small_blocks[NEVE_DOMAIN_RAW] - after.small_blocks[NEVE_DOMAIN_RAW] == freed,
          "%zu buffers freed, statistics say %zu", freed,
          before.small_blocks[NEVE_DOMAIN_RAW] - after.small_blocks[NEVE_DOMAIN_RAW]);
    growth g;
    const char *wrong = grow(&g, 30000);
    if (wrong != NULL)
        return wrong;
    if (every > 1) /* otherwise whole pools became free, and are new memory */
        CHECK(watch_dirtied(&w) == 0, "allocating after that wrote to %zu inherited pages",
              watch_dirtied(&w));
    CHECK_HEAP(inherited.heap);
    watch_end(&w);
    if ((wrong = check_growth(&g)) != NULL)
        return wrong;
    return check_inherited_contents();
}

static void freeing_buffers_dirties_no_inherited_page(void **state)
{
    (void)state;
    NEEDS_PAGE_MAP();
    inherit(16, 256);
    for (size_t every = 1; every <= 5; every += 2)
        assert_child(free_buffers, &every);
    disinherit();
}

/* What a program does to a counted object before it frees it. */
static void drop_count(unsigned char *object)
{
    (*(volatile unsigned char *)object)--;
}

static const char *free_objects(void *arg)
{
    (void)arg;
    watch w;
    page_set written;
    memset(&written, 0, sizeof written);
    neve_heap_after_fork_child(inherited.heap);
    CHECK(watch_begin(&w), "no page map");
    size_t freed = 0;
    for (size_t i = 0; i < COUNT; i++) {
        /* Those of one address range in eight, so that most pages are left alone. */
        if (inherited.blocks[i] == NULL || inherited.domains[i] == NEVE_DOMAIN_RAW ||
            ((uintptr_t)inherited.blocks[i] / (4 * POOL_BYTES)) % 8 != 0 || i % 3 == 0)
            continue;
        drop_count(inherited.blocks[i]);
        page_set_add(&written, inherited.blocks[i], 1);
        free_inherited(i);
        freed++;
    }
    page_set_finish(&written);
    CHECK(freed > 500, "only %zu objects were freed", freed);
    for (size_t i = 0; i < w.pages.count; i++) {
        const void *page = (const void *)(w.pages.numbers[i] * page_bytes());
        CHECK(!watch_is_dirty(&w, page) || page_set_has(&written, page),
              "page %p was written, though no object on it was freed", page);
    }
    CHECK_HEAP(inherited.heap);
    size_t dirtied = watch_dirtied(&w);

    /* The child may use the freed blocks again, and nothing beside them. */
    page_set reusable;
    memset(&reusable, 0, sizeof reusable);
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.freed[i])
            page_set_add(&reusable, inherited.blocks[i], inherited.sizes[i]);
    }
    page_set_finish(&reusable);
    growth g;
    const char *wrong = grow(&g, 100000);
    if (wrong != NULL)
        return wrong;
    size_t reused = 0;
    for (size_t i = 0; i < g.count; i++) {
        if (!page_set_has(&w.pages, g.blocks[i]))
            continue;
        reused++;
        CHECK(page_set_has(&reusable, g.blocks[i]),
              "new block %zu lies on an inherited page where nothing was freed", i);
    }
    CHECK(reused * 10 >= freed * 9, "of %zu freed objects %zu were used again", freed, reused);
    /* ... and with them what was free on their pages before the fork. */
    CHECK(reused > freed, "%zu blocks on pages where %zu were freed", reused, freed);
    /* Blocks that cross into a neighbouring page are the program's to write. */
    CHECK(watch_dirtied(&w) <= reusable.count, "%zu pages dirty, %zu hold freed blocks",
          watch_dirtied(&w), reusable.count);
    CHECK(dirtied <= written.count, "%zu pages dirty, %zu written", dirtied, written.count);
    CHECK_HEAP(inherited.heap);
    watch_end(&w);
    page_set_clear(&written);
    page_set_clear(&reusable);
    if ((wrong = check_growth(&g)) != NULL)
        return wrong;
    return check_inherited_contents();
}

static void freed_objects_are_used_again(void **state)
{
    (void)state;
    NEEDS_PAGE_MAP();
    inherit(16, 256);
    assert_child(free_objects, NULL);
    disinherit();
}

static const char *free_everything(void *arg)
{
    (void)arg;
    growth g;
    neve_heap_after_fork_child(inherited.heap);
    const char *wrong = grow(&g, 20000);
    if (wrong != NULL)
        return wrong;
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.blocks[i] == NULL)
            continue;
        CHECK(pattern_holds(inherited.blocks[i], inherited.sizes[i], stamp_of(i)),
              "inherited block %zu is damaged", i);
        free_inherited(i);
        if (i % 20000 == 0)
            CHECK_HEAP(inherited.heap);
    }
    CHECK_HEAP(inherited.heap);
    if ((wrong = check_growth(&g)) != NULL)
        return wrong;
    for (size_t i = 0; i < g.count; i++)
        neve_heap_free(inherited.heap, g.blocks[i]);
    free(g.blocks);
    neve_heap_trim(inherited.heap);
    CHECK_HEAP(inherited.heap);
    neve_heap_stats stats;
    neve_heap_get_stats(inherited.heap, &stats);
    CHECK(stats_blocks(&stats) == 0, "%zu blocks are left", stats_blocks(&stats));
    CHECK(stats.pools_used == 0, "%zu pools are left", stats.pools_used);
    CHECK(stats.arena_bytes <= 2 * MIB, "%zu kB of arenas are left", stats.arena_bytes / 1024);
    wrong = grow(&g, 20000);
    if (wrong != NULL)
        return wrong;
    CHECK_HEAP(inherited.heap);
    free(g.blocks);
    neve_heap_destroy(inherited.heap);
    return NULL;
}

static void the_child_may_free_everything(void **state)
{
    (void)state;
    inherit(16, 512);
    assert_child(free_everything, NULL);
    disinherit();
}

/* ---- random programs, and forks inside forks ---- */

typedef struct lineage {
    shadow *s;
    int depth;
} lineage;

static const char *live_on(void *arg)
{
    lineage *l = arg;
    neve_heap_after_fork_child(l->s->heap);
    CHECK_SHADOW(l->s, shadow_check_heap(l->s));
    CHECK_SHADOW(l->s, shadow_verify(l->s));
    CHECK_SHADOW(l->s, shadow_check_stats(l->s));
    l->s->random += (uint64_t)l->depth;
    for (int phase = 0; phase < 4; phase++) {
        for (int step = 0; step < (int)affordable(3000); step++)
            CHECK_SHADOW(l->s, shadow_step(l->s));
        CHECK_SHADOW(l->s, shadow_verify(l->s));
        CHECK_SHADOW(l->s, shadow_check_heap(l->s));
        CHECK_SHADOW(l->s, shadow_check_stats(l->s));
        if (l->depth > 0 && phase % 2 == 1) {
            l->depth--;
            const char *verdict = child_verdict(live_on, l);
            l->depth++;
            if (verdict != NULL)
                return verdict;
            CHECK_SHADOW(l->s, shadow_verify(l->s));
        }
        if (phase == 2)
            neve_heap_trim(l->s->heap);
    }
    CHECK_SHADOW(l->s, shadow_free_all(l->s));
    CHECK_SHADOW(l->s, shadow_check_heap(l->s));
    CHECK_SHADOW(l->s, shadow_check_stats(l->s));
    neve_heap_destroy(l->s->heap);
    shadow_destroy(l->s);
    return NULL;
}

static void random_programs_go_on_in_children(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2 + affordable(4); seed++) {
        shadow s;
        neve_heap *heap = heap_create_default();
        assert_true(shadow_create(&s, heap, 2500, seed));
        for (size_t step = 0; step < affordable(10000); step++)
            assert_shadow(&s, shadow_step(&s));
        lineage l = {&s, 3};
        assert_child(live_on, &l);
        /* The parent never noticed. */
        assert_shadow(&s, shadow_verify(&s));
        for (int step = 0; step < 3000; step++)
            assert_shadow(&s, shadow_step(&s));
        assert_shadow(&s, shadow_check_heap(&s));
        assert_shadow(&s, shadow_check_stats(&s));
        shadow_destroy(&s);
        neve_heap_destroy(heap);
    }
}

/* The grandchild inherits pools that its parent had inherited and freed in:
 * blocks of its own, blocks that were held back, and noted buffers. */
static const char *grandchild(void *arg)
{
    const growth *g = arg;
    watch w;
    neve_heap_after_fork_child(inherited.heap);
    CHECK(watch_begin(&w), "no page map");
    page_set born; /* what the child allocated is inherited here as well */
    memset(&born, 0, sizeof born);
    for (size_t i = 0; i < g->count; i++)
        page_set_add(&born, g->blocks[i], 16);
    page_set_finish(&born);
    page_set_keep_shared(&born, w.map);
    CHECK(born.count > 100, "too few pages");

    growth mine;
    const char *wrong = grow(&mine, 50000);
    if (wrong != NULL)
        return wrong;
    CHECK(watch_dirtied(&w) == 0, "allocating wrote to %zu pages of the grandparent",
          watch_dirtied(&w));
    CHECK(page_set_count_with(&born, w.map, PAGE_PRESENT | PAGE_EXCLUSIVE) == 0,
          "allocating wrote to %zu pages of the parent",
          page_set_count_with(&born, w.map, PAGE_PRESENT | PAGE_EXCLUSIVE));
    for (size_t i = 0; i < mine.count; i++)
        CHECK(!page_set_has(&born, mine.blocks[i]) && !page_set_has(&w.pages, mine.blocks[i]),
              "new block %zu lies on an inherited page", i);
    if ((wrong = check_growth(g)) != NULL)
        return wrong;

    /* Buffers of both generations, then objects, among pools with held blocks. */
    for (size_t i = 0; i < COUNT; i += 7) {
        if (inherited.blocks[i] != NULL && !inherited.freed[i] &&
            inherited.domains[i] == NEVE_DOMAIN_RAW)
            free_inherited(i);
    }
    CHECK(watch_dirtied(&w) == 0, "freeing raw buffers wrote to %zu inherited pages",
          watch_dirtied(&w));
    CHECK_HEAP(inherited.heap);
    page_set written;
    memset(&written, 0, sizeof written);
    for (size_t i = 0; i < COUNT; i += 11) {
        if (inherited.blocks[i] == NULL || inherited.freed[i] ||
            inherited.domains[i] == NEVE_DOMAIN_RAW)
            continue;
        drop_count(inherited.blocks[i]);
        page_set_add(&written, inherited.blocks[i], 1);
        free_inherited(i);
    }
    page_set_finish(&written);
    size_t stray = 0;
    for (size_t i = 0; i < w.pages.count; i++) {
        const void *page = (const void *)(w.pages.numbers[i] * page_bytes());
        stray += watch_is_dirty(&w, page) && !page_set_has(&written, page);
    }
    CHECK(stray == 0, "freeing objects wrote to %zu pages that the program had not (of %zu)", stray,
          written.count);
    CHECK_HEAP(inherited.heap);
    watch_end(&w);
    page_set_clear(&born);
    page_set_clear(&written);
    if ((wrong = check_growth(&mine)) != NULL)
        return wrong;
    return check_inherited_contents();
}

static const char *child_with_a_child(void *arg)
{
    (void)arg;
    neve_heap_after_fork_child(inherited.heap);
    for (size_t i = 0; i < COUNT; i += 5) {
        if (inherited.blocks[i] != NULL) {
            if (inherited.domains[i] != NEVE_DOMAIN_RAW)
                drop_count(inherited.blocks[i]);
            free_inherited(i);
        }
    }
    growth g;
    const char *wrong = grow(&g, 8000);
    if (wrong != NULL)
        return wrong;
    wrong = child_verdict(grandchild, &g);
    if (wrong != NULL)
        return wrong;
    CHECK_HEAP(inherited.heap);
    if ((wrong = check_growth(&g)) != NULL)
        return wrong;
    return check_inherited_contents();
}

static void forks_inside_forks(void **state)
{
    (void)state;
    NEEDS_PAGE_MAP();
    inherit(16, 256);
    assert_child(child_with_a_child, NULL);
    disinherit();
}

static const char *write_report(void *arg)
{
    (void)arg;
    neve_heap_after_fork_child(inherited.heap);
    for (size_t i = 0; i < COUNT; i++) {
        if (inherited.blocks[i] == NULL || inherited.domains[i] != NEVE_DOMAIN_RAW)
            continue;
        corruption_trap trap;
        (void)trap;
        neve_heap_free(inherited.heap, inherited.blocks[i]);
        neve_heap_free(inherited.heap, inherited.blocks[i]);
        break;
    }
    return "freed twice, and nobody said a word";
}

static void a_noted_buffer_cannot_be_freed_twice(void **state)
{
    /* The note is there in every build, so it is looked at in every build. */
    (void)state;
    inherit(16, 64);
    child_result result;
    child_run(write_report, NULL, true, &result);
    assert_true(WIFSIGNALED(result.wait_status));
    assert_int_equal(WTERMSIG(result.wait_status), SIGABRT);
    disinherit();
}

/* What the child has taken itself is what the bounds of kept memory, and the pace of collections,
 * go by: pools that it inherited are not among them, nor do they leave when they empty. */
static const char *count_own_pools(void *arg)
{
    (void)arg;
    growth g;
    neve_heap_after_fork_child(inherited.heap);
    CHECK(inherited.heap->used_pools == 0, "%zu pools", inherited.heap->used_pools);
    const char *wrong = grow(&g, 20000);
    if (wrong != NULL)
        return wrong;
    size_t own = inherited.heap->used_pools;
    CHECK(own >= g.bytes / POOL_BYTES, "%zu pools for %zu kB", own, g.bytes / 1024);
    for (size_t i = 0; i < COUNT; i++)
        if (inherited.blocks[i] != NULL)
            free_inherited(i);
    CHECK(inherited.heap->used_pools == own, "%zu pools of %zu are left",
          inherited.heap->used_pools, own);
    for (size_t i = 0; i < g.count; i++)
        neve_heap_free(inherited.heap, g.blocks[i]);
    neve_heap_trim(inherited.heap);
    CHECK(inherited.heap->used_pools == 0, "%zu pools are left", inherited.heap->used_pools);
    CHECK_HEAP(inherited.heap);
    free(g.blocks);
    return NULL;
}

static void a_child_counts_its_own_pools(void **state)
{
    (void)state;
    inherit(16, 256);
    assert_child(count_own_pools, NULL);
    disinherit();
}

static const char *use_large_blocks(void *arg)
{
    shadow *s = arg;
    neve_heap_after_fork_child(s->heap);
    for (size_t i = 0; i < s->slots; i += 2)
        CHECK_SHADOW(s, shadow_free(s, i, i % 4 == 0));
    for (size_t i = 1; i < s->slots; i += 2)
        CHECK_SHADOW(s, shadow_realloc(s, i, 700 + i));
    for (size_t i = 0; i < s->slots; i += 2)
        CHECK_SHADOW(s, shadow_alloc(s, i, NEVE_DOMAIN_OBJECT, 3000 + i));
    CHECK_SHADOW(s, shadow_verify(s));
    CHECK_SHADOW(s, shadow_check_heap(s));
    CHECK_SHADOW(s, shadow_check_stats(s));
    CHECK_SHADOW(s, shadow_free_all(s));
    neve_heap_destroy(s->heap);
    shadow_destroy(s);
    return NULL;
}

static void large_blocks_are_inherited(void **state)
{
    (void)state;
    shadow s;
    neve_heap *heap = heap_create_default();
    assert_true(shadow_create(&s, heap, 1000, 1));
    for (size_t i = 0; i < s.slots; i++)
        assert_shadow(&s, shadow_alloc(&s, i, (neve_domain)(i % 3), 520 + 13 * i));
    assert_child(use_large_blocks, &s);
    assert_shadow(&s, shadow_verify(&s));
    shadow_destroy(&s);
    neve_heap_destroy(heap);
}

static const char *go_on_in_an_empty_heap(void *arg)
{
    neve_heap *heap = arg;
    neve_heap_after_fork_child(heap);
    neve_heap_after_fork_child(heap); /* twice does no harm */
    CHECK_HEAP(heap);
    for (int i = 0; i < 1000; i++) {
        void *block = neve_heap_alloc(heap, (neve_domain)(i % 3), (size_t)i);
        CHECK(block != NULL, "no memory");
        if (i % 3 == 0)
            neve_heap_free(heap, block);
    }
    neve_heap_trim(heap);
    CHECK_HEAP(heap);
    neve_heap_destroy(heap);
    return NULL;
}

static void empty_heaps_fork_too(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    assert_child(go_on_in_an_empty_heap, heap); /* never used */
    for (int i = 0; i < 5000; i++) {            /* used, and empty again */
        void *block = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 300);
        assert_non_null(block);
        neve_heap_free(heap, block);
    }
    assert_child(go_on_in_an_empty_heap, heap);
    neve_heap_trim(heap);
    assert_child(go_on_in_an_empty_heap, heap);
    neve_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocating_dirties_no_inherited_page),
        cmocka_unit_test(nor_on_a_heap_of_one_class),
        cmocka_unit_test(the_child_pays_for_its_own_blocks_only),
        cmocka_unit_test(few_blocks_of_many_sizes_share_pages),
        cmocka_unit_test(freeing_buffers_dirties_no_inherited_page),
        cmocka_unit_test(freed_objects_are_used_again),
        cmocka_unit_test(the_child_may_free_everything),
        cmocka_unit_test(random_programs_go_on_in_children),
        cmocka_unit_test(forks_inside_forks),
        cmocka_unit_test(a_noted_buffer_cannot_be_freed_twice),
        cmocka_unit_test(a_child_counts_its_own_pools),
        cmocka_unit_test(large_blocks_are_inherited),
        cmocka_unit_test(empty_heaps_fork_too),
    };
    return cmocka_run_group_tests_name("heap after fork", tests, NULL, NULL);
}
