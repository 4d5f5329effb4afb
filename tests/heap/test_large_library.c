/* SPDX-License-Identifier: MIT */
/*
 * Large allocators by name: the libraries that are installed serve a heap as malloc does,
 * through failures and forks, and leave the program's malloc alone.
 *
 * The program starts itself again with room for jemalloc's thread-local storage,
 * which the loader of a running process does not have otherwise.
 */
#include <dlfcn.h>

#include "heap_support.h"

#define TUNABLES "GLIBC_TUNABLES"
#define ROOM "glibc.rtld.optional_static_tls=8192"
#define NO_ROOM "glibc.rtld.optional_static_tls=0"

/* tcmalloc forgets 8 bytes of the program's malloc when it is loaded; the leak
 * sanitizer calls this. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libtcmalloc";
}

static const struct {
    const char *name, *file;
} libraries[] = {
    {"system", "libc.so.6"},
    {"jemalloc", "libjemalloc.so.2"},
    {"mimalloc", "libmimalloc.so.2"},
    {"tcmalloc", "libtcmalloc_minimal.so.4"},
};
enum { LIBRARIES = sizeof libraries / sizeof libraries[0] };

/* Passes on to the allocator that was found, counts, and refuses on demand. */
typedef struct relay {
    neve_large_allocator to;
    size_t live;
    uint64_t refuse_at; /* this call of malloc or realloc fails, and only that; 0: none */
    bool is_misaligned, is_short, lies;
} relay;

static bool refuses(relay *r)
{
    return r->refuse_at != 0 && --r->refuse_at == 0;
}

static void *looked_at(relay *r, void *block, size_t size)
{
    r->is_misaligned |= (uintptr_t)block % 16 != 0;
    if (block != NULL && r->to.usable_size != NULL)
        r->is_short |= r->to.usable_size(r->to.ctx, block) < size;
    return block;
}

static void *relay_malloc(void *ctx, size_t size)
{
    relay *r = ctx;
    void *block = refuses(r) ? NULL : looked_at(r, r->to.malloc(r->to.ctx, size), size);
    r->live += block != NULL;
    return block;
}

static void *relay_realloc(void *ctx, void *block, size_t size)
{
    relay *r = ctx;
    return refuses(r) ? NULL : looked_at(r, r->to.realloc(r->to.ctx, block, size), size);
}

static void relay_free(void *ctx, void *block)
{
    relay *r = ctx;
    r->live--;
    r->to.free(r->to.ctx, block);
}

static size_t relay_usable_size(void *ctx, const void *block)
{
    const relay *r = ctx;
    return r->lies ? 1 : r->to.usable_size(r->to.ctx, block);
}

static neve_heap *heap_create_over(relay *r, const neve_large_allocator *to)
{
    *r = (relay){.to = *to};
    neve_large_allocator large = {sizeof large, relay_malloc, relay_realloc, relay_free, r, NULL};
    if (to->usable_size != NULL)
        large.usable_size = relay_usable_size;
    neve_heap_options options = {.struct_size = sizeof options, .large = &large};
    neve_heap *heap = NULL;
    assert_ok(neve_heap_create(&options, &heap));
    return heap;
}

/* Calls `body` for each library; of those that are not there it says so. */
static void for_each_library(const char *test, void (*body)(const neve_large_allocator *found))
{
    for (size_t i = 0; i < LIBRARIES; i++) {
        neve_large_allocator found = {.struct_size = sizeof found};
        char message[200] = "not set";
        void *program_malloc = dlsym(RTLD_DEFAULT, "malloc");
        neve_status status =
            neve_large_allocator_find(libraries[i].name, &found, message, sizeof message);
        if (status != NEVE_OK) {
            assert_int_equal(status, NEVE_EUNSUPPORTED);
            assert_true(message[0] != '\0');
            print_message("# skipped %s with %s: %s\n", test, libraries[i].name, message);
            continue;
        }
        assert_string_equal(message, "");
        assert_ptr_equal(dlsym(RTLD_DEFAULT, "malloc"), program_malloc);
        void *loaded = dlopen(libraries[i].file, RTLD_NOW | RTLD_NOLOAD);
        assert_non_null(loaded);
        dlclose(loaded);
        body(&found);
    }
}

static void work(const neve_large_allocator *found)
{
    relay r;
    shadow s;
    neve_heap *heap = heap_create_over(&r, found);
    assert_true(shadow_create(&s, heap, 400, 11));
    for (size_t step = 0; step < affordable(10000); step++)
        assert_shadow(&s, shadow_step(&s));
    assert_shadow(&s, shadow_verify(&s));
    assert_shadow(&s, shadow_check_heap(&s));
    assert_shadow(&s, shadow_check_stats(&s));
    assert_true(r.live != 0);
    assert_int_equal(heap_stats(heap).large_blocks, r.live);
    assert_shadow(&s, shadow_free_all(&s));
    assert_int_equal(r.live, 0);
    assert_false(r.is_misaligned);
    assert_false(r.is_short);
    shadow_destroy(&s);
    neve_heap_destroy(heap);
}

static void each_serves_a_heap(void **state)
{
    (void)state;
    for_each_library(__func__, work);
}

static void work_that_is_refused(const neve_large_allocator *found)
{
    for (uint64_t n = 1; n <= 20; n++) {
        relay r;
        shadow s;
        neve_heap *heap = heap_create_over(&r, found);
        assert_true(shadow_create(&s, heap, 40, n));
        s.may_refuse = true;
        for (int step = 0; step < 500; step++) {
            if (step == 50)
                r.refuse_at = n;
            if (step == 300) /* builds without checks cannot */
                (void)neve_heap_fail_alloc_at(heap, n);
            assert_shadow(&s, shadow_step(&s));
        }
        (void)neve_heap_fail_alloc_at(heap, 0);
        assert_int_equal(r.refuse_at, 0);
        assert_shadow(&s, shadow_verify(&s));
        assert_shadow(&s, shadow_check_heap(&s));
        assert_shadow(&s, shadow_free_all(&s));
        assert_int_equal(r.live, 0);
        shadow_destroy(&s);
        neve_heap_destroy(heap);
    }
}

static void refusals_lose_nothing(void **state)
{
    (void)state;
    for_each_library(__func__, work_that_is_refused);
}

/* What parent and child of a fork share. */
enum { BLOCKS = 300 };
typedef struct inheritance {
    neve_heap *heap;
    unsigned char *blocks[BLOCKS];
} inheritance;

static size_t size_of(size_t i)
{
    return 513 + 37 * i;
}

static const char *frees_and_makes(void *arg)
{
    inheritance *all = arg;
    neve_heap_after_fork_child(all->heap);
    for (size_t i = 0; i < BLOCKS; i++)
        CHECK(pattern_holds(all->blocks[i], size_of(i), i), "block %zu changed by the fork", i);
    for (size_t i = 0; i < BLOCKS; i += 2) {
        neve_heap_free(all->heap, all->blocks[i]);
        all->blocks[i] = neve_heap_alloc(all->heap, NEVE_DOMAIN_RAW, size_of(i));
        CHECK(all->blocks[i] != NULL, "no memory");
        pattern_fill(all->blocks[i], size_of(i), i + 1);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        CHECK(pattern_holds(all->blocks[i], size_of(i), i % 2 == 0 ? i + 1 : i), "block %zu", i);
    CHECK_HEAP(all->heap);
    neve_heap_stats stats = heap_stats(all->heap);
    CHECK(stats.large_blocks == BLOCKS, "%zu large blocks", stats.large_blocks);
    neve_heap_destroy(all->heap);
    return NULL;
}

static void fork_with(const neve_large_allocator *found)
{
    relay r;
    inheritance all = {.heap = heap_create_over(&r, found)};
    for (size_t i = 0; i < BLOCKS; i++) {
        all.blocks[i] = neve_heap_alloc(all.heap, NEVE_DOMAIN_RAW, size_of(i));
        assert_non_null(all.blocks[i]);
        pattern_fill(all.blocks[i], size_of(i), i);
    }
    neve_heap_before_fork(all.heap);
    assert_child(frees_and_makes, &all);
    for (size_t i = 0; i < BLOCKS; i++) {
        assert_true(pattern_holds(all.blocks[i], size_of(i), i));
        neve_heap_free(all.heap, all.blocks[i]);
    }
    assert_heap_sound(all.heap);
    assert_int_equal(r.live, 0);
    neve_heap_destroy(all.heap);
}

static void parent_and_child_of_a_fork_go_on(void **state)
{
    (void)state;
    for_each_library(__func__, fork_with);
}

static size_t generous(void *ctx, const void *block)
{
    (void)ctx;
    (void)block;
    return 5000;
}

static void usable_size_is_the_allocators(void **state)
{
    (void)state;
    neve_large_allocator found = {.struct_size = sizeof found};
    relay r;
    assert_ok(neve_large_allocator_find("system", &found, NULL, 0));
    assert_null(found.usable_size);
    found.usable_size = generous;
    neve_heap *heap = heap_create_over(&r, &found);
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 1000);
    assert_int_equal(neve_heap_usable_size(heap, block), 5000);
    assert_int_equal(heap_stats(heap).large_bytes, 1000); /* as requested */
    assert_heap_sound(heap);
    r.lies = true;
    char message[160];
    assert_int_equal(neve_heap_check(heap, message, sizeof message), NEVE_ECORRUPT);
    assert_non_null(strstr(message, "less than was asked for"));
    neve_heap_free(heap, block);
    neve_heap_destroy(heap);
}

static void unknown_names_are_refused(void **state)
{
    (void)state;
    neve_large_allocator found = {.struct_size = sizeof found};
    char message[8] = "before";
    assert_int_equal(neve_large_allocator_find("snmalloc", &found, message, sizeof message),
                     NEVE_EINVAL);
    assert_string_equal(message, "");
    assert_int_equal(neve_large_allocator_find("", &found, NULL, 0), NEVE_EINVAL);
    assert_int_equal(neve_large_allocator_find(NULL, &found, NULL, 0), NEVE_EINVAL);
    assert_int_equal(neve_large_allocator_find("system", NULL, NULL, 0), NEVE_EINVAL);
    assert_null(found.malloc);
}

static void what_the_caller_does_not_know_is_not_written(void **state)
{
    (void)state;
    char message[120];
    neve_large_allocator found = {.struct_size = 0}, before;
    assert_int_equal(neve_large_allocator_find("system", &found, message, sizeof message),
                     NEVE_EINVAL);
    assert_non_null(strstr(message, "set it to sizeof(neve_large_allocator)"));
    found.struct_size = sizeof found + 1;
    assert_int_equal(neve_large_allocator_find("system", &found, message, sizeof message),
                     NEVE_EINVAL);
    assert_non_null(strstr(message, "older than the headers"));
    /* Headers without usable_size: what lies behind is somebody else's. */
    memset(&found, 0xEE, sizeof found);
    before = found;
    found.struct_size = offsetof(neve_large_allocator, usable_size);
    assert_ok(neve_large_allocator_find("system", &found, NULL, 0));
    assert_int_equal(found.struct_size, offsetof(neve_large_allocator, usable_size));
    assert_true(found.malloc != before.malloc && found.ctx == NULL);
    assert_memory_equal(&found.usable_size, &before.usable_size, sizeof before.usable_size);
    neve_heap_options options = {.struct_size = sizeof options, .large = &found};
    neve_heap *heap;
    assert_ok(neve_heap_create(&options, &heap));
    void *block = neve_heap_alloc(heap, NEVE_DOMAIN_RAW, 1000);
    assert_int_equal(neve_heap_usable_size(heap, block), 1000);
    neve_heap_destroy(heap);
}

/* In a process without room for jemalloc: what it is told, and that it can go on. */
static int without_room(void)
{
    neve_large_allocator found = {.struct_size = sizeof found};
    char message[300] = "", clipped[5] = "";
    if (neve_large_allocator_find("jemalloc", &found, message, sizeof message) !=
            NEVE_EUNSUPPORTED ||
        neve_large_allocator_find("jemalloc", &found, clipped, sizeof clipped) != NEVE_EUNSUPPORTED)
        return 1;
    if (found.malloc != NULL || strlen(clipped) != sizeof clipped - 1)
        return 2;
    /* "cannot open shared object file" where it is not installed */
    return strstr(message, "libjemalloc.so.2") != NULL ? 0 : 3;
}

static void what_cannot_be_loaded_is_named(void **state)
{
    (void)state;
    if (is_emulated())
        skip(); /* programs are started in a way of its own */
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char program[] = "/proc/self/exe", option[] = "--without-room";
        char *const arguments[] = {program, option, NULL};
        setenv(TUNABLES, NO_ROOM, 1);
        execv(program, arguments);
        _exit(127);
    }
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    assert_int_equal(status, 0);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--without-room") == 0)
        return without_room();
    const char *tunables = getenv(TUNABLES);
    if (!is_emulated() && (tunables == NULL || strcmp(tunables, ROOM) != 0)) {
        setenv(TUNABLES, ROOM, 1);
        execv("/proc/self/exe", argv); /* without /proc, as under valgrind, jemalloc is skipped */
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_serves_a_heap),
        cmocka_unit_test(refusals_lose_nothing),
        cmocka_unit_test(parent_and_child_of_a_fork_go_on),
        cmocka_unit_test(usable_size_is_the_allocators),
        cmocka_unit_test(unknown_names_are_refused),
        cmocka_unit_test(what_the_caller_does_not_know_is_not_written),
        cmocka_unit_test(what_cannot_be_loaded_is_named),
    };
    return cmocka_run_group_tests_name("heap large libraries", tests, NULL, NULL);
}
