/* SPDX-License-Identifier: MIT */
/*
 * A look at a child of this process, whose heap holds objects of two types of the test's
 * own: each kind of change is found, to the object, whichever memory it is compared with.
 * And damage, which is what a running process looks like at a bad moment, does no harm.
 */
#include "heap/heap_support.h"

#include <neve/cow.h>

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "heap/heap_internal.h"

typedef struct kind {
    const char *name;
    uint64_t flags;
} kind;
static const kind plain = {"plain", 0}, headed = {"headed \"\xe9\"", 1};

typedef struct object {
    uint64_t count;
    const kind *type;
    uint64_t body[3];
    uint64_t cache;
} object;

enum { OBJECTS = 3000, BUFFERS = 1000, HEAD_BYTES = 16 };

static struct {
    neve_heap *heap;
    object *plains[OBJECTS];
    object *headeds[OBJECTS];
    unsigned char *buffers[BUFFERS];
} world;

static const neve_cow_model model = {
    .count_offset = offsetof(object, count),
    .count_bytes = sizeof(uint64_t),
    .immortal_mask = (uint64_t)1 << 63,
    .type_offset = offsetof(object, type),
    .type_name_offset = offsetof(kind, name),
    .type_flags_offset = offsetof(kind, flags),
    .heads = {{1, HEAD_BYTES}},
    .caches = {{&plain, offsetof(object, cache), sizeof(uint64_t)}},
};

static object *make(const kind *type)
{
    size_t head = type->flags != 0 ? HEAD_BYTES : 0;
    char *block = neve_heap_calloc(world.heap, NEVE_DOMAIN_OBJECT, 1, head + sizeof(object));
    assert_non_null(block);
    object *made = (object *)(void *)(block + head);
    made->count = 1;
    made->type = type;
    return made;
}

static int begin(void **state)
{
    (void)state;
    world.heap = heap_create_default();
    for (int i = 0; i < OBJECTS; i++) {
        world.plains[i] = make(&plain);
        world.headeds[i] = make(&headed);
    }
    for (int i = 0; i < BUFFERS; i++)
        world.buffers[i] = neve_heap_calloc(world.heap, NEVE_DOMAIN_RAW, 1, 100);
    return 0;
}

static int end(void **state)
{
    (void)state;
    neve_cow_drop_reference();
    neve_cow_withdraw(world.heap);
    neve_heap_destroy(world.heap);
    return 0;
}

/* A child that has done `act`, and waits to be ended. */
static pid_t child_after(void (*act)(void))
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* If an assertion fails, it must not stay behind. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        act();
        if (write(ready[1], "x", 1) == 1)
            for (;;)
                pause();
        _exit(1);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    return child;
}

static void end_child(pid_t child)
{
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static neve_cow_report *look(pid_t child)
{
    neve_cow_report *report;
    char problem[256];
    neve_status status = neve_cow_look((int)child, 0, &report, problem);
    if (status != NEVE_OK)
        fail_msg("%s: %s", neve_status_name(status), problem);
    return report;
}

static const neve_cow_type *find(const neve_cow_report *report, const char *name)
{
    static const neve_cow_type none;
    for (size_t i = 0; i < report->type_count; i++)
        if (strcmp(report->types[i].name, name) == 0)
            return &report->types[i];
    return &none;
}

static const neve_cow_page *page_of(const neve_cow_report *report, const void *address)
{
    for (size_t i = 0; i < report->page_count; i++)
        if ((uintptr_t)address - report->pages[i].address < report->page_bytes)
            return &report->pages[i];
    fail_msg("%p is on no page", address);
    return NULL;
}

static void act_in_all_ways(void)
{
    neve_heap_after_fork_child(world.heap);
    for (int i = 0; i < 500; i++) /* first: what is freed below could serve them */
        make(&plain);
    for (int i = 0; i < 1000; i++)
        world.plains[i]->count++;
    for (int i = 1000; i < 1500; i++)
        world.plains[i]->body[1] = 0x0102030405060708;
    for (int i = 1500; i < 1600; i++)
        world.plains[i]->cache = 1;
    for (int i = 2000; i < 2300; i++) { /* up and down again */
        *(volatile uint64_t *)&world.plains[i]->count = 2;
        *(volatile uint64_t *)&world.plains[i]->count = 1;
    }
    for (int i = 0; i < 200; i++)
        *((char *)world.headeds[i] - HEAD_BYTES) = 1;
    for (int i = 1000; i < 1100; i++) {
        world.headeds[i]->count = 0;
        neve_heap_free(world.heap, (char *)world.headeds[i] - HEAD_BYTES);
    }
    for (int i = 0; i < 50; i++)
        world.buffers[i][99] = 1;
}

static void assert_all_ways(const neve_cow_report *report)
{
    assert_true(report->has_heap);
    const neve_cow_type *type = find(report, "plain");
    assert_int_equal(type->changed, 1600);
    assert_int_equal(type->count_only, 1000);
    assert_int_equal(type->allocated, 500);
    assert_int_equal(type->freed, 0);
    assert_int_equal(type->bytes[NEVE_COW_CAUSE_COUNT], 1000);
    assert_int_equal(type->bytes[NEVE_COW_CAUSE_BODY], 500 * 8);
    assert_int_equal(type->bytes[NEVE_COW_CAUSE_CACHE], 100);
    /* Of blocks: sizes up to 64 bytes share blocks of 64 at first. */
    assert_in_range(type->bytes[NEVE_COW_CAUSE_NEW], 500 * sizeof(object), 500 * 64);
    assert_in_range(type->pages_same, 2, 6); /* of 300 objects of 48 bytes */
    type = find(report, headed.name);
    assert_int_equal(type->changed, 200);
    assert_int_equal(type->count_only, 0);
    assert_int_equal(type->bytes[NEVE_COW_CAUSE_HEAD], 200);
    assert_int_equal(type->freed, 100);
    assert_true(type->bytes[NEVE_COW_CAUSE_FREED] >= 100); /* the counts, at least */
    assert_int_equal(type->bytes[NEVE_COW_CAUSE_BODY], 0);
    type = find(report, "(buffer)");
    assert_int_equal(type->changed, 50);
    assert_int_equal(type->bytes[NEVE_COW_CAUSE_BODY], 50);

    const neve_cow_page *page = page_of(report, world.plains[500]);
    assert_int_equal(page->state, NEVE_COW_STATE_DIRTY);
    assert_int_equal(page->area, NEVE_COW_AREA_OBJECTS);
    assert_int_equal(page->cause, NEVE_COW_CAUSE_COUNT);
    assert_string_equal(report->types[page->type - 1].name, "plain");
    assert_int_equal(page_of(report, world.plains[1250])->cause, NEVE_COW_CAUSE_BODY);
    assert_int_equal(page_of(report, world.plains[2150])->cause, NEVE_COW_CAUSE_SAME);
    assert_int_equal(page_of(report, world.plains[2700])->state, NEVE_COW_STATE_SHARED);
    assert_int_equal(page_of(report, world.buffers[20])->area, NEVE_COW_AREA_BUFFERS);
    assert_int_equal(page_of(report, world.heap)->area, NEVE_COW_AREA_TABLES);
}

static void every_change_is_found(void **state)
{
    (void)state;
    assert_int_equal(neve_cow_publish(world.heap, &model), NEVE_OK);
    for (int with_reference = 0; with_reference <= 1; with_reference++) {
        if (with_reference)
            assert_int_equal(neve_cow_keep_reference(), NEVE_OK);
        pid_t child = child_after(act_in_all_ways);
        neve_cow_report *report = look(child);
        assert_int_equal(report->basis,
                         with_reference ? NEVE_COW_BASIS_REFERENCE : NEVE_COW_BASIS_PARENT);
        assert_int_equal(report->basis_pid, with_reference ? neve_cow_reference() : getpid());
        assert_all_ways(report);
        neve_cow_report_free(report);
        end_child(child);
    }
}

static void do_nothing(void) {}

static void nothing_written_nothing_found(void **state)
{
    (void)state;
    assert_int_equal(neve_cow_publish(world.heap, &model), NEVE_OK);
    pid_t child = child_after(do_nothing);
    neve_cow_report *report = look(child);
    assert_true(report->has_heap);
    assert_int_equal(find(report, "plain")->changed + find(report, "plain")->pages, 0);
    assert_int_equal(report->areas[NEVE_COW_AREA_OBJECTS].pages[NEVE_COW_STATE_DIRTY], 0);
    assert_true(report->areas[NEVE_COW_AREA_OBJECTS].pages[NEVE_COW_STATE_SHARED] > 60);
    neve_cow_report_free(report);
    end_child(child);
}

static void without_a_model_blocks_have_no_type(void **state)
{
    (void)state;
    assert_int_equal(neve_cow_publish(world.heap, NULL), NEVE_OK);
    pid_t child = child_after(act_in_all_ways);
    neve_cow_report *report = look(child);
    const neve_cow_type *type = find(report, "(block of no known type)");
    assert_int_equal(type->changed, 1800);
    assert_int_equal(type->freed, 100);
    assert_int_equal(find(report, "plain")->changed, 0);
    neve_cow_report_free(report);
    end_child(child);
}

static void heaps_are_published_and_withdrawn(void **state)
{
    (void)state;
    pid_t child = child_after(do_nothing);
    neve_cow_report *report = look(child);
    assert_false(report->has_heap);
    neve_cow_report_free(report);
    end_child(child);

    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(neve_cow_publish(world.heap, &model), NEVE_OK);
    assert_int_equal(neve_cow_publish(world.heap, &model), NEVE_ENOMEM);
    for (unsigned i = 0; i < 8; i++)
        neve_cow_withdraw(world.heap);
    neve_cow_withdraw(world.heap);
    neve_cow_withdraw(NULL);
    assert_int_equal(neve_cow_publish(NULL, &model), NEVE_EINVAL);
    assert_int_equal(neve_cow_publish(world.heap, &model), NEVE_OK);
}

/* Descriptors, free lists and types become nonsense. */
static void damage(void)
{
    uint64_t random = 5;
    for (int i = 0; i < OBJECTS; i++) {
        nv_pool *pool = nv_pool_of(world.plains[i]);
        pool->free = (void *)(uintptr_t)(random_below(&random, 2) ? random : (uintptr_t)pool);
        pool->carved = (uint16_t)random_below(&random, 65536);
        pool->size_class = (uint8_t)random_below(&random, 256);
        pool->held = (uint64_t *)(uintptr_t)random;
        world.plains[i]->type =
            (const kind *)(uintptr_t)(random_below(&random, 2) ? random
                                                               : (uintptr_t)world.plains[i] + 1);
    }
    world.heap->slabs->next = world.heap->slabs;
    world.heap->slabs->bytes = (size_t)-4096;
    world.heap->touched = (nv_pool **)(uintptr_t)random;
    world.heap->touched_capacity = (size_t)-1;
}

static void damage_the_root(void)
{
    world.heap->root_low = 0;
    world.heap->root_high = (size_t)-1;
}

static void damage_does_no_harm(void **state)
{
    (void)state;
    assert_int_equal(neve_cow_publish(world.heap, &model), NEVE_OK);
    void (*const acts[])(void) = {damage, damage_the_root};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        pid_t child = child_after(acts[i]);
        neve_cow_report *report = look(child);
        assert_true(report->has_heap);
        assert_true(report->whole.pages[NEVE_COW_STATE_DIRTY] > 0);
        neve_cow_report_free(report);
        end_child(child);
    }
}

static void refusals_say_what_is_wrong(void **state)
{
    (void)state;
    neve_cow_report *report = NULL;
    char problem[256];
    assert_int_equal(neve_cow_look(INT32_MAX, 0, &report, problem), NEVE_EINVAL);
    assert_string_equal(problem, "there is no process 2147483647");
    assert_int_equal(neve_cow_look(getpid(), 1, &report, problem), NEVE_EINVAL);
    assert_non_null(strstr(problem, "cannot be compared"));
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(neve_cow_look((int)child, 0, &report, problem), NEVE_EINVAL);
    assert_non_null(strstr(problem, "it has ended"));
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_null(report);
}

/* Nesting, strings, and whether a text stayed in ASCII. */
typedef struct scan {
    int depth, deepest;
    bool in_string, is_escaped, is_ascii;
    size_t length;
} scan;

static void scan_text(void *ctx, const char *text, size_t length)
{
    scan *s = ctx;
    for (size_t i = 0; i < length; i++, s->length++) {
        char c = text[i];
        s->is_ascii = s->is_ascii && (unsigned char)c < 127;
        if (s->is_escaped)
            s->is_escaped = false;
        else if (s->in_string && c == '\\')
            s->is_escaped = true;
        else if (c == '"')
            s->in_string = !s->in_string;
        else if (!s->in_string)
            s->depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (s->deepest < s->depth)
            s->deepest = s->depth;
    }
}

static void json_is_whole_and_ascii(void **state)
{
    (void)state;
    assert_int_equal(neve_cow_publish(world.heap, &model), NEVE_OK);
    pid_t child = child_after(act_in_all_ways);
    neve_cow_report *report = look(child);
    scan with = {.is_ascii = true}, without = {.is_ascii = true};
    neve_cow_write_json(report, true, scan_text, &with);
    neve_cow_write_json(report, false, scan_text, &without);
    assert_true(with.is_ascii && without.is_ascii);
    assert_true(!with.in_string && with.depth == 0 && with.deepest >= 4);
    assert_true(with.length > without.length + 40 * report->page_count);
    neve_cow_report_free(report);
    end_child(child);
}

static void the_memory_map_is_not_the_programs(void **state)
{
    (void)state;
    skip();
}

int main(void)
{
    if (is_emulated()) {
        print_message("# skipped: the page map is the emulator's or valgrind's\n");
        const struct CMUnitTest none[] = {cmocka_unit_test(the_memory_map_is_not_the_programs)};
        return cmocka_run_group_tests(none, NULL, NULL);
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_change_is_found, begin, end),
        cmocka_unit_test_setup_teardown(nothing_written_nothing_found, begin, end),
        cmocka_unit_test_setup_teardown(without_a_model_blocks_have_no_type, begin, end),
        cmocka_unit_test_setup_teardown(heaps_are_published_and_withdrawn, begin, end),
        cmocka_unit_test_setup_teardown(damage_does_no_harm, begin, end),
        cmocka_unit_test_setup_teardown(refusals_say_what_is_wrong, begin, end),
        cmocka_unit_test_setup_teardown(json_is_whole_and_ascii, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
