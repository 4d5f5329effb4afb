/* SPDX-License-Identifier: MIT */
/*
 * The caches between the program and the pools: what was freed last comes back first, what
 * a cache may hold is bounded and follows the program, nothing is lost when everything is
 * freed, at a fork, or at a collection, and the checker sees damage to them.
 */
#include "heap_support.h"

#include "heap/heap_internal.h"

#include <unistd.h>

/* Blocks of one arena: in debug builds two may compete for an entry of the filter, and what
 * lies in the other is not cached. MOST are cached beside those that a pool gave up. */
enum { MANY = 16000, BYTES = 64, MOST = 32 };

static neve_heap *heap;
static unsigned char *blocks[MANY];

static const nv_cache *cache_of(neve_domain domain)
{
    return &heap->caches[NV_KIND_OF(domain, BYTES / NEVE_GRANULE)];
}

static nv_pool *pool_of(const void *block)
{
    return nv_pool_of(block);
}

static void fill(neve_domain domain)
{
    heap = heap_create_default();
    for (size_t i = 0; i < MANY; i++)
        assert_non_null(blocks[i] = neve_heap_alloc(heap, domain, BYTES));
}

static size_t cached(void)
{
    size_t count = 0;
    for (unsigned kind = 0; kind < NV_KINDS; kind++)
        count += nv_cache_count(&heap->caches[kind]);
    return count;
}

static void last_freed_comes_back_first(void **state)
{
    (void)state;
    for (neve_domain domain = 0; domain < NEVE_DOMAINS; domain++) {
        fill(domain);
        for (size_t i = 0; i < MOST; i++)
            neve_heap_free(heap, blocks[i * 450]); /* each in another pool */
        assert_heap_sound(heap);
        for (size_t i = MOST; i-- > 0;)
            assert_ptr_equal(neve_heap_alloc(heap, domain, BYTES), blocks[i * 450]);
        neve_heap_destroy(heap);
    }
}

static void what_a_cache_holds_is_bounded(void **state)
{
    (void)state;
    fill(NEVE_DOMAIN_LEAF);
    uint64_t random = 7;
    size_t most = 0;
    /* Between half and all of the blocks live: the level of the cache drifts both ways. */
    static bool is_free[MANY];
    memset(is_free, 0, sizeof is_free);
    for (size_t i = 0; i < 20 * MANY; i++) {
        size_t k = random_below(&random, MANY);
        if (is_free[k])
            blocks[k] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, BYTES);
        else
            neve_heap_free(heap, blocks[k]);
        is_free[k] = !is_free[k];
        size_t count = nv_cache_count(cache_of(NEVE_DOMAIN_LEAF));
        most = count > most ? count : most;
    }
    assert_true(most > MOST / 2);
    assert_true(most <= MOST + NV_POOL_BYTES / BYTES);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void a_heap_that_is_emptied_has_empty_caches(void **state)
{
    (void)state;
    uint64_t random = 8;
    static size_t order[MANY];
    random_order(&random, order, MANY);
    for (neve_domain domain = 0; domain < NEVE_DOMAINS; domain++) {
        fill(domain);
        for (size_t i = 0; i < MANY; i++) {
            neve_heap_free(heap, blocks[order[i]]);
            if (i % 4000 == 3999)
                assert_heap_sound(heap);
        }
        assert_int_equal(cached(), 0);
        assert_int_equal(heap_stats(heap).pools_used, 0);
        /* ... and learn again. */
        for (size_t i = 0; i < MANY; i++)
            assert_non_null(blocks[i] = neve_heap_alloc(heap, domain, BYTES));
        neve_heap_free(heap, blocks[1]);
        assert_ptr_equal(neve_heap_alloc(heap, domain, BYTES), blocks[1]);
        neve_heap_destroy(heap);
    }
}

static void cached_blocks_are_not_live(void **state)
{
    (void)state;
    fill(NEVE_DOMAIN_RAW);
    neve_heap_stats full = heap_stats(heap);
    for (size_t i = 0; i < 20; i++)
        neve_heap_free(heap, blocks[i * 700]);
    assert_true(nv_cache_count(cache_of(NEVE_DOMAIN_RAW)) >= 20);
    neve_heap_stats now = heap_stats(heap);
    assert_int_equal(now.small_blocks[NEVE_DOMAIN_RAW], full.small_blocks[NEVE_DOMAIN_RAW] - 20);
    assert_int_equal(now.small_bytes[NEVE_DOMAIN_RAW], (MANY - 20) * BYTES);
    uint64_t live[NV_POOL_BITS_WORDS];
    nv_pool_live_blocks(heap, pool_of(blocks[700]), live);
    size_t number = ((uintptr_t)blocks[700] & (NV_POOL_BYTES - 1)) / BYTES;
    assert_int_equal(live[number / 64] >> (number % 64) & 1, 0);
    neve_heap_trim(heap);
    assert_int_equal(cached(), 0);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void caches_go_home_from_time_to_time(void **state)
{
    (void)state;
    fill(NEVE_DOMAIN_RAW);
    const uint64_t second = 1000000000u;
    nv_cache_tick(heap, 10 * second);
    neve_heap_free(heap, blocks[0]);
    assert_true(cached() > 0);
    nv_cache_tick(heap, 11 * second - 1);
    assert_true(cached() > 0);
    nv_cache_tick(heap, 11 * second);
    assert_int_equal(cached(), 0);
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void bits_are_cleared_before_a_block_is_cached(void **state)
{
    (void)state;
    fill(NEVE_DOMAIN_OBJECT);
    neve_heap_free(heap, blocks[5]); /* the cache has room from here on */
    assert_ptr_equal(neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, BYTES), blocks[5]);
    assert_int_equal(*nv_kind_at(heap, blocks[300]) & NV_KIND_ASK, 0);
    assert_true(nv_state_set(heap, blocks[300], NV_STATE_OLD));
    assert_int_equal(*nv_kind_at(heap, blocks[300]) & NV_KIND_ASK, NV_KIND_ASK);
    assert_heap_sound(heap);
    neve_heap_free(heap, blocks[300]);
    assert_int_equal(nv_state_get(heap, blocks[300]), NV_STATE_YOUNG);
    assert_heap_sound(heap);
    assert_ptr_equal(neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, BYTES), blocks[300]);
    neve_heap_destroy(heap);
}

static void pools_where_nobody_looks_for_young_objects_are_not_cached(void **state)
{
    (void)state;
    fill(NEVE_DOMAIN_OBJECT);
    neve_heap_free(heap, blocks[0]);
    nv_touched_begin(heap);
    assert_int_equal(cached(), 0);
    neve_heap_free(heap, blocks[9000]);
    assert_int_equal(cached(), 0);
    assert_heap_sound(heap);
    /* Whatever is allocated from now on lies in a pool that is listed. */
    for (size_t i = 0; i < 1000; i++) {
        void *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, BYTES);
        assert_non_null(block);
        assert_int_not_equal(pool_of(block)->touched, 0);
        if (i % 3 == 0)
            neve_heap_free(heap, block); /* cached: it comes back from there */
    }
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

/* ---- forks ---- */

enum { STRAYS = 20, APART = 700 };

static const char *see_strays(void *arg)
{
    neve_domain domain = *(const neve_domain *)arg;
    uint64_t words[STRAYS];
    for (size_t i = 0; i < STRAYS; i++)
        memcpy(&words[i], blocks[i * APART], sizeof words[i]);
    size_t live = heap_stats(heap).small_blocks[domain];
    size_t strays = cached();
    neve_heap_after_fork_child(heap);
    CHECK(cached() == 0, "a child has cached blocks");
    CHECK(heap->stray_count == strays && strays >= STRAYS, "%zu strays", heap->stray_count);
    CHECK_HEAP(heap);
    CHECK(heap_stats(heap).small_blocks[domain] == live, "the number of live blocks changed");
    for (size_t i = 0; i < 5000; i++) {
        unsigned char *block = neve_heap_alloc(heap, domain, BYTES);
        CHECK(block != NULL, "no memory");
        for (size_t k = 0; k < STRAYS; k++)
            CHECK(block != blocks[k * APART], "a stray was handed out");
        memset(block, 0xee, BYTES);
    }
    for (size_t i = 0; i < STRAYS; i++)
        CHECK(memcmp(&words[i], blocks[i * APART], sizeof words[i]) == 0, "stray %zu written", i);
    /* All else is freed: the strays keep no pool. */
    size_t arenas_before = heap_stats(heap).pools_used;
    for (size_t i = 0; i < MANY; i++)
        if (i % APART != 0 || i / APART >= STRAYS)
            neve_heap_free(heap, blocks[i]);
    CHECK_HEAP(heap);
    neve_heap_stats stats = heap_stats(heap);
    CHECK(stats.small_blocks[domain] == 5000, "%zu blocks live", stats.small_blocks[domain]);
    CHECK(stats.pools_used < arenas_before / 2, "%zu pools in use", stats.pools_used);
    for (size_t i = 0; i < heap->stray_count; i++)
        CHECK((heap->strays[i] & 1) != 0, "stray %zu is left", i);
    return NULL;
}

static const char *see_strays_of_two_forks(void *arg)
{
    neve_heap_after_fork_child(heap);
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, BYTES); /* cached blocks of its own */
    CHECK(block != NULL, "no memory");
    neve_heap_free(heap, block);
    neve_heap_free(heap, blocks[APART + 1]); /* adopts the pool of one stray */
    size_t left = 0;
    for (size_t i = 0; i < heap->stray_count; i++)
        left += (heap->strays[i] & 1) == 0;
    CHECK(left < heap->stray_count, "no stray was held back");
    size_t own = cached();
    CHECK(own > 0, "nothing is cached");
    neve_heap_after_fork_child(heap); /* as in a child of this one */
    CHECK(heap->stray_count == left + own, "%zu strays, not %zu", heap->stray_count, left + own);
    CHECK_HEAP(heap);
    (void)arg;
    return NULL;
}

static void a_fork_makes_strays(void **state)
{
    (void)state;
    for (neve_domain domain = 0; domain < NEVE_DOMAINS; domain++) {
        fill(domain);
        for (size_t i = 0; i < STRAYS; i++)
            neve_heap_free(heap, blocks[i * APART]);
        assert_child(see_strays, &domain);
        if (domain == NEVE_DOMAIN_LEAF)
            assert_child(see_strays_of_two_forks, NULL);
        assert_heap_sound(heap); /* the parent's caches are as they were */
        assert_ptr_equal(neve_heap_alloc(heap, domain, BYTES), blocks[(STRAYS - 1) * APART]);
        neve_heap_destroy(heap);
    }
}

static const char *free_a_stray(void *arg)
{
    neve_heap_after_fork_child(heap);
    neve_heap_free(heap, arg);
    return "freed again, and nobody said a word";
}

static void a_stray_cannot_be_freed_again(void **state)
{
    (void)state;
    for (neve_domain domain = 0; domain < NEVE_DOMAINS; domain++) {
        fill(domain);
        bool is_debug = neve_heap_fail_alloc_at(heap, 0) == NEVE_OK;
        neve_heap_free(heap, blocks[APART]);
        assert_int_not_equal(nv_cache_count(cache_of(domain)), 0);
        child_result result;
        if (is_debug || domain == NEVE_DOMAIN_RAW) { /* whose notes are there in every build */
            child_run(free_a_stray, blocks[APART], true, &result);
            assert_true(WIFSIGNALED(result.wait_status));
            assert_int_equal(WTERMSIG(result.wait_status), SIGABRT);
            assert_non_null(strstr(result.report, "twice"));
        }
        neve_heap_destroy(heap);
    }
}

/* Whoever forks without the heap's lock, a library's thread that is about to start a program,
 * may find a cache in the middle of a change. */
static const char *see_a_cache_in_the_making(void *arg)
{
    nv_cache *cache = &heap->caches[NV_KIND_OF(NEVE_DOMAIN_LEAF, BYTES / NEVE_GRANULE)];
    unsigned counted = nv_cache_count(cache);
    CHECK(counted > 3, "only %u blocks are cached", counted);
    if (arg == NULL)
        cache->room += 2; /* fewer than are in the list */
    else
        memcpy(*(void **)cache->free, arg, sizeof(void *)); /* the third is no block */
    neve_heap_after_fork_child(heap);
    CHECK(heap->stray_count == (arg == NULL ? counted - 2 : 2), "%zu strays of %u",
          heap->stray_count, counted);
    return NULL;
}

static void caches_need_not_be_whole_at_a_fork(void **state)
{
    (void)state;
    void *const nonsense[] = {(void *)(uintptr_t)0x10, (void *)(UINTPTR_MAX / 255 * 0x61),
                              (void *)heap, (void *)1};
    fill(NEVE_DOMAIN_LEAF);
    neve_heap_trim(heap);
    for (size_t i = 0; i < STRAYS; i++)
        neve_heap_free(heap, blocks[i * APART]);
    assert_child(see_a_cache_in_the_making, NULL);
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++)
        assert_child(see_a_cache_in_the_making, (void *)&nonsense[i]);
    neve_heap_destroy(heap);
}

/* ---- damage ---- */

static void assert_damage_is_found(void)
{
    char message[200];
    assert_int_equal(neve_heap_check(heap, message, sizeof message), NEVE_ECORRUPT);
    assert_true(strlen(message) > 5);
}

static void damage_is_found(void **state)
{
    (void)state;
    fill(NEVE_DOMAIN_LEAF);
    for (size_t i = 0; i < 10; i++)
        neve_heap_free(heap, blocks[i * 1000]);
    nv_cache *cache = &heap->caches[NV_KIND_OF(NEVE_DOMAIN_LEAF, BYTES / NEVE_GRANULE)];
    const nv_cache saved = *cache;
    cache->room--;
    assert_damage_is_found();
    cache->room = saved.room + 1;
    assert_damage_is_found();
    cache->room = saved.room;
    cache->free = blocks[9000] + NEVE_GRANULE; /* no block's start */
    assert_damage_is_found();
    cache->free = heap; /* no arena's */
    assert_damage_is_found();
    *cache = (nv_cache){.limit = 0};
    heap->caches[NV_KIND_OF(NEVE_DOMAIN_RAW, BYTES / NEVE_GRANULE)] = saved;
    assert_damage_is_found(); /* another domain's */
    heap->caches[NV_KIND_OF(NEVE_DOMAIN_RAW, BYTES / NEVE_GRANULE)] = (nv_cache){.limit = 0};
    *cache = saved;
    assert_heap_sound(heap);

    /* A pool that lists what is cached, too. */
    nv_pool *pool = pool_of(blocks[9000]);
    pool->free = blocks[9000];
    assert_damage_is_found();
    pool->free = NULL;
    assert_heap_sound(heap);

    if (nv_is_owned(heap, blocks[1])) {
        uint8_t *kind = nv_kind_at(heap, blocks[1]), right = *kind;
        const uint8_t wrong[] = {0, (uint8_t)(right ^ NV_KIND_ASK), (uint8_t)(right + 2)};
        for (size_t i = 0; i < sizeof wrong; i++) {
            *kind = wrong[i];
            assert_damage_is_found();
        }
        *kind = right;
    }
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_freed_comes_back_first),
        cmocka_unit_test(what_a_cache_holds_is_bounded),
        cmocka_unit_test(a_heap_that_is_emptied_has_empty_caches),
        cmocka_unit_test(cached_blocks_are_not_live),
        cmocka_unit_test(caches_go_home_from_time_to_time),
        cmocka_unit_test(bits_are_cleared_before_a_block_is_cached),
        cmocka_unit_test(pools_where_nobody_looks_for_young_objects_are_not_cached),
        cmocka_unit_test(a_fork_makes_strays),
        cmocka_unit_test(a_stray_cannot_be_freed_again),
        cmocka_unit_test(caches_need_not_be_whole_at_a_fork),
        cmocka_unit_test(damage_is_found),
    };
    return cmocka_run_group_tests_name("caches", tests, NULL, NULL);
}
