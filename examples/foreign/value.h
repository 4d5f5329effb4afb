/* SPDX-License-Identifier: MIT */
/*
 * An object model that is not Neve's: values in one word, as small Lisps have them.
 *
 * A word is nil, a small integer (its lowest bit is set), or the address of a cell. A
 * cell has a header of 8 bytes with a count of 16 bits, a kind instead of a pointer to a
 * type, and words or characters behind it. Neve knows none of this; host.c tells it.
 *
 * Everything belongs to a machine, and a machine to one thread.
 */
#ifndef EXAMPLES_FOREIGN_VALUE_H
#define EXAMPLES_FOREIGN_VALUE_H

#include <neve.h>

typedef uintptr_t word;
#define NIL ((word)0)

typedef enum kind {
    KIND_TEXT,  /* characters; refers to nothing */
    KIND_TUPLE, /* words */
    KIND_GUARD, /* one word, and a function that is called at its end */
} kind;

typedef struct machine machine;
typedef struct cell cell;
typedef void (*end_function)(machine *m, cell *guard);

/* A count that has reached this stays there: the cell lives for ever. */
#define COUNT_STUCK UINT16_MAX

struct cell {
    uint16_t count;
    uint8_t kind;
    bool is_dying; /* its count reached 0: it is being taken apart */
    uint32_t length;
    union {
        word items[1]; /* `length` of them */
        char text[1];
        struct {
            word item;
            end_function on_end; /* NULL: it was called */
        } guard;
    } as;
};

struct machine {
    neve_heap *heap;
    neve_collector *collector;
    word globals; /* a tuple, or NIL: where the marking may begin */
    size_t cells; /* alive */
};

static inline word word_of_int(intptr_t number)
{
    return (word)number << 1 | 1;
}
static inline bool is_cell(word w)
{
    return w != NIL && (w & 1) == 0;
}
static inline cell *cell_of(word w)
{
    return (cell *)w;
}

/* The words that a cell holds, and how many. */
word *cell_words(cell *c, size_t *count);

/* New cells, with one reference; NIL without memory. The words of a tuple are NIL. */
word text_new(machine *m, const char *text);
word tuple_new(machine *m, uint32_t length);
word guard_new(machine *m, word item, end_function on_end);

word word_retain(word w);
void word_release(machine *m, word w);

/* Calls the end function of a guard, once in its life; whether there was one. */
bool guard_end(machine *m, cell *c);

/* host.c: a machine with its heap and collector; false without memory. */
bool machine_create(machine *m, neve_mode mode);
/* Collects what is garbage, then frees everything. */
void machine_destroy(machine *m);

#endif
