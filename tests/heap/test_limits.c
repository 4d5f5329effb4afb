/* SPDX-License-Identifier: MIT */
/*
 * The heap when memory is short: under a limit of address space, and with each
 * single allocation made to fail in turn.
 *
 * Overcommit cannot be switched off by a test. What is different then is that
 * the system counts all writable private mappings, touched or not, against the
 * limit; RLIMIT_AS counts them too, so the tests below also cover a heap whose
 * tables would be reserved but hardly used.
 */
#include "heap_support.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define MIB ((size_t)1 << 20)

/* From here on the process may map `more` bytes. */
static bool limit_address_space(size_t more)
{
    struct rlimit limit = {.rlim_cur = address_space_bytes() + more, .rlim_max = RLIM_INFINITY};
    return setrlimit(RLIMIT_AS, &limit) == 0;
}

static const char *why_not_limited(void)
{
    return IS_SANITIZED || is_emulated() ? "sanitizers and emulators map memory of their own"
                                         : NULL;
}

static void a_heap_takes_little_address_space(void **state)
{
    (void)state;
    if (why_not_limited() != NULL)
        SKIP_BECAUSE(why_not_limited());
    size_t before = address_space_bytes();
    neve_heap *heap = heap_create_default();
    assert_non_null(neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 100));
    assert_non_null(neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 1000));
    size_t taken = address_space_bytes() - before;
    print_message("# a heap of two blocks takes %zu kB of address space\n", taken / 1024);
    assert_true(taken <= 8 * MIB);
    neve_heap_destroy(heap);
}

typedef struct fill {
    unsigned char **blocks;
    size_t room, count;
    size_t small_only;
} fill;

/* Allocates patterned blocks until the heap refuses; the bytes in them. */
static size_t fill_up(neve_heap *heap, fill *f)
{
    uint64_t random = 4;
    size_t bytes = 0;
    for (f->count = 0; f->count < f->room; f->count++) {
        size_t size = f->small_only ? 16 + random_below(&random, 497) : random_size(&random) + 1;
        unsigned char *block = neve_heap_alloc(heap, (neve_domain)(f->count % 3), size);
        if (block == NULL)
            break;
        pattern_fill(block, neve_heap_usable_size(heap, block), f->count);
        f->blocks[f->count] = block;
        bytes += size;
    }
    return bytes;
}

static const char *empty_out(neve_heap *heap, fill *f)
{
    for (size_t i = 0; i < f->count; i++) {
        CHECK(pattern_holds(f->blocks[i], neve_heap_usable_size(heap, f->blocks[i]), i),
              "block %zu of %zu is damaged", i, f->count);
        neve_heap_free(heap, f->blocks[i]);
    }
    return NULL;
}

static const char *live_at_the_limit(void *arg)
{
    fill f = {.room = 2000000, .small_only = *(const size_t *)arg};
    f.blocks = calloc(f.room, sizeof *f.blocks);
    neve_heap *heap = NULL;
    CHECK(f.blocks != NULL, "no memory for the test");
    CHECK(neve_heap_create(NULL, &heap) == NEVE_OK, "no heap");
    CHECK(limit_address_space(64 * MIB), "setrlimit failed");

    size_t first = fill_up(heap, &f);
    CHECK(f.count < f.room, "the limit was never reached");
    CHECK(first >= 40 * MIB, "only %zu kB of 64 MB could be used", first / 1024);
    for (int d = 0; d < NEVE_DOMAINS; d++) {
        CHECK(neve_heap_alloc(heap, (neve_domain)d, 128 * MIB) == NULL, "128 MB for nothing");
        CHECK(neve_heap_calloc(heap, (neve_domain)d, MIB, 128) == NULL, "128 MB for nothing");
    }
    unsigned char *last = f.blocks[f.count - 1];
    CHECK(neve_heap_realloc(heap, (neve_domain)((f.count - 1) % 3), last, 128 * MIB) == NULL,
          "128 MB for nothing");
    CHECK_HEAP(heap);
    const char *wrong = empty_out(heap, &f);
    if (wrong != NULL)
        return wrong;
    CHECK_HEAP(heap);

    neve_heap_trim(heap);
    size_t second = fill_up(heap, &f);
    CHECK(second + 8 * MIB >= first, "first %zu kB, then only %zu kB could be used", first / 1024,
          second / 1024);
    CHECK_HEAP(heap);
    CHECK(neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 128 * MIB) == NULL, "128 MB for nothing");
    /* More becomes allowed: the heap does not stay stuck. */
    CHECK(limit_address_space(64 * MIB), "setrlimit failed");
    for (int i = 0; i < 100000; i++)
        CHECK(neve_heap_alloc(heap, NEVE_DOMAIN_OBJECT, 64) != NULL, "still refused");
    CHECK_HEAP(heap);
    neve_heap_destroy(heap);
    return NULL;
}

static void small_blocks_at_the_limit(void **state)
{
    (void)state;
    size_t small_only = 1;
    if (why_not_limited() != NULL)
        SKIP_BECAUSE(why_not_limited());
    assert_child(live_at_the_limit, &small_only);
}

static void all_blocks_at_the_limit(void **state)
{
    (void)state;
    size_t small_only = 0;
    if (why_not_limited() != NULL)
        SKIP_BECAUSE(why_not_limited());
    assert_child(live_at_the_limit, &small_only);
}

/* Creates a heap when next to nothing may be mapped any more. */
static const char *start_at_the_limit(void *arg)
{
    static unsigned char *blocks[3000];
    CHECK(limit_address_space(*(const size_t *)arg), "setrlimit failed");
    neve_heap *heap = NULL;
    neve_status status = neve_heap_create(NULL, &heap);
    if (status != NEVE_OK) {
        CHECK(status == NEVE_ENOMEM, "status %d", (int)status);
        CHECK(heap == NULL, "an error, and a heap");
        return NULL;
    }
    size_t count = 0;
    for (size_t i = 0; i < 3000; i++) {
        unsigned char *block = neve_heap_alloc(heap, (neve_domain)(i % 3), 1 + i % 700);
        if (block == NULL)
            continue;
        pattern_fill(block, 1 + i % 700, i);
        blocks[i] = block;
        count++;
    }
    CHECK_HEAP(heap);
    neve_heap_stats stats;
    neve_heap_get_stats(heap, &stats);
    CHECK(stats_blocks(&stats) == count, "%zu blocks, statistics say %zu", count,
          stats_blocks(&stats));
    for (size_t i = 0; i < 3000; i++) {
        if (blocks[i] == NULL)
            continue;
        CHECK(pattern_holds(blocks[i], 1 + i % 700, i), "block %zu is damaged", i);
        neve_heap_free(heap, blocks[i]);
    }
    neve_heap_trim(heap);
    CHECK_HEAP(heap);
    neve_heap_destroy(heap);
    return NULL;
}

static void creation_at_the_limit(void **state)
{
    (void)state;
    if (why_not_limited() != NULL)
        SKIP_BECAUSE(why_not_limited());
    for (size_t more = 0; more <= 6 * MIB; more += 96 * 1024)
        assert_child(start_at_the_limit, &more);
}

/* ---- each allocation in turn ---- */

/* A small program that retries what was refused; how often it was refused. */
static uint64_t run_program(neve_heap *heap, uint64_t seed)
{
    shadow s;
    assert_true(shadow_create(&s, heap, 24, seed));
    s.may_refuse = true;
    for (int step = 0; step < 150; step++)
        assert_shadow(&s, shadow_step(&s));
    for (size_t i = 0; i < s.slots; i++) {
        if (s.blocks[i].at == NULL) {
            uint64_t refused = s.refused;
            assert_shadow(&s, shadow_alloc(&s, i, (neve_domain)(i % NEVE_DOMAINS), 40 * i));
            if (s.refused != refused) /* only that one fails: the next try succeeds */
                assert_shadow(&s, shadow_alloc(&s, i, (neve_domain)(i % NEVE_DOMAINS), 40 * i));
        }
        assert_non_null(s.blocks[i].at);
    }
    assert_shadow(&s, shadow_verify(&s));
    assert_shadow(&s, shadow_check_heap(&s));
    assert_shadow(&s, shadow_check_stats(&s));
    assert_shadow(&s, shadow_free_all(&s));
    assert_shadow(&s, shadow_check_heap(&s));
    neve_heap_stats stats = heap_stats(heap);
    assert_int_equal(stats_blocks(&stats), 0);
    shadow_destroy(&s);
    return s.refused;
}

static bool can_fail_allocations(void)
{
    neve_heap *heap = heap_create_default();
    neve_status status = neve_heap_fail_alloc_at(heap, 0);
    neve_heap_destroy(heap);
    assert_true(status == NEVE_OK || status == NEVE_EUNSUPPORTED);
    return status == NEVE_OK;
}

static void every_allocation_fails_once(void **state)
{
    (void)state;
    if (!can_fail_allocations())
        SKIP_BECAUSE("needs a build with NEVE_DEBUG");
    uint64_t failures = 0, last = 0;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        for (uint64_t n = 1; n <= 400; n++) { /* more than the program makes */
            neve_heap *heap = heap_create_default();
            assert_ok(neve_heap_fail_alloc_at(heap, n));
            uint64_t refused = run_program(heap, seed);
            if (refused > 1)
                fail_msg("n = %llu: %llu allocations failed", (unsigned long long)n,
                         (unsigned long long)refused);
            failures += refused;
            last = refused != 0 && n > last ? n : last;
            neve_heap_destroy(heap);
        }
    }
    print_message("# %llu allocations failed, the last at n = %llu\n", (unsigned long long)failures,
                  (unsigned long long)last);
    assert_true(failures > 100);
    assert_true(last < 400);
}

static void the_number_counts_from_now(void **state)
{
    (void)state;
    if (!can_fail_allocations())
        SKIP_BECAUSE("needs a build with NEVE_DEBUG");
    neve_heap *heap = heap_create_default();
    void *warm = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 64);
    assert_non_null(warm);
    assert_ok(neve_heap_fail_alloc_at(heap, 3));
    void *a = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 64);
    void *b = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 64);
    assert_true(a != NULL && b != NULL);
    assert_null(neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 64));
    void *c = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 64);
    assert_non_null(c);
    assert_ok(neve_heap_fail_alloc_at(heap, 1));
    assert_ok(neve_heap_fail_alloc_at(heap, 0)); /* switched off again */
    void *d = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 64);
    assert_non_null(d);
    neve_heap_destroy(heap);
}

static const char *run_from_environment(void *arg)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", *(const size_t *)arg);
    setenv("NEVE_FAIL_ALLOC_AT", text, 1);
    neve_heap *heap = NULL;
    neve_status status = neve_heap_create(NULL, &heap);
    if (status != NEVE_OK) {
        CHECK(status == NEVE_ENOMEM && heap == NULL, "status %d", (int)status);
        return NULL;
    }
    size_t refused = 0;
    for (size_t i = 0; i < 40; i++)
        refused += neve_heap_alloc(heap, (neve_domain)(i % 3), 30 * i) == NULL;
    CHECK(refused == 1, "%zu allocations failed", refused);
    CHECK_HEAP(heap);
    neve_heap_destroy(heap);
    return NULL;
}

static void the_environment_sets_it_at_creation(void **state)
{
    (void)state;
    if (!can_fail_allocations())
        SKIP_BECAUSE("needs a build with NEVE_DEBUG");
    for (size_t n = 1; n <= 30; n++)
        assert_child(run_from_environment, &n);
}

/* ---- a system that takes no advice ---- */

/* From here on madvise fails: as on old kernels for some of its uses, for locked pages, and where
 * a sandbox forbids it. */
static bool refuse_advice(int with)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)with),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

enum { MUCH = 40 << 20, PIECE = 256 };

/* A program reads errno after calls of its own, between which it may allocate and free. */
static const char *do_without_advice(void *arg)
{
    enum { COUNT = MUCH / PIECE };
    static unsigned char *blocks[COUNT];
    neve_heap *heap = arg;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            errno = 0;
            blocks[i] = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, PIECE);
            CHECK(blocks[i] != NULL, "no memory");
            CHECK(errno == 0, "an allocation that succeeds sets errno to %d", errno);
            memset(blocks[i], round, PIECE);
        }
        CHECK_HEAP(heap);
        for (size_t i = 0; i < COUNT; i++) {
            CHECK(blocks[i][0] == round && blocks[i][PIECE - 1] == round, "block %zu is damaged",
                  i);
            errno = 0;
            neve_heap_free(heap, blocks[i]);
            CHECK(errno == 0, "free sets errno to %d", errno);
        }
        CHECK_HEAP(heap);
        if (round == 1)
            neve_heap_after_fork_child(heap);
        neve_heap_trim(heap);
        CHECK_HEAP(heap);
    }
    return NULL;
}

static const char *refused(void *arg)
{
    neve_heap *heap = heap_create_default();
    /* What was there before is freed under the filter. */
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_LEAF, PIECE);
    if (!refuse_advice(*(const int *)arg))
        return NULL; /* no filters here */
    neve_heap_free(heap, block);
    const char *wrong = do_without_advice(heap);
    neve_heap_destroy(heap);
    return wrong;
}

static void advice_may_be_refused(void **state)
{
    (void)state;
    static const int why[] = {EINVAL, EPERM, ENOMEM, EFAULT};
    if (is_emulated() || IS_SANITIZED)
        SKIP_BECAUSE("emulators and sanitizers advise the system themselves");
    for (size_t i = 0; i < sizeof why / sizeof why[0]; i++)
        assert_child(refused, (void *)&why[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_heap_takes_little_address_space),
        cmocka_unit_test(small_blocks_at_the_limit),
        cmocka_unit_test(all_blocks_at_the_limit),
        cmocka_unit_test(creation_at_the_limit),
        cmocka_unit_test(every_allocation_fails_once),
        cmocka_unit_test(the_number_counts_from_now),
        cmocka_unit_test(the_environment_sets_it_at_creation),
        cmocka_unit_test(advice_may_be_refused),
    };
    return cmocka_run_group_tests_name("heap limits", tests, NULL, NULL);
}
