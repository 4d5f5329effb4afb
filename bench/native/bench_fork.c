/* SPDX-License-Identifier: MIT */
/*
 * What a forked child writes of the heap that it inherits: a native runtime with a
 * million containers, each with a raw buffer, and 640,000 leaves, 217 MB of them,
 * of which a tenth was freed again at random. For each piece of work a child of
 * its own does it; then every page that it shared with its parent before and does
 * not share any more is counted, by what lies on it.
 *
 * "Shared" is what the kernel says in /proc/self/pagemap: present, and not mapped
 * by this process alone (bits 63 and 56).
 */
#include "bench_common.h"

#include "collect/collect_internal.h"
#include "neve.h"

#define PRESENT ((uint64_t)1 << 63)
#define EXCLUSIVE ((uint64_t)1 << 56)
#define MAX_RANGES 4096
#define SLOTS 4
#define KEEP 20000 /* blocks that the allocating child has at a time */

/* ---- the objects ---- */

typedef struct node {
    neve_object base;
    neve_object *slots[SLOTS];
    void *buffer;
} node;

static neve_heap *the_heap;

static void node_traverse(neve_object *object, neve_visit_fn visit, void *arg, size_t *cursor)
{
    (void)cursor;
    (void)neve_visit_items((void *const *)((node *)object)->slots, SLOTS, visit, arg);
}

static void node_clear(neve_runtime *runtime, neve_object *object)
{
    for (int i = 0; i < SLOTS; i++)
        neve_clear_slot(runtime, &((node *)object)->slots[i]);
}

static void node_dealloc(neve_runtime *runtime, neve_object *object)
{
    neve_heap_free(neve_runtime_heap(runtime), ((node *)object)->buffer);
}

static const neve_type node_type = {.name = "node",
                                    .size = sizeof(node),
                                    .flags = NEVE_TYPE_CONTAINER | NEVE_TYPE_FREES_ONLY,
                                    .traverse = node_traverse,
                                    .clear = node_clear,
                                    .dealloc = node_dealloc};
static const neve_type text_type = {.name = "text", .size = 112};

typedef struct world {
    size_t nodes, texts;
    bool is_immortal;
    neve_runtime *runtime;
    neve_object **node, **text;
} world;

static void fail(const char *what)
{
    fprintf(stderr, "bench_fork: %s\n", what);
    exit(1);
}

/* Each node refers to a random earlier one, to the latest leaf and to two others. */
static void build(world *w)
{
    uint64_t random = 12345;
    size_t total_nodes = w->nodes + w->nodes / 9, total_texts = w->texts;
    w->node = bench_map(total_nodes * sizeof *w->node);
    w->text = bench_map(total_texts * sizeof *w->text);
    if (neve_runtime_create(NULL, &w->runtime) != NEVE_OK)
        fail("no memory");
    the_heap = neve_runtime_heap(w->runtime);
    neve_collector_disable(neve_runtime_collector(w->runtime));
    size_t texts = 0;
    for (size_t i = 0; i < total_nodes; i++) {
        node *made = (node *)neve_object_new(w->runtime, &node_type);
        if (made == NULL || (made->buffer = neve_heap_alloc(the_heap, NEVE_DOMAIN_RAW, 80)) == NULL)
            fail("no memory");
        memset(made->buffer, 1, 80);
        w->node[i] = &made->base;
        if (texts < total_texts && i * total_texts / total_nodes >= texts) {
            w->text[texts] = neve_object_new(w->runtime, &text_type);
            if (w->text[texts++] == NULL)
                fail("no memory");
        }
        if (i > 0)
            made->slots[0] = neve_retain(w->node[bench_random(&random) % i]);
        for (int s = 1; s < SLOTS; s++)
            if (texts > 0)
                made->slots[s] =
                    neve_retain(w->text[s == 1 ? texts - 1 : bench_random(&random) % texts]);
    }
    /* Holes: a tenth of the references goes, and what nobody else refers to. */
    size_t kept = 0;
    for (size_t i = 0; i < total_nodes; i++) {
        if (bench_random(&random) % 10 == 0)
            neve_release(w->runtime, w->node[i]);
        else
            w->node[kept++] = w->node[i];
    }
    w->nodes = kept;
    w->texts = texts;
    neve_collect(neve_runtime_collector(w->runtime), 2, NULL);
    if (w->is_immortal) {
        neve_freeze_result result;
        if (neve_runtime_freeze(w->runtime, NEVE_FREEZE_IMMORTAL, &result) != NEVE_OK ||
            result.mortal != 0)
            fail("freezing failed");
    }
    neve_runtime_before_fork(w->runtime);
}

/* ---- which pages are shared ---- */

static const char *const kinds[] = {
    "containers", "leaves", "raw buffers",    "free pools", "pool descriptors", "chunk descriptors",
    "states",     "marks",  "heap and table", "registries", "malloc",           "stack, data"};
enum { OBJECTS, LEAVES, RAW, FREE_POOLS, POOLS, CHUNKS, STATES, MARKS, HEAP, LISTS, MALLOC, REST };
#define KINDS (sizeof kinds / sizeof kinds[0])

typedef struct range {
    uintptr_t first, end; /* page numbers */
    bool is_malloc;
    uint64_t *bits; /* as they were at the beginning */
} range;

typedef struct snapshot {
    range ranges[MAX_RANGES];
    size_t count;
    size_t page;
    int map;
    uint64_t *buffer; /* for reading, mapped */
    size_t private_pages;
} snapshot;

/* Private dirty memory of the whole process, in pages: grows by fresh pages too. */
static size_t private_dirty_pages(const snapshot *s)
{
    char text[4096];
    int file = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    if (length < 0)
        fail("/proc/self/smaps_rollup cannot be read");
    text[length] = '\0';
    const char *field = strstr(text, "Private_Dirty:");
    return field == NULL ? 0 : (size_t)strtoul(field + 14, NULL, 10) * 1024 / s->page;
}

/* All writable private mappings, with the bits of their pages. Its own memory is
 * mapped first and not counted. */
static snapshot *snapshot_begin(void)
{
    size_t text_bytes = (size_t)1 << 20, all_bytes = (size_t)8 << 20;
    snapshot *s = bench_map(sizeof *s);
    char *text = bench_map(text_bytes);
    uint64_t *all = bench_map(all_bytes);
    uintptr_t own[3] = {(uintptr_t)s, (uintptr_t)text, (uintptr_t)all};
    s->page = (size_t)sysconf(_SC_PAGESIZE);
    s->map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    int maps = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (s->map < 0 || maps < 0)
        fail("/proc/self/pagemap cannot be read");
    size_t used = 0;
    ssize_t n;
    while ((n = read(maps, text + used, text_bytes - 1 - used)) > 0)
        used += (size_t)n;
    close(maps);
    for (char *line = text, *next; line < text + used; line = next) {
        next = strchr(line, '\n') + 1;
        next[-1] = '\0';
        char *rest;
        uintptr_t from = strtoul(line, &rest, 16), to = strtoul(rest + 1, &rest, 16);
        bool is_own = false;
        for (int i = 0; i < 3; i++)
            is_own |= own[i] >= from && own[i] < to;
        if (strncmp(rest, " rw-p", 5) != 0 || is_own || s->count == MAX_RANGES)
            continue;
        range *r = &s->ranges[s->count++];
        *r = (range){.first = from / s->page, .end = to / s->page};
        r->is_malloc = strstr(rest, "[heap]") != NULL;
        r->bits = all;
        for (uintptr_t at = r->first; at < r->end; at++, all++) {
            if (pread(s->map, all, sizeof *all, (off_t)(at * sizeof *all)) != sizeof *all)
                *all = 0;
        }
    }
    s->private_pages = private_dirty_pages(s);
    return s;
}

static bool within(uintptr_t address, const void *start, size_t bytes)
{
    return start != NULL && address - (uintptr_t)start < bytes;
}

static size_t kind_of(const neve_runtime *runtime, const range *r, uintptr_t address)
{
    const neve_heap *heap = the_heap;
    uintptr_t entry = nv_entry_find(heap, (const void *)address);
    (void)runtime;
    if (nv_entry_is_arena(entry)) {
        unsigned number = (unsigned)(address >> NV_POOL_SHIFT) & (NV_POOLS - 1);
        const nv_pool *pool = nv_pool_at(address & ~(uintptr_t)(NV_CHUNK_BYTES - 1), number);
        if (number == 0)
            return POOLS;
        return pool->size_class == 0 ? FREE_POOLS : (size_t)pool->domain;
    }
    for (const nv_slab *slab = heap->slabs; slab != NULL; slab = slab->next) {
        if (!within(address, slab, slab->bytes))
            continue;
        if (address >= (uintptr_t)slab->marks)
            return MARKS;
        return address < (uintptr_t)slab + sizeof *slab ? CHUNKS : STATES;
    }
    if (within(address, heap, heap->bytes))
        return HEAP;
    for (size_t i = heap->root_low; i < heap->root_high; i++)
        if (within(address, heap->root[i], sizeof(nv_leaf)))
            return HEAP;
    if (within(address, heap->large_table.slots, heap->large_table.capacity * sizeof(nv_large)) ||
        within(address, heap->large_inherited.slots,
               heap->large_inherited.capacity * sizeof(nv_large)) ||
        within(address, heap->touched, heap->touched_capacity * sizeof(void *)) ||
        within(address, heap->young_large, heap->young_large_capacity * sizeof(void *)))
        return LISTS;
    return r->is_malloc ? MALLOC : REST;
}

typedef struct report {
    uint32_t pages[KINDS]; /* shared before, not any more */
    uint32_t grown;        /* private dirty pages, fresh ones included */
    uint32_t own_kb;       /* what the work needed for itself */
    uint32_t floor_pages;  /* that the program itself wrote */
} report;

static void snapshot_end(const snapshot *s, const world *w, report *result)
{
    result->grown = (uint32_t)(private_dirty_pages(s) - s->private_pages);
    for (size_t i = 0; i < s->count; i++) {
        const range *r = &s->ranges[i];
        for (uintptr_t at = r->first; at < r->end; at++) {
            uint64_t before = r->bits[at - r->first], now = 0;
            if ((before & PRESENT) == 0 || (before & EXCLUSIVE) != 0)
                continue;
            if (pread(s->map, &now, sizeof now, (off_t)(at * sizeof now)) == sizeof now &&
                (now & PRESENT) != 0 && (now & EXCLUSIVE) != 0)
                result->pages[kind_of(w->runtime, r, at * s->page)]++;
        }
    }
}

/* ---- what the children do ---- */

static void do_nothing(world *w, report *result)
{
    (void)w;
    (void)result;
}

static void collect_all(world *w, report *result)
{
    (void)result;
    neve_collection collection;
    if (neve_collect(neve_runtime_collector(w->runtime), 2, &collection) != NEVE_OK)
        fail("the collection failed");
}

/* A million allocations and frees, 20,000 blocks of it at a time. */
static void allocate(world *w, report *result)
{
    uint64_t random = 99;
    void **blocks = bench_map(KEEP * sizeof *blocks);
    size_t bytes = 0, most = 0;
    for (size_t i = 0; i < 1000000; i++) {
        void **at = &blocks[bench_random(&random) % KEEP];
        if (*at != NULL)
            bytes -= neve_heap_usable_size(the_heap, *at);
        neve_heap_free(the_heap, *at);
        size_t size = 16 + bench_random(&random) % 240;
        *at = neve_heap_alloc(the_heap, (neve_domain)(1 + i % 2), size);
        if (*at == NULL)
            fail("no memory");
        memset(*at, 2, size);
        bytes += neve_heap_usable_size(the_heap, *at);
        most = bytes > most ? bytes : most;
    }
    (void)w;
    result->own_kb = (uint32_t)((most + KEEP * sizeof *blocks) / 1024);
}

/* The same in a heap without a past: what the work needs by itself. */
static void allocate_alone(world *w, report *result)
{
    if (neve_heap_create(NULL, &the_heap) != NEVE_OK)
        fail("no memory");
    allocate(w, result);
}

/* One reference more and one less, on every container and all that it refers to. */
static void use_all(world *w, report *result)
{
    (void)result;
    for (size_t i = 0; i < w->nodes; i++) {
        node *at = (node *)neve_retain(w->node[i]);
        for (int s = 0; s < SLOTS; s++)
            if (at->slots[s] != NULL)
                neve_release(w->runtime, neve_retain(at->slots[s]));
        neve_release(w->runtime, &at->base);
    }
}

/* Drops the half of the containers that was made last: nothing else refers to it. */
static void drop_half(world *w, report *result)
{
    (void)result;
    for (size_t i = w->nodes; i-- > w->nodes / 2;)
        neve_release(w->runtime, w->node[i]);
}

typedef struct work {
    const char *name, *title;
    void (*run)(world *w, report *result);
} work;

static const work works[] = {
    {"nothing", "nothing", do_nothing},
    {"collect", "a full collection", collect_all},
    {"allocate", "a million allocations and frees", allocate},
    {"allocate_alone", "... on a new heap of the child's own", allocate_alone},
    {"use", "a reference to everything, and back", use_all},
    {"drop", "half of the containers dropped", drop_half},
};
#define WORKS (sizeof works / sizeof works[0])

static void run_in_child(world *w, const work *what, report *result)
{
    int ends[2], status;
    if (pipe(ends) != 0)
        fail("no pipe");
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        fail("no child");
    if (child == 0) {
        report mine = {{0}, 0, 0, 0};
        neve_runtime_after_fork_child(w->runtime);
        snapshot *s = snapshot_begin();
        what->run(w, &mine);
        snapshot_end(s, w, &mine);
        _exit(write(ends[1], &mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
    }
    close(ends[1]);
    if (read(ends[0], result, sizeof *result) != (ssize_t)sizeof *result ||
        waitpid(child, &status, 0) != child || status != 0)
        fail("a child failed");
    close(ends[0]);
}

/* ---- tables ---- */

static void print_table(const report *reports, size_t page, const world *w, size_t bytes)
{
    bench_machine machine;
    bench_machine_get(&machine);
    printf("bench_fork: what a child writes of the heap that it inherits, in kB\n"
           "Neve " NEVE_VERSION ", %ld x %s, %s, %s\n"
           "%zu containers, %zu leaves, %zu raw buffers, %.0f MB\n\n",
           machine.cpus, machine.cpu, machine.kernel, machine.date, w->nodes, w->texts, w->nodes,
           (double)bytes / 1e6);
    printf("%-36s %-9s %9s %9s %9s  %s\n", "the child does", "counts", "inherited", "own data",
           "grown", "inherited pages, by what lies on them, kB");
    for (size_t i = 0; i < 2 * WORKS; i++) {
        const report *r = &reports[i];
        size_t sum = 0;
        for (size_t k = 0; k < KINDS; k++)
            sum += r->pages[k];
        printf("%-36s %-9s %9zu %9u %9zu ", works[i % WORKS].title,
               i < WORKS ? "mortal" : "immortal", sum * page / 1024, r->own_kb,
               r->grown * page / 1024);
        for (size_t k = 0; k < KINDS; k++)
            if (r->pages[k] != 0)
                printf(" %s %zu,", kinds[k], r->pages[k] * page / 1024);
        printf("\b \n");
    }
    printf("\ninherited: pages that were shared with the parent and are not any more. grown: the\n"
           "child's private dirty memory, fresh pages included. Reading immortal objects shall\n"
           "dirty less than 100 kB; a million allocations, their own data and less than 500 kB.\n");
}

static void print_json(const report *reports, size_t page)
{
    printf("{\"benchmark\": \"bench_fork\", \"rows\": [");
    for (size_t i = 0; i < 2 * WORKS; i++) {
        printf("%s\n {\"work\": \"%s\", \"counts\": \"%s\", \"own_kb\": %u, \"grown_kb\": %zu",
               i ? "," : "", works[i % WORKS].name, i < WORKS ? "mortal" : "immortal",
               reports[i].own_kb, reports[i].grown * page / 1024);
        for (size_t k = 0; k < KINDS; k++)
            printf(", \"%s\": %zu", kinds[k], reports[i].pages[k] * page / 1024);
        printf("}");
    }
    printf("]}\n");
}

/* Each kind of counts in a process of its own. */
static void measure(world *w, report *reports, size_t *bytes)
{
    build(w);
    neve_heap_stats stats;
    neve_heap_get_stats(the_heap, &stats);
    *bytes = stats.small_bytes[0] + stats.small_bytes[1] + stats.small_bytes[2];
    for (size_t i = 0; i < WORKS; i++)
        run_in_child(w, &works[i], &reports[i]);
    neve_runtime_destroy(w->runtime);
}

int main(int argc, char **argv)
{
    static report reports[2 * WORKS];
    size_t nodes = 1000000, texts = 640000, bytes = 0;
    bool as_json = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            printf("usage: bench_fork [--quick] [--json]\n\n"
                   "What a forked child writes of the heap that it inherits.\n\n"
                   "  --quick  a tenth of the objects\n"
                   "  --json   figures for machines instead of a table\n"
                   "  --help   this text\n");
            return 0;
        } else if (strcmp(argv[i], "--quick") == 0) {
            nodes /= 10;
            texts /= 10;
        } else if (strcmp(argv[i], "--json") == 0) {
            as_json = true;
        } else {
            fprintf(stderr, "bench_fork: unknown option '%s' (see --help)\n", argv[i]);
            return 2;
        }
    }
    world w = {0};
    for (int immortal = 0; immortal < 2; immortal++) {
        w = (world){.nodes = nodes, .texts = texts, .is_immortal = immortal != 0};
        measure(&w, reports + (immortal ? WORKS : 0), &bytes);
    }
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (as_json)
        print_json(reports, page);
    else
        print_table(reports, page, &w, bytes);
    return 0;
}
