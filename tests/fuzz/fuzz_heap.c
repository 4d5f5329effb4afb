/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input prescribes operations on a heap, which a shadow
 * model follows (tests/heap/shadow.h). Lost, overlapping or damaged blocks,
 * wrong statistics and whatever neve_heap_check finds stop the fuzzer.
 *
 * Input: one byte of options, then operations of four bytes each: what to do,
 * to which of 64 slots, and a number from which sizes are made. Inputs that
 * differ in one operation thus share the rest.
 *
 * To replay a finding without libFuzzer, compile with -DFUZZ_HEAP_MAIN; the
 * program then takes file names.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../heap/shadow.h"

enum { SLOTS = 64, OPTION_BYTES = 1, STEP_BYTES = 4, LARGEST = 32 * 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned char foreign[1024] __attribute__((aligned(16)));

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "fuzz_heap: %s\n", what);
    abort();
}

/* The large allocator of half of the inputs: refuses every eighth request. */
static void *scarce_malloc(void *ctx, size_t size)
{
    unsigned *calls = ctx;
    return ++*calls % 8 == 0 ? NULL : malloc(size);
}

static void *scarce_realloc(void *ctx, void *block, size_t size)
{
    unsigned *calls = ctx;
    return ++*calls % 8 == 0 ? NULL : realloc(block, size);
}

static void scarce_free(void *ctx, void *block)
{
    (void)ctx;
    free(block);
}

/* Mostly small sizes and the borders of classes; now and then a large one. */
static size_t size_from(unsigned number)
{
    if ((number & 0xc000u) == 0xc000u)
        return (number & 0x3fffu) * (LARGEST / 0x4000u);
    return number % (NEVE_SMALL_MAX + 200);
}

static bool step(shadow *s, unsigned what, size_t slot, unsigned number)
{
    neve_domain domain =
        (neve_domain)(what >> 4 & 3u) == 3 ? NEVE_DOMAIN_OBJECT : (neve_domain)(what >> 4 & 3u);
    bool is_live = s->blocks[slot].at != NULL;
    size_t size = size_from(number);
    switch (what & 15u) {
    case 0:
    case 1:
    case 2:
    case 3:
        return is_live || shadow_alloc(s, slot, domain, size);
    case 4:
        return is_live || shadow_calloc(s, slot, domain, 1 + (number & 7u), size);
    case 5: /* overflows, whatever the factor */
        require(neve_heap_calloc(s->heap, domain, SIZE_MAX / 2 + 1 + number, 2 + number % 8) ==
                    NULL,
                "calloc overflows");
        return true;
    case 6:
    case 7:
    case 8:
        return shadow_free(s, slot, false);
    case 9:
        return shadow_free(s, slot, true);
    case 10:
    case 11:
        if (!is_live) {
            s->blocks[slot].domain = domain;
            s->blocks[slot].size = 0;
        }
        return shadow_realloc(s, slot, size);
    case 12:
        neve_heap_trim(s->heap);
        return true;
    case 13:
        require(!neve_heap_try_free(s->heap, foreign + number % 64 * 16), "frees a stranger");
        require(!neve_heap_owns(s->heap, foreign + number % sizeof foreign), "owns a stranger");
        if (is_live && number % 1024 < s->blocks[slot].size && number % 1024 != 0)
            require(!neve_heap_owns(s->heap, s->blocks[slot].at + number % 1024),
                    "owns the inside of a block");
        return true;
    case 14: /* many at once, so that pools fill, empty and change hands */
        for (size_t i = 0; i < SLOTS; i++) {
            bool is_fine = s->blocks[i].at == NULL
                               ? shadow_alloc(s, i, domain, size % (NEVE_SMALL_MAX + 1))
                               : i % 2 == slot % 2 || shadow_free(s, i, false);
            if (!is_fine)
                return false;
        }
        return true;
    default: /* dear, and done at the end in any case */
        return number % 4 != 0 ||
               (shadow_check_heap(s) && shadow_check_stats(s) && shadow_verify(s));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < OPTION_BYTES)
        return 0;
    unsigned choice = data[0];
    unsigned calls = 0;
    neve_large_allocator scarce = {sizeof scarce, scarce_malloc, scarce_realloc,
                                   scarce_free,   &calls,        NULL};
    neve_heap_options options = {.struct_size = sizeof options};
    options.large = (choice & 1u) != 0 ? &scarce : NULL;
    options.object_starts = (choice & 2u) != 0 ? 1u << 1 | 1u << 2 : 0;
    options.retain_bytes = (choice & 4u) != 0 ? 1 : 0;

    neve_heap *heap = NULL;
    shadow s;
    require(neve_heap_create(&options, &heap) == NEVE_OK, "no heap");
    require(shadow_create(&s, heap, SLOTS, 1), "no memory");
    s.may_refuse = options.large != NULL;
    if ((choice & 8u) != 0) /* in builds that can: one early allocation fails as well */
        s.may_refuse |= neve_heap_fail_alloc_at(heap, 1 + (choice >> 4)) == NEVE_OK;

    for (size_t at = OPTION_BYTES; at + STEP_BYTES <= size; at += STEP_BYTES) {
        unsigned number = data[at + 2] | (unsigned)data[at + 3] << 8;
        require(step(&s, data[at], data[at + 1] % SLOTS, number), s.error);
    }
    require(shadow_verify(&s) && shadow_check_heap(&s) && shadow_check_stats(&s), s.error);
    if ((choice & 128u) == 0) /* otherwise destroying the heap gives the blocks back */
        require(shadow_free_all(&s) && shadow_check_heap(&s) && shadow_check_stats(&s), s.error);
    shadow_destroy(&s);
    neve_heap_destroy(heap);
    return 0;
}

#ifdef FUZZ_HEAP_MAIN
int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        static uint8_t data[1 << 20];
        FILE *file = fopen(argv[i], "rb");
        require(file != NULL, argv[i]);
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    return 0;
}
#endif
