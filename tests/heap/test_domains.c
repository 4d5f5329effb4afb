/* SPDX-License-Identifier: MIT */
/*
 * Blocks of different domains never share an OS page, through any sequence of
 * allocations, frees and moves. Looks at small blocks only: larger ones come
 * from an allocator that knows no domains.
 */
#include "heap_support.h"

typedef struct page_owner {
    uintptr_t page;
    neve_domain domain;
} page_owner;

static int owner_compare(const void *a, const void *b)
{
    const page_owner *x = a, *y = b;
    return (x->page > y->page) - (x->page < y->page);
}

/* Every page that a live small block touches belongs to one domain. */
static void assert_pages_unmixed(const shadow *s)
{
    size_t used = 0;
    page_owner *owners = calloc(2 * s->live + 1, sizeof *owners);
    assert_non_null(owners);
    for (size_t i = 0; i < s->slots; i++) {
        const shadow_block *b = &s->blocks[i];
        size_t usable = b->at == NULL ? 0 : neve_heap_usable_size(s->heap, b->at);
        if (b->at == NULL || usable > NEVE_SMALL_MAX)
            continue;
        owners[used++] = (page_owner){(uintptr_t)b->at / page_bytes(), b->domain};
        owners[used++] = (page_owner){((uintptr_t)b->at + usable - 1) / page_bytes(), b->domain};
    }
    qsort(owners, used, sizeof *owners, owner_compare);
    for (size_t i = 1; i < used; i++) {
        if (owners[i].page == owners[i - 1].page && owners[i].domain != owners[i - 1].domain)
            fail_msg("page %#zx holds domains %d and %d", (size_t)owners[i].page,
                     (int)owners[i - 1].domain, (int)owners[i].domain);
    }
    free(owners);
}

static void one_of_each_size_in_turn(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    shadow s;
    assert_true(shadow_create(&s, heap, NEVE_DOMAINS * NEVE_SMALL_MAX, 1));
    for (size_t i = 0; i < s.slots; i++)
        assert_shadow(&s,
                      shadow_alloc(&s, i, (neve_domain)(i % NEVE_DOMAINS), 1 + i / NEVE_DOMAINS));
    assert_pages_unmixed(&s);
    assert_shadow(&s, shadow_free_all(&s));
    shadow_destroy(&s);
    neve_heap_destroy(heap);
}

static void under_churn(void **state)
{
    (void)state;
    neve_heap *heap = heap_create_default();
    shadow s;
    assert_true(shadow_create(&s, heap, 6000, 77));
    for (int phase = 0; phase < 12; phase++) {
        for (size_t step = 0; step < affordable(15000); step++)
            assert_shadow(&s, shadow_step(&s));
        assert_pages_unmixed(&s);
        if (phase % 4 == 3) { /* everything empties; the pools change hands */
            assert_shadow(&s, shadow_free_all(&s));
            if (phase == 7)
                neve_heap_trim(heap);
        }
    }
    shadow_destroy(&s);
    neve_heap_destroy(heap);
}

static void memory_moves_between_domains(void **state)
{
    /* 8 MB in one domain, freed, then in the next: the pools are used again. */
    (void)state;
    enum { COUNT = 32768 };
    static void *blocks[COUNT];
    neve_heap *heap = heap_create_default();
    size_t most = 0;
    for (int round = 0; round < 3 * NEVE_DOMAINS; round++) {
        neve_domain domain = (neve_domain)(round % NEVE_DOMAINS);
        for (size_t i = 0; i < COUNT; i++) {
            blocks[i] = neve_heap_alloc(heap, domain, 256);
            assert_non_null(blocks[i]);
        }
        size_t arena_bytes = heap_stats(heap).arena_bytes;
        most = arena_bytes > most ? arena_bytes : most;
        for (size_t i = 0; i < COUNT; i++)
            neve_heap_free(heap, blocks[i]);
    }
    assert_true(most <= COUNT * 256 + (4u << 20));
    assert_heap_sound(heap);
    neve_heap_destroy(heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_of_each_size_in_turn),
        cmocka_unit_test(under_churn),
        cmocka_unit_test(memory_moves_between_domains),
    };
    return cmocka_run_group_tests_name("heap domains", tests, NULL, NULL);
}
