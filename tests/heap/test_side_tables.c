/* SPDX-License-Identifier: MIT */
/*
 * The side tables as the collector uses them: states are kept per object, and
 * freeing a block by any way clears its bits and nobody else's (invariant 5).
 */
#include "heap_support.h"

#include "heap/heap_internal.h"

/* Sets a state on every block of the shadow and remembers it. */
typedef struct marked {
    unsigned char *at;
    nv_state state;
} marked;

static void states_belong_to_their_object(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static marked objects[COUNT];
    static size_t order[COUNT];
    static const unsigned starts[] = {1u << 0, 1u << 1, 1u << 2, 1u << 1 | 1u << 2};
    for (size_t round = 0; round < sizeof starts / sizeof starts[0]; round++) {
        neve_heap_options options = {.struct_size = sizeof options};
        options.object_starts = starts[round];
        neve_heap *heap = NULL;
        assert_ok(neve_heap_create(&options, &heap));
        uint64_t random = round;
        for (size_t i = 0; i < COUNT; i++) {
            size_t size = 48 + random_below(&random, i % 8 == 0 ? 2000 : 460);
            unsigned char *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, size);
            assert_non_null(block);
            /* One of the places where an object may begin in it. */
            unsigned start = (unsigned)__builtin_ctz(starts[round]);
            if (starts[round] >> (start + 1) != 0 && i % 2 != 0)
                start = 31u - (unsigned)__builtin_clz(starts[round]);
            objects[i].at = block + start * NEVE_GRANULE;
            objects[i].state = (nv_state)random_below(&random, 4);
            assert_true(nv_state_set(heap, objects[i].at, objects[i].state));
        }
        for (size_t i = 0; i < COUNT; i++)
            assert_int_equal(nv_state_get(heap, objects[i].at), objects[i].state);
        assert_heap_sound(heap);

        random_order(&random, order, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            marked *object = &objects[order[i]];
            unsigned char *block = object->at;
            while (!neve_heap_owns(heap, block))
                block -= NEVE_GRANULE;
            if (i % 2 == 0)
                neve_heap_free(heap, block);
            else
                assert_true(neve_heap_try_free(heap, block));
            assert_int_equal(nv_state_get(heap, object->at), NV_STATE_YOUNG);
            object->at = NULL;
            /* A neighbour in the order of allocation keeps what it has. */
            marked *neighbour = &objects[(order[i] + 1) % COUNT];
            if (neighbour->at != NULL)
                assert_int_equal(nv_state_get(heap, neighbour->at), neighbour->state);
            if (i % 5000 == 0)
                assert_heap_sound(heap);
        }
        assert_heap_sound(heap);
        neve_heap_destroy(heap);
    }
}

static void a_moved_object_leaves_no_bits_behind(void **state)
{
    (void)state;
    static const size_t sizes[] = {16, 100, 512, 513, 3000, 500000};
    enum { SIZES = sizeof sizes / sizeof sizes[0] };
    neve_heap *heap = heap_create_default();
    for (size_t from = 0; from < SIZES; from++) {
        for (size_t to = 0; to < SIZES; to++) {
            void *block = neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, sizes[from]);
            assert_non_null(block);
            assert_true(nv_state_set(heap, block, NV_STATE_FROZEN));
            void *moved = neve_heap_realloc(heap, NEVE_DOMAIN_OBJECT, block, sizes[to]);
            assert_non_null(moved);
            if (moved != block) {
                assert_int_equal(nv_state_get(heap, block), NV_STATE_YOUNG);
                assert_int_equal(nv_state_get(heap, moved), NV_STATE_YOUNG);
            } else {
                assert_int_equal(nv_state_get(heap, block), NV_STATE_FROZEN);
            }
            neve_heap_free(heap, moved);
            assert_int_equal(nv_state_get(heap, moved), NV_STATE_YOUNG);
        }
    }
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void foreign_objects_have_states_too(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static unsigned char *objects[COUNT];
    neve_heap *heap = heap_create_default();
    size_t bare = heap_stats(heap).side_table_bytes;
    for (size_t i = 0; i < COUNT; i++) {
        objects[i] = malloc(64 + i);
        assert_non_null(objects[i]);
        assert_int_equal(nv_state_get(heap, objects[i]), NV_STATE_YOUNG);
    }
    for (size_t i = 0; i < COUNT; i++)
        assert_true(nv_state_set(heap, objects[i], (nv_state)(i % 4)));
    assert_true(heap_stats(heap).side_table_bytes > bare);
    for (size_t i = 0; i < COUNT; i++)
        assert_int_equal(nv_state_get(heap, objects[i]), (nv_state)(i % 4));
    for (size_t i = 0; i < COUNT; i++) {
        assert_false(neve_heap_try_free(heap, objects[i]));
        assert_int_equal(nv_state_get(heap, objects[i]), NV_STATE_YOUNG);
        if (i + 1 < COUNT)
            assert_int_equal(nv_state_get(heap, objects[i + 1]), (nv_state)((i + 1) % 4));
        free(objects[i]);
    }
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

static void recycled_blocks_are_young(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static void *blocks[COUNT];
    neve_heap *heap = heap_create_default();
    for (int round = 0; round < 6; round++) {
        neve_domain domain = (neve_domain)(round % NEVE_DOMAINS);
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = neve_heap_alloc(heap, domain, 16 + i % 497);
            assert_non_null(blocks[i]);
            assert_int_equal(nv_state_get(heap, blocks[i]), NV_STATE_YOUNG);
        }
        if (domain != NEVE_DOMAIN_RAW) {
            for (size_t i = 0; i < COUNT; i++)
                assert_true(nv_state_set(heap, blocks[i], NV_STATE_OLD));
        }
        for (size_t i = 0; i < COUNT; i++)
            neve_heap_free(heap, blocks[i]);
        if (round % 2 != 0)
            neve_heap_trim(heap);
        assert_heap_sound(heap);
    }
    neve_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_belong_to_their_object),
        cmocka_unit_test(a_moved_object_leaves_no_bits_behind),
        cmocka_unit_test(foreign_objects_have_states_too),
        cmocka_unit_test(recycled_blocks_are_young),
    };
    return cmocka_run_group_tests_name("heap side tables", tests, NULL, NULL);
}
