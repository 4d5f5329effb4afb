/* SPDX-License-Identifier: MIT */
/*
 * The heap checker finds planted damage and reports it without crashing, and
 * finds none once the damage is undone. Statistics: what they promise beyond
 * the counts, which the shadow compares.
 */
#include "heap_support.h"

#include "heap/heap_internal.h"

enum { COUNT = 60 };

typedef struct patient {
    neve_heap *heap;
    unsigned char *blocks[COUNT]; /* of one class; every third is free */
    unsigned char *last_freed;
} patient;

static void patient_create(patient *p, neve_domain domain, size_t size)
{
    p->heap = heap_create_default();
    for (size_t i = 0; i < COUNT; i++) {
        p->blocks[i] = neve_heap_alloc(p->heap, domain, size);
        assert_non_null(p->blocks[i]);
        memset(p->blocks[i], 0x11, size);
    }
    for (size_t i = 0; i < COUNT; i += 3) {
        neve_heap_free(p->heap, p->blocks[i]);
        p->last_freed = p->blocks[i];
    }
    assert_heap_sound(p->heap);
}

/* The checker's verdict on the first word of a free block being `word`. */
static neve_status verdict_on_link(const patient *p, uintptr_t word, char *message, size_t size)
{
    uintptr_t saved;
    memcpy(&saved, p->last_freed, sizeof saved);
    memcpy(p->last_freed, &word, sizeof word);
    neve_status status = neve_heap_check(p->heap, message, size);
    memcpy(p->last_freed, &saved, sizeof saved);
    return status;
}

static void overwritten_links_are_found(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 48, 64, 272, 512};
    static unsigned char outside[512];
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (int d = 0; d < NEVE_DOMAINS; d++) {
            patient p;
            patient_create(&p, (neve_domain)d, sizes[s]);
            void *other_class = neve_heap_alloc(p.heap, (neve_domain)d, sizes[s] % 512 + 16);
            void *other_domain = neve_heap_alloc(p.heap, (neve_domain)((d + 1) % 3), sizes[s]);
            const uintptr_t words[] = {
                0, /* cuts the list short */
                1,
                16,
                0x4141414141414141u & UINTPTR_MAX,
                UINTPTR_MAX,
                UINTPTR_MAX - 15,
                (uintptr_t)p.last_freed,     /* a circle of one */
                (uintptr_t)p.blocks[0],      /* a free block that is in the list already, ... */
                (uintptr_t)p.blocks[1],      /* ... or leads to live ones */
                (uintptr_t)p.last_freed + 8, /* inside a block */
                (uintptr_t)p.blocks[1] + 1,
                (uintptr_t)other_class,
                (uintptr_t)other_domain,
                (uintptr_t)outside,
                (uintptr_t)p.heap,
                (uintptr_t)p.last_freed + (1u << 20),
                (uintptr_t)p.last_freed - (1u << 14),
            };
            for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
                uintptr_t now;
                memcpy(&now, p.last_freed, sizeof now);
                if (words[w] == now)
                    continue; /* no damage */
                char message[200];
                memset(message, 'x', sizeof message);
                if (verdict_on_link(&p, words[w], message, sizeof message) != NEVE_ECORRUPT)
                    fail_msg("domain %d, %zu bytes: link %#zx was not found", d, sizes[s],
                             (size_t)words[w]);
                assert_non_null(memchr(message, '\0', sizeof message));
                assert_true(strlen(message) > 5);
                assert_heap_sound(p.heap); /* undone, and the checker has written nothing */
            }
            neve_heap_destroy(p.heap);
        }
    }
}

static void messages_fit_their_buffer(void **state)
{
    (void)state;
    patient p;
    patient_create(&p, NEVE_DOMAIN_OBJECT, 64);
    char message[64];
    for (size_t size = 1; size < sizeof message; size++) {
        memset(message, 'x', sizeof message);
        assert_int_equal(verdict_on_link(&p, 1, message, size), NEVE_ECORRUPT);
        assert_non_null(memchr(message, '\0', size));
        for (size_t i = size; i < sizeof message; i++)
            assert_int_equal(message[i], 'x');
        memset(message, 'x', sizeof message); /* terminated when there is nothing to say, too */
        assert_ok(neve_heap_check(p.heap, message, size));
        assert_non_null(memchr(message, '\0', size));
    }
    memset(message, 'x', sizeof message);
    assert_int_equal(verdict_on_link(&p, 1, message, 0), NEVE_ECORRUPT);
    assert_int_equal(message[0], 'x');
    assert_int_equal(verdict_on_link(&p, 1, NULL, 0), NEVE_ECORRUPT);
    assert_int_equal(verdict_on_link(&p, 1, NULL, 100), NEVE_ECORRUPT);
    assert_ok(neve_heap_check(p.heap, NULL, 0));
    neve_heap_destroy(p.heap);
}

static void damaged_descriptors_are_found(void **state)
{
    (void)state;
    patient p;
    patient_create(&p, NEVE_DOMAIN_OBJECT, 64);
    nv_chunk *chunk = nv_chunk_find(p.heap, p.last_freed);
    assert_non_null(chunk);
    nv_pool *pool = nv_pool_of(p.last_freed);
    neve_heap_trim(p.heap); /* cached blocks go home, to the pool's own list */
    const nv_pool saved = *pool;
    for (int kind = 0; kind < 7; kind++) {
        switch (kind) {
        case 0:
            pool->used++;
            break;
        case 1:
            pool->used--;
            break;
        case 2:
            pool->carved = (uint16_t)(pool->capacity + 1);
            break;
        case 3:
            pool->size_class = 0;
            break;
        case 4:
            pool->size_class = 200;
            break;
        case 5:
            pool->domain = 77;
            break;
        default:
            pool->free = NULL;
            break;
        }
        char message[200];
        if (neve_heap_check(p.heap, message, sizeof message) != NEVE_ECORRUPT)
            fail_msg("damage of kind %d was not found", kind);
        *pool = saved;
        assert_heap_sound(p.heap);
    }
    neve_heap_destroy(p.heap);
}

static void a_bit_on_a_free_block_is_found(void **state)
{
    /* Invariant 5: the side tables never name a freed block. */
    (void)state;
    patient p;
    patient_create(&p, NEVE_DOMAIN_OBJECT, 64);
    nv_chunk *chunk = nv_chunk_find(p.heap, p.last_freed);
    assert_non_null(chunk);
    unsigned granule = nv_granule(p.last_freed);
    chunk->high[granule / 64] |= nv_bit(granule);
    assert_int_equal(neve_heap_check(p.heap, NULL, 0), NEVE_ECORRUPT);
    chunk->high[granule / 64] &= ~nv_bit(granule);
    assert_heap_sound(p.heap);
    assert_false(chunk->has_low);
    chunk->low[granule / 64] |= nv_bit(granule);
    assert_int_equal(neve_heap_check(p.heap, NULL, 0), NEVE_ECORRUPT);
    chunk->low[granule / 64] &= ~nv_bit(granule);
    assert_heap_sound(p.heap);
    neve_heap_destroy(p.heap);
}

static void damage_beyond_the_first_arena_is_found(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    enum { MANY = 40000 }; /* 10 MB */
    static unsigned char *blocks[MANY];
    for (size_t i = 0; i < MANY; i++) {
        blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, 256);
        assert_non_null(blocks[i]);
    }
    for (size_t i = 5; i < MANY; i += 7777)
        neve_heap_free(heap, blocks[i]);
    for (size_t i = 5; i < MANY; i += 7777) {
        uintptr_t saved, wrong = 0x1234;
        memcpy(&saved, blocks[i], sizeof saved);
        memcpy(blocks[i], &wrong, sizeof wrong);
        assert_int_equal(neve_heap_check(heap, NULL, 0), NEVE_ECORRUPT);
        memcpy(blocks[i], &saved, sizeof saved);
        assert_heap_sound(heap);
    }
    neve_heap_destroy(heap);
}

static void statistics_hang_together(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    neve_heap_stats empty = heap_stats(heap);
    assert_int_equal(stats_blocks(&empty), 0);
    assert_int_equal(empty.pools_used, 0);
    assert_int_equal(empty.returned_bytes, 0);
    shadow s;
    assert_true(shadow_create(&s, heap, 4000, 21));
    for (int phase = 0; phase < 20; phase++) {
        for (int step = 0; step < 3000; step++)
            assert_shadow(&s, shadow_step(&s));
        assert_shadow(&s, shadow_check_stats(&s));
        neve_heap_stats stats = heap_stats(heap);
        size_t small = 0, blocks = 0;
        for (size_t d = 0; d < NEVE_DOMAINS; d++) {
            small += stats.small_bytes[d];
            blocks += stats.small_blocks[d];
        }
        assert_int_equal(stats.arena_bytes, stats.arenas * NV_CHUNK_BYTES);
        assert_true(small + stats.cached_bytes <= stats.arena_bytes);
        assert_true(stats.pools_used + stats.pools_cached <= stats.arenas * NV_ARENA_POOLS);
        assert_true(stats.pools_used <= blocks);
        assert_true(stats.pools_used * NV_POOL_BYTES >= small);
        assert_true(stats.side_table_bytes > 0);
    }
    assert_shadow(&s, shadow_free_all(&s));
    shadow_destroy(&s);
    neve_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overwritten_links_are_found),
        cmocka_unit_test(messages_fit_their_buffer),
        cmocka_unit_test(damaged_descriptors_are_found),
        cmocka_unit_test(a_bit_on_a_free_block_is_found),
        cmocka_unit_test(damage_beyond_the_first_arena_is_found),
        cmocka_unit_test(statistics_hang_together),
    };
    return cmocka_run_group_tests_name("heap checker", tests, NULL, NULL);
}
