/* SPDX-License-Identifier: MIT */
/*
 * The structures of the heap, for the layers `heap` and above it in the core.
 *
 * The nouns:
 *   chunk     1 MiB of address space, aligned, of which the heap knows
 *             something: it is an arena of ours, or objects that others
 *             allocated lie in it. Found by address in a two-level table.
 *   arena     a chunk whose memory is ours, cut into pools. The place of the
 *             first pool holds the descriptors of the others, so that a
 *             pool's descriptor is found from a block's address by arithmetic
 *             alone: the store that frees a block, and the allocation after
 *             it, need not wait for a walk through the table.
 *   pool      16 KiB of blocks of one size class and one domain.
 *   block     what neve_heap_alloc hands out.
 *   granule   16 bytes; the unit of the side tables.
 *   state     two bits per granule at which an object begins: the object's
 *             generation (nv_state). Kept between collections. The high and the low
 *             bits are tables of their own, since most programs need the high ones
 *             only: what is not written costs no memory.
 *   white     one bit per granule, during a marking only: "old or permanent
 *             when the marking began, and not reached yet". The complement of
 *             the mark bit among the objects concerned; this polarity lets an
 *             edge be handled with one read instead of two.
 *   grey      one bit per granule, beside the white one: reached, to be
 *             traversed, and not on the mark stack.
 *   index     one u32 per block of the pools in which candidates lie (elsewhere
 *             one per 32 bytes), during a large verification only: the number
 *             of the candidate there, plus one.
 *   tag       of a pool: flags in the low 8 bits, above them the epoch, which
 *             changes at fork.
 *   cache     of a domain and size class: blocks that were freed last, or that a
 *             pool gave up all at once. Allocation and freeing use nothing else
 *             in the common case: no pool is read or written (heap/cache.c).
 *   kind      of a pool: one byte in a dense table that says which cache its
 *             blocks go to when they are freed; 0 where freeing must look closer.
 *
 * Invariants kept here (numbers are those of the design):
 *   1. descriptors and tables lie outside the memory of the pools, on OS
 *      pages of their own;
 *   5. freeing a block clears the state and mark bits of its granules;
 *   8. after fork, current pools and partial lists start empty, and the free
 *      blocks of an inherited pool are held back (heap/fork.c).
 */
#ifndef NV_HEAP_INTERNAL_H
#define NV_HEAP_INTERNAL_H

#include <assert.h>
#include <string.h>

#include "neve/heap.h"

#ifndef NEVE_DEBUG
#define NEVE_DEBUG 0
#endif

/* NEVE_DEBUG: 1 asserts and marks free blocks, 2 also walks everything around
 * each collection of a small heap. */
#if NEVE_DEBUG >= 1
#define NV_ASSERT(x) ((x) ? (void)0 : nv_assert_failed(#x, __FILE__, __LINE__))
#else
#define NV_ASSERT(x) ((void)0)
#endif
/* Prints and aborts; allocates nothing. */
_Noreturn void nv_assert_failed(const char *what, const char *file, int line);

#define NV_CHUNK_SHIFT 20
#define NV_CHUNK_BYTES ((size_t)1 << NV_CHUNK_SHIFT)
#define NV_POOL_SHIFT 14
#define NV_POOL_BYTES ((size_t)1 << NV_POOL_SHIFT)
#define NV_POOLS ((unsigned)(NV_CHUNK_BYTES / NV_POOL_BYTES)) /* places in a chunk */
#define NV_ARENA_POOLS (NV_POOLS - 1)                         /* place 0 holds descriptors */
#define NV_GRANULE_SHIFT 4
#define NV_CHUNK_WORDS ((unsigned)(NV_CHUNK_BYTES >> NV_GRANULE_SHIFT) / 64)
#define NV_INDEX_SHIFT 5
#define NV_INDEX_SLOTS (NV_CHUNK_BYTES >> NV_INDEX_SHIFT)
#define NV_CLASSES (NEVE_SMALL_MAX / NEVE_GRANULE + 1) /* class c: c granules; 0 unused */

/* The table's levels: 2^14 entries of 2^14 chunks cover 48 bits of address. */
#if UINTPTR_MAX > 0xffffffffu
#define NV_LEAF_SHIFT 14
#define NV_ROOT_ENTRIES ((size_t)1 << 14)
#else
#define NV_LEAF_SHIFT 12
#define NV_ROOT_ENTRIES ((size_t)1)
#endif
#define NV_LEAF_ENTRIES ((size_t)1 << NV_LEAF_SHIFT)

/* An object's generation as the side tables hold it: bit 0 in `low`, bit 1 in
 * `high`. `high` alone says "old or permanent". */
typedef enum nv_state {
    NV_STATE_YOUNG = 0,
    NV_STATE_MIDDLE = 1,
    NV_STATE_OLD = 2,
    NV_STATE_FROZEN = 3,
} nv_state;

#define NV_POOL_HAS_STATE 1u /* some object here once got a state other than young */
#define NV_POOL_INHERITED 2u /* adopted after fork: see heap/fork.c */
#define NV_POOL_FLAGS 0xffu
#define NV_EPOCH_UNIT 0x100u

/* The kind of a pool is the number of its cache. 0 is no kind: the place holds no pool, or
 * one of an earlier epoch; it has a cache into which nothing fits. */
#define NV_KIND_CLASSES 32u
#define NV_KINDS (1 + NEVE_DOMAINS * NV_KIND_CLASSES)
#define NV_KIND_OF(domain, size_class) ((unsigned)(domain)*NV_KIND_CLASSES + (size_class))
/* In the table the kind is shifted, so that eight times it is the distance of the cache in
 * bytes, which processors can add without an instruction more: the next allocation waits for
 * it. The bit
 * below says that a block that is freed here may have state bits, or must not be cached (see
 * nv_kind_update). */
#define NV_KIND_SHIFT 1
#define NV_KIND_ASK 1u
_Static_assert(NV_KINDS << NV_KIND_SHIFT <= 256 && NV_CLASSES - 1 <= NV_KIND_CLASSES,
               "a kind is a byte");

/* Entries of the filter that tells arenas in a hurry: enough for 4 GiB in one piece.
 * Few where the program is to be tested, so that arenas compete for them. */
#if NEVE_DEBUG >= 1
#define NV_OWNED 2u
#else
#define NV_OWNED 4096u
#endif
/* What no arena's number is equal to where that of `number` stands; nor is NULL's, 0. */
#define NV_OWNED_NONE(number) ((uintptr_t)((number) % NV_OWNED == 0))

typedef enum nv_pool_place {
    NV_POOL_FREE = 0, /* of no class, in its arena's free_mask */
    NV_POOL_CURRENT,  /* allocation draws from it */
    NV_POOL_PARTIAL,  /* in the partial list of its domain and class */
    NV_POOL_FULL,     /* in no list */
} nv_pool_place;

/* One cache line, whatever the size of a pointer: descriptors are numbered by their
 * addresses. */
typedef struct nv_pool {
    _Alignas(64) void *free;     /* linked through the first word of each free block */
    struct nv_pool *next, *prev; /* the partial list */
    struct nv_chunk *chunk;      /* where it lies; set when it is acquired */
    uint32_t tag;
    uint32_t touched;  /* index + 1 in neve_heap.touched; 0: not there */
    uint16_t used;     /* live blocks */
    uint16_t carved;   /* blocks at the pool's start that were ever handed out */
    uint16_t capacity; /* blocks that fit */
    uint8_t size_class;
    uint8_t domain;
    uint8_t place;
    /* Of an inherited pool: a bit for each carved block that was free at a fork
     * and is held back (heap/fork.c); NULL: none is. */
    uint64_t *held;
} nv_pool;
_Static_assert(sizeof(nv_pool) == 64, "a pool is one cache line");

/* The index table of a chunk. In an arena the slots of its pools lie side by
 * side in the order in which candidates were found there: the system commits no
 * memory for pools without any. */
typedef union nv_index {
    struct {
        uint32_t inverse; /* of the block size: see nv_block_number */
        uint32_t first;   /* slot of the pool's first block; 0: the pool has none */
    } pools[NV_POOLS];    /* pools[0].first: the next slot that is unused */
    uint32_t slots[NV_INDEX_SLOTS];
} nv_index;
#define NV_INDEX_HEAD (NV_POOLS * 2) /* slots that `pools` takes up */
_Static_assert(NV_INDEX_HEAD + NV_ARENA_POOLS * (NV_POOL_BYTES >> NV_INDEX_SHIFT) <= NV_INDEX_SLOTS,
               "the slots of all pools fit");

/* Descriptor of a chunk. All tables point into the same slab of descriptors. */
/* Numbers that a chunk's objects were given in the order of their addresses. */
typedef struct nv_numbered {
    uint64_t bits[NV_CHUNK_WORDS];  /* a bit for each of them, at its first granule */
    uint32_t first[NV_CHUNK_WORDS]; /* of each word's objects the lowest number */
} nv_numbered;

typedef struct nv_chunk {
    uintptr_t base;             /* the chunk's address */
    uint64_t *high, *low;       /* the states: NV_CHUNK_WORDS entries each */
    uint64_t *white, *grey;     /* the marks, likewise, meaningful during a marking */
    struct nv_chunk *next_grey; /* see collect/mark.c */
    nv_index *index;            /* of a large verification, or NULL */
    nv_numbered *numbered;      /* of a cycle that is under way (collect/filter.c), or NULL */
    struct nv_chunk *next_indexed;
    struct nv_chunk *next, *prev; /* in a list of neve_heap.by_free; or of free slots */
    uint64_t free_mask;           /* pools that are free; bit 0 is never set */
    uint64_t dirty_mask;          /* ... of which these have memory that can be given back */
    uint64_t inherited_mask;      /* ... of which these may be shared with a forked parent */
    uint32_t epoch;               /* of the list links above; another: not in a list */
    bool is_arena;                /* as the tag of the table's entry says */
    bool is_grey;                 /* in the queue of chunks with grey objects */
    bool has_middle;              /* some state here may be NV_STATE_MIDDLE */
    bool has_low;                 /* a bit of `low` has been set; else nobody reads it */
} nv_chunk;

/* Descriptors come in slabs, so that their mark tables are adjacent and go
 * back to the OS in one call. */
#define NV_SLAB_CHUNKS 32u
typedef struct nv_slab {
    struct nv_slab *next;
    size_t bytes;
    uint64_t *marks; /* all that is white and grey */
    nv_chunk chunks[NV_SLAB_CHUNKS];
} nv_slab;

/* The blocks of one domain and size class that are at hand. For their pools they are live:
 * `used` counts them. */
typedef struct nv_cache {
    _Alignas(16) void *free; /* linked through the first word of each */
    int32_t room;            /* blocks that freeing may still put there */
    int32_t limit;           /* room and blocks together */
} nv_cache;
_Static_assert(sizeof(nv_cache) == 8 << NV_KIND_SHIFT, "see NV_KIND_SHIFT");

static inline unsigned nv_cache_count(const nv_cache *cache)
{
    return (unsigned)(cache->limit - cache->room);
}

/* How a cache's limit follows the program (heap/cache.c). */
typedef struct nv_cache_pace {
    uint8_t limit;    /* of blocks beside those that a pool gave up; 0: freed blocks go home */
    bool has_spilled; /* since it was last empty */
} nv_cache_pace;

/* Memory for the bits of held blocks (heap/fork.c): the words behind the head. */
#define NV_HELD_SLAB_BYTES ((size_t)16 << 10)
#define NV_HELD_SIZES 5u /* of 1, 2, 4, 8 and 16 words */
typedef struct nv_held_slab {
    struct nv_held_slab *next;
} nv_held_slab;

/* One entry of the registry of large blocks (heap/large.c). */
typedef struct nv_large {
    void *block; /* NULL: empty slot */
    size_t size;
    uint32_t domain;
    uint32_t young; /* index + 1 in neve_heap.young_large; 0: not there */
} nv_large;
typedef struct nv_large_table {
    nv_large *slots; /* open addressing, linear probing */
    size_t capacity; /* a power of two, or 0 */
    size_t count;    /* slots in use */
} nv_large_table;

/* The second level of the table of chunks. An entry is 0 or a chunk's
 * descriptor, with NV_ENTRY_ARENA added where the chunk is an arena. */
#define NV_ENTRY_ARENA ((uintptr_t)1)
typedef struct nv_leaf {
    size_t low, high; /* entries that were ever in use: [low, high) */
    uintptr_t entries[NV_LEAF_ENTRIES];
} nv_leaf;

struct neve_heap {
    /* What the fast paths read, first. */
    nv_cache caches[NV_KINDS];
    uint32_t tag; /* of a pool of this epoch without flags */
    unsigned object_starts;
    /* The numbers of arenas, each by its low bits: a filter that tells most of them
     * in one comparison; the others the table of chunks tells. */
    uintptr_t owned[NV_OWNED];
    /* The kinds of the pools of the arenas that stand there, on OS pages of their own: a
     * fork clears them all. */
    _Alignas(4096) uint8_t kinds[NV_OWNED * NV_POOLS];

    _Alignas(4096) nv_cache_pace paces[NV_KINDS];
    uint64_t flushed_ns; /* when the caches last went home because of the time */
    nv_pool *current[NEVE_DOMAINS][NV_CLASSES]; /* caches are filled from it; may be NULL */
    nv_pool *partial_first[NEVE_DOMAINS][NV_CLASSES];
    nv_pool *partial_last[NEVE_DOMAINS][NV_CLASSES];

    uint16_t rare[NEVE_DOMAINS][NV_CLASSES]; /* requests that neve_heap_alloc_or still leaves */
    /* In the child of a fork, a bit for each class that has no pools yet and takes blocks of a
     * larger one (pool.c). Elsewhere none. */
    uint64_t borrowers[NEVE_DOMAINS];

    /* Arenas by number of free pools, 1 .. NV_ARENA_POOLS, at index number - 1, those
     * with dirty ones and those without apart; a set bit says that the list is not
     * empty. The fullest of the dirty ones serves first, so that the others can empty. */
    nv_chunk *by_free[2][NV_ARENA_POOLS];
    uint64_t by_free_mask[2];
    size_t arenas;
    size_t used_pools;  /* taken in this epoch, and not free */
    size_t dirty_pools; /* free pools that keep their memory */
    size_t retain_bytes;
    size_t returned_bytes;

    /* How much a program swings (see arena.c), in pools. */
    bool is_giving;               /* free pools are to go until few enough are left */
    size_t swing_pools;           /* kept beyond the fixed bound */
    size_t low_dirty, high_dirty; /* range of dirty_pools in this period */
    size_t recent_pools;          /* given back, and not taken again yet */
    uint64_t recent_ns;           /* when the last of them was */
    uint64_t period_ns;           /* when this period began; 0: not yet */
    uint32_t releases;            /* pools that became free while there was a swing */

    /* Pools of NEVE_DOMAIN_OBJECT that allocation has drawn from since the
     * list was last taken: where young objects can lie. */
    nv_pool **touched;
    size_t touched_count, touched_capacity;
    bool tracks_touched; /* set by a collector whose host does not gather */
    bool marking;        /* the mark tables are live: freeing clears them too */
    size_t old_objects;  /* states that are old or permanent */

    neve_large_allocator large;
    nv_large_table large_table;     /* where new blocks are registered */
    nv_large_table large_inherited; /* ... and those of before a fork: only read */
    uint64_t *large_gone;           /* a bit for each slot of it: the block was freed since */
    size_t large_count;             /* live, in both */
    size_t large_bytes;
    void **young_large; /* large objects since the list was last taken; holes are NULL */
    size_t young_large_count, young_large_capacity, young_large_holes;

    neve_corruption_fn on_corruption;
    void *on_corruption_ctx;
    neve_out_of_memory_fn on_out_of_memory;
    void *on_out_of_memory_ctx;
    bool is_asking;   /* ... and it is not to be called now: see shortage.c */
    uint64_t fail_in; /* 1: the next allocation fails; 0: none */

    /* Blocks that were in caches at a fork and whose pools have not been adopted yet, in
     * the order of their addresses; odd: done with. */
    uintptr_t *strays;
    size_t stray_count, stray_bytes;

    nv_held_slab *held_slabs;
    uint64_t *held_at, *held_end;         /* words that were never used, of the latest slab */
    uint64_t *held_unused[NV_HELD_SIZES]; /* linked through the first word of each */

    nv_slab *slabs;
    nv_chunk *free_chunks; /* unused descriptors */
    nv_chunk *indexed;     /* chunks that have an index table */
    size_t table_bytes;    /* mapped for all tables and descriptors */
    size_t bytes;          /* of this mapping */

    size_t root_low, root_high; /* entries in use: [low, high) */
    nv_leaf *root[NV_ROOT_ENTRIES];
};

/* ---- chunk.c: the table of chunks, and side tables ---- */

/* The table's entry for the chunk that holds `address`, or 0. */
static inline uintptr_t nv_entry_find(const neve_heap *heap, const void *address)
{
    uintptr_t number = (uintptr_t)address >> NV_CHUNK_SHIFT;
    uintptr_t top = number >> NV_LEAF_SHIFT;
    if (NEVE_UNLIKELY(top >= NV_ROOT_ENTRIES))
        return 0;
    const nv_leaf *leaf = heap->root[top];
    if (NEVE_UNLIKELY(leaf == NULL))
        return 0;
    return leaf->entries[number & (NV_LEAF_ENTRIES - 1)];
}

/* Whether the address lies in an arena, in a hurry: false also of a few that do. */
static inline bool nv_is_owned(const neve_heap *heap, const void *address)
{
    uintptr_t number = (uintptr_t)address >> NV_CHUNK_SHIFT;
    return heap->owned[number % NV_OWNED] == number;
}

/* The kind of the pool in which an address of an owned arena lies. */
static inline uint8_t *nv_kind_at(const neve_heap *heap, const void *address)
{
    return (uint8_t *)&heap->kinds[((uintptr_t)address >> NV_POOL_SHIFT) % (NV_OWNED * NV_POOLS)];
}

static inline bool nv_entry_is_arena(uintptr_t entry)
{
    return (entry & NV_ENTRY_ARENA) != 0;
}

static inline nv_chunk *nv_entry_chunk(uintptr_t entry)
{
    return (nv_chunk *)(entry & ~NV_ENTRY_ARENA);
}

/* The descriptor of the chunk that holds `address`, or NULL. */
static inline nv_chunk *nv_chunk_find(const neve_heap *heap, const void *address)
{
    return nv_entry_chunk(nv_entry_find(heap, address));
}

/* The same, made if need be; NULL without memory. */
nv_chunk *nv_chunk_ensure(neve_heap *heap, const void *address);
/* Says whether the chunk's memory is an arena of this heap. */
void nv_chunk_set_arena(neve_heap *heap, nv_chunk *chunk, bool is_arena);
/* Takes the descriptor out of the table, its bits with it. */
void nv_chunk_remove(neve_heap *heap, nv_chunk *chunk);
/* The first chunk at `address` or behind it; NULL: there is none. */
nv_chunk *nv_chunk_next(const neve_heap *heap, uintptr_t address);
/* Calls `visit` for each chunk, in address order. */
void nv_chunk_each(const neve_heap *heap, void (*visit)(nv_chunk *chunk, void *arg), void *arg);

static inline unsigned nv_granule(const void *address)
{
    return (unsigned)(((uintptr_t)address & (NV_CHUNK_BYTES - 1)) >> NV_GRANULE_SHIFT);
}

/* The low bits of 64 granules. */
static inline uint64_t nv_low_bits(const nv_chunk *chunk, unsigned word)
{
    return chunk->has_low ? chunk->low[word] : 0;
}
/* The objects among 64 granules that are old, and those that are permanent. */
static inline uint64_t nv_old_bits(const nv_chunk *chunk, unsigned word)
{
    return chunk->high[word] & ~nv_low_bits(chunk, word);
}
static inline uint64_t nv_frozen_bits(const nv_chunk *chunk, unsigned word)
{
    return chunk->high[word] & nv_low_bits(chunk, word);
}

/* The bit of `granule` in a table of bits, and whether it is set. */
static inline uint64_t nv_bit(unsigned granule)
{
    return (uint64_t)1 << (granule % 64);
}
static inline bool nv_bit_is_set(const uint64_t *bits, unsigned granule)
{
    return (bits[granule / 64] >> (granule % 64) & 1) != 0;
}

static inline nv_state nv_state_in(const nv_chunk *chunk, const void *object)
{
    unsigned granule = nv_granule(object);
    unsigned low = chunk->has_low && nv_bit_is_set(chunk->low, granule);
    return (nv_state)(low | (unsigned)nv_bit_is_set(chunk->high, granule) << 1);
}

/* NV_STATE_YOUNG for whatever the heap does not know. */
static inline nv_state nv_state_get(const neve_heap *heap, const void *object)
{
    const nv_chunk *chunk = nv_chunk_find(heap, object);
    return chunk == NULL ? NV_STATE_YOUNG : nv_state_in(chunk, object);
}

/* False without memory for a table (only for objects outside the arenas). */
bool nv_state_set(neve_heap *heap, void *object, nv_state state);

/* Clears the state and mark bits of the objects that can begin in `block`. */
void nv_bits_clear(neve_heap *heap, nv_chunk *chunk, const void *block);
/* ... of those that begin at the granules of word `at` that are set in `mask`. */
void nv_bits_clear_word(neve_heap *heap, nv_chunk *chunk, unsigned at, uint64_t mask);

/* The number of the block in which the address lies, `offset` bytes into its
 * pool: a division by the block size, as a multiplication. Offsets are below
 * 2^14, so that 2^26 of precision suffice. */
static inline uint32_t nv_block_inverse(size_t block_bytes)
{
    return (uint32_t)((((size_t)1 << 26) + block_bytes - 1) / block_bytes);
}
static inline unsigned nv_block_number(size_t offset, uint32_t inverse)
{
    return (unsigned)((uint64_t)offset * inverse >> 26);
}

/* The slot of `object` in `index`, a table of the chunk that the entry names; NULL
 * if there is none. In an arena no other object has the same slot, elsewhere a
 * leaf in the same 32 bytes has. */
static inline uint32_t *nv_index_slot(uintptr_t entry, nv_index *index, const void *object)
{
    uintptr_t address = (uintptr_t)object & (NV_CHUNK_BYTES - 1);
    if (NEVE_UNLIKELY(index == NULL))
        return NULL;
    if (NEVE_UNLIKELY(!nv_entry_is_arena(entry)))
        return &index->slots[address >> NV_INDEX_SHIFT];
    unsigned number = (unsigned)(address >> NV_POOL_SHIFT);
    uint32_t first = index->pools[number].first;
    if (first == 0)
        return NULL;
    return &index->slots[first + nv_block_number(address & (NV_POOL_BYTES - 1),
                                                 index->pools[number].inverse)];
}
/* The same in the chunk's table for a verification: made if need be; NULL without memory. */
uint32_t *nv_index_ensure(neve_heap *heap, void *object);

/* The chunk's table for a cycle: made if need be, all of it zero; NULL without memory. Gives it
 * back. */
nv_numbered *nv_numbered_ensure(neve_heap *heap, nv_chunk *chunk);
void nv_numbered_drop(neve_heap *heap, nv_chunk *chunk);
/* Gives all tables of a verification back; all mark tables; those of one slab. */
void nv_index_drop(neve_heap *heap);
void nv_marks_drop(neve_heap *heap);
void nv_marks_drop_slab(nv_slab *slab);

/* Mappings that count as side tables and obey neve_heap_fail_alloc_at. */
void *nv_heap_map(neve_heap *heap, size_t bytes);
void *nv_heap_remap(neve_heap *heap, void *address, size_t old_bytes, size_t new_bytes);
void nv_heap_unmap(neve_heap *heap, void *address, size_t bytes);
/* Makes room for `wanted` pointers in a list, which it makes if *capacity is 0;
 * NULL: unchanged. */
void **nv_list_grow(neve_heap *heap, void **items, size_t *capacity, size_t wanted);

/* ---- arena.c: arenas and free pools ---- */

/* A pool without a class: one that has memory if there is one, from the fullest arena
 * or from a new one; NULL without memory. */
nv_pool *nv_pool_acquire(neve_heap *heap);
/* Gives an empty pool, in no list, back to its arena, and the arena's memory
 * to the OS where enough is kept already. */
void nv_pool_release(neve_heap *heap, nv_pool *pool);
/* Forgets, from time to time, how much the program used to swing. */
void nv_arena_tick(neve_heap *heap, uint64_t now_ns);
/* Gives back empty memory until at most `keep_bytes` of it are left. */
void nv_arena_purge(neve_heap *heap, size_t keep_bytes);

/* ---- pool.c: blocks ---- */

/* Descriptor number `number` of the arena at `base`. It lies in one of the
 * four quarters of place 0, by the arena's number: were it the same in all arenas,
 * all descriptors would compete for a few sets of the cache. */
static inline nv_pool *nv_pool_at(uintptr_t base, unsigned number)
{
    return (nv_pool *)base + (base >> NV_CHUNK_SHIFT) % 4 * NV_POOLS + number;
}
/* The descriptor of the pool in which `block` lies, an address in an arena. */
static inline nv_pool *nv_pool_of(const void *block)
{
    uintptr_t address = (uintptr_t)block;
    return (nv_pool *)(address & ~(uintptr_t)(NV_CHUNK_BYTES - 1)) +
           (address >> NV_POOL_SHIFT) % (4 * NV_POOLS);
}
_Static_assert(4 * NV_POOLS * sizeof(nv_pool) <= NV_POOL_BYTES, "the descriptors fit");
static inline unsigned nv_pool_number(const nv_pool *pool)
{
    return (unsigned)((uintptr_t)pool / sizeof(nv_pool)) & (NV_POOLS - 1);
}

/* Has the table say what the descriptor says, of a pool in use. */
void nv_kind_update(neve_heap *heap, const nv_pool *pool);

/* See chunk.c: nv_state_set where the chunk of the object is known. */
static inline void nv_state_set_in(neve_heap *heap, nv_chunk *chunk, const void *object,
                                   nv_state state)
{
    unsigned granule = nv_granule(object);
    uint64_t bit = nv_bit(granule);
    uint64_t *high = &chunk->high[granule / 64], *low = &chunk->low[granule / 64];
    /* Tables of a forked child are shared with its parent until written. */
    if (((state & 2) != 0) != ((*high & bit) != 0)) {
        *high ^= bit;
        heap->old_objects += (*high & bit) != 0 ? 1 : (size_t)-1;
    }
    if ((state & 1) != 0 && !chunk->has_low)
        chunk->has_low = true;
    if (chunk->has_low && ((state & 1) != 0) != ((*low & bit) != 0))
        *low ^= bit;
    if (state == NV_STATE_MIDDLE && !chunk->has_middle)
        chunk->has_middle = true;
    if (state != NV_STATE_YOUNG && chunk->is_arena) {
        nv_pool *pool = nv_pool_of(object);
        if ((pool->tag & NV_POOL_HAS_STATE) == 0) {
            pool->tag |= NV_POOL_HAS_STATE;
            nv_kind_update(heap, pool);
        }
    }
}

static inline size_t nv_pool_block_bytes(const nv_pool *pool)
{
    return (size_t)pool->size_class * NEVE_GRANULE;
}
/* Where the blocks of a pool in use begin. */
static inline char *nv_pool_base(const nv_pool *pool)
{
    uintptr_t base = (uintptr_t)pool & ~(uintptr_t)(NV_CHUNK_BYTES - 1);
    return (char *)base + ((size_t)nv_pool_number(pool) << NV_POOL_SHIFT);
}
/* Sets bit i for each carved block i of the pool that is not free. `bits` has
 * room for NV_POOL_BYTES / NEVE_GRANULE bits. */
#define NV_POOL_BITS_WORDS (NV_POOL_BYTES / NEVE_GRANULE / 64)
/* The words in use for a pool that has carved so many blocks. */
static inline unsigned nv_pool_bits_words(const nv_pool *pool)
{
    return (pool->carved + 63u) / 64u;
}
void nv_pool_live_blocks(const neve_heap *heap, const nv_pool *pool,
                         uint64_t bits[NV_POOL_BITS_WORDS]);
void nv_partial_push(neve_heap *heap, nv_pool *pool);
/* Puts a block that counts as live back into its pool, which is of this epoch. */
void nv_pool_take_home(neve_heap *heap, void *block);
/* From now on pools of objects are listed in neve_heap.touched. */
void nv_touched_begin(neve_heap *heap);
/* Takes the pool out of it. */
void nv_touched_remove(neve_heap *heap, nv_pool *pool);
/* ... where the caller has changed the list: no young objects lie here any more. */
void nv_touched_clear(neve_heap *heap, nv_pool *pool);

/* ---- cache.c: blocks at hand ---- */

/* The cache is empty and gets `count` blocks. */
void nv_cache_fill(neve_heap *heap, unsigned kind, void *first, unsigned count);
/* Frees a block for which the cache has no room. */
void nv_cache_spill(neve_heap *heap, unsigned kind, void *block);
/* All blocks of a domain's caches go back to their pools; of all domains. */
void nv_cache_flush_domain(neve_heap *heap, neve_domain domain);
void nv_cache_flush(neve_heap *heap);
/* From time to time. */
void nv_cache_tick(neve_heap *heap, uint64_t now_ns);
/* How many blocks of the pool are free though they count as used, in caches or as strays;
 * their bits in `bits` (may be NULL), one for each block, are cleared. */
unsigned nv_pool_cached_blocks(const neve_heap *heap, const nv_pool *pool,
                               uint64_t bits[NV_POOL_BITS_WORDS]);

/* ---- free_many.c ---- */

/* Frees `n` blocks of this heap's. Those of one pool should come together: a pool that
 * empties by that is given back without a look at its blocks. */
void nv_free_many(neve_heap *heap, void *const *blocks, size_t n);

/* ---- large.c: blocks over NEVE_SMALL_MAX ---- */

/* malloc, realloc and free. */
extern const neve_large_allocator nv_large_system;

void *nv_large_alloc(neve_heap *heap, neve_domain domain, size_t size);
void *nv_large_realloc(neve_heap *heap, neve_domain domain, void *block, size_t size);
nv_large *nv_large_find(const neve_heap *heap, const void *block);
void nv_large_free(neve_heap *heap, nv_large *entry);
/* What the caller may use of it: at least what was asked for. */
size_t nv_large_usable_size(const neve_heap *heap, const nv_large *entry);
/* In the child of a fork. */
void nv_large_inherit(neve_heap *heap);
/* Calls `visit` for the entry of each live block. */
void nv_large_each(const neve_heap *heap, void (*visit)(const nv_large *entry, void *arg),
                   void *arg);
/* Empties the list of young large objects, keeping the entries that `keep` says. */
void nv_large_take_young(neve_heap *heap, bool (*keep)(void *block, void *arg), void *arg);
void nv_large_destroy(neve_heap *heap);

/* Whether the pool is neither inherited nor of an earlier epoch: then its free memory is for
 * this process to use as it likes (invariant 8). */
static inline bool nv_pool_is_own(const neve_heap *heap, const nv_pool *pool)
{
    return ((pool->tag ^ heap->tag) & ~NV_POOL_HAS_STATE) == 0;
}

/* ---- fork.c: what the child of a fork inherits ---- */

static inline bool nv_pool_is_foreign_epoch(const neve_heap *heap, const nv_pool *pool)
{
    return ((pool->tag ^ heap->tag) & ~NV_POOL_FLAGS) != 0;
}
static inline bool nv_chunk_is_listed(const neve_heap *heap, const nv_chunk *chunk)
{
    return chunk->epoch == (heap->tag & ~NV_POOL_FLAGS);
}
/* Some thousand at most, by Shell's method: the C library's function may ask for memory. */
void nv_addresses_sort(uintptr_t *addresses, size_t count);
/* The first stray at `address` or behind it, as an index. */
size_t nv_stray_find(const neve_heap *heap, uintptr_t address);
/* Whether the block, of a pool that was not adopted yet, is one. */
static inline bool nv_is_stray(const neve_heap *heap, const void *block)
{
    size_t at = nv_stray_find(heap, (uintptr_t)block);
    return at < heap->stray_count && heap->strays[at] == (uintptr_t)block;
}
/* First free in a pool of an earlier epoch: holds its free blocks back. */
void nv_pool_adopt(neve_heap *heap, nv_pool *pool);
static inline bool nv_held_has(const nv_pool *pool, unsigned number)
{
    return pool->held != NULL && (pool->held[number / 64] >> (number % 64) & 1) != 0;
}
/* `block`, of a pool with held blocks, was freed by its count: the OS page is this
 * process's own, and the blocks that lie in it as a whole are free from now on. */
void nv_held_release_page(nv_pool *pool, const void *block);
/* The pool has become empty: nothing of it is held back. */
void nv_held_drop(neve_heap *heap, nv_pool *pool);
void nv_held_destroy(neve_heap *heap);
/* Frees a raw block without writing to it. */
void nv_inherited_free_raw(neve_heap *heap, nv_chunk *chunk, nv_pool *pool, void *block);
/* Whether nv_inherited_free_raw has noted the block as free. */
bool nv_inherited_is_noted(const nv_chunk *chunk, const nv_pool *pool, const void *block);
void nv_inherited_forget(nv_chunk *chunk, const nv_pool *pool);

/* ---- options.c ---- */

/* Reads a structure of options that begins with its size: what `given` states (NULL:
 * nothing) into `into`, of `size` bytes, zeros for the rest. NEVE_EINVAL. */
neve_status nv_options_read(void *into, size_t size, const void *given, const char *name,
                            char *message, size_t message_size);
/* Writes the message; returns NEVE_EINVAL. `message` may be NULL. */
neve_status nv_options_refuse(char *message, size_t size, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
neve_status nv_large_allocator_read(neve_large_allocator *into, const neve_large_allocator *given,
                                    char *message, size_t size);
neve_status nv_heap_options_read(neve_heap_options *into, const neve_heap_options *given,
                                 char *message, size_t size);

/* ---- shortage.c ---- */

/* Asks the program for memory, if it has a hook: whether to try again. `attempt`
 * counts from 1. */
bool nv_out_of_memory(neve_heap *heap, size_t bytes, unsigned attempt);
/* An allocation has failed: asks, and tries again for as long as that is wanted. */
void *nv_alloc_again(neve_heap *heap, neve_domain domain, size_t size);

/* ---- report.c ---- */

/* Calls the hook with the message, then aborts. */
void nv_corrupt(const neve_heap *heap, const char *message);

/* Whether this allocation is the one that is to fail. */
static inline bool nv_fails_now(neve_heap *heap)
{
#if NEVE_DEBUG >= 1
    return NEVE_UNLIKELY(heap->fail_in != 0) && --heap->fail_in == 0;
#else
    (void)heap;
    return false;
#endif
}

#endif
