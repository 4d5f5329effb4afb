/* SPDX-License-Identifier: MIT */
/*
 * The instructions: X(NAME), what each does to the stack (before -> after, the top at the right),
 * and what its operands a and b are. The compiler emits them, interpret.c has a case for each.
 */
#ifndef VM_OPCODES_H
#define VM_OPCODES_H

/* clang-format off */
#define OPCODES(X)                                                                        \
    X(CONSTANT)      /*             -> value           a: number of the constant */       \
    X(INTEGER)       /*             -> integer         a: the integer */                  \
    X(PUSH_NIL)      /*             -> nil */                                             \
    X(PUSH_TRUE)     /*             -> true */                                            \
    X(PUSH_FALSE)    /*             -> false */                                           \
    X(POP)           /* value       -> */                                                 \
    X(GET_LOCAL)     /*             -> value           a: its slot in the frame */        \
    X(SET_LOCAL)     /* value       ->                 a: its slot */                     \
    X(GET_SHARED)    /*             -> value           a: a slot that may hold a cell */  \
    X(SET_SHARED)    /* value       ->                 a: likewise */                     \
    X(GET_CELL)      /*             -> value           a: number of the closure's cell */ \
    X(SET_CELL)      /* value       ->                 a: likewise */                     \
    X(GET_GLOBAL)    /*             -> value           a: constant, the name */           \
    X(SET_GLOBAL)    /* value       ->                 a: the name */                     \
    X(DEFINE_GLOBAL) /* value       ->                 a: the name */                     \
    X(GET_FIELD)     /* object      -> value           a: the name */                     \
    X(SET_FIELD)     /* object value ->                a: the name */                     \
    X(GET_ITEM)      /* object key  -> value */                                           \
    X(SET_ITEM)      /* object key value -> */                                            \
    X(MAKE_LIST)     /*             -> list */                                            \
    X(ADD_ITEM)      /* list value  -> list */                                            \
    X(MAKE_DICT)     /*             -> dict */                                            \
    X(ADD_PAIR)      /* dict key value -> dict */                                         \
    X(MAKE_CLOSURE)  /*             -> closure         a: constant, the code */           \
    X(MAKE_CLASS)    /*             -> class           a: the name */                     \
    X(ADD_METHOD)    /* class closure -> class         a: the name */                     \
    X(INHERIT)       /* class parent -> class */                                          \
    X(ADD_SLOT)      /* class       -> class           a: the name */                     \
    X(CALL)          /* callee arguments -> result     b: number of arguments */          \
    X(INVOKE)        /* object arguments -> result     a: the method's name, b: likewise */ \
    X(RETURN)        /* result -> (in the caller) result */                               \
    X(JUMP)          /*                                a: target */                       \
    X(JUMP_IF_FALSE) /* value       ->                 a: target */                       \
    X(AND)           /* value       -> value, if it jumps; a: target */                   \
    X(OR)            /* value       -> value, if it jumps; a: target */                   \
    X(LOOP)          /* backwards, with a safe point;  a: target */                       \
    X(FOR_NEXT)      /* all place   -> all place item, or jumps; a: target */             \
    X(TRY)           /*                                a: handler, b: of a `with` */      \
    X(END_TRY)                                                                            \
    X(THROW)         /* value       -> (in the handler) value */                          \
    X(RETHROW)       /* value       -> (in the handler) value, with its origin */         \
    X(NOT)           /* value       -> boolean */                                         \
    X(NEGATE)        /* number      -> number */                                          \
    X(ADD)           /* value value -> value, and so on; b: they are swapped */           \
    X(SUBTRACT)                                                                           \
    X(MULTIPLY)                                                                           \
    X(DIVIDE)                                                                             \
    X(QUOTIENT)                                                                           \
    X(REMAINDER)                                                                          \
    X(LESS)                                                                               \
    X(LESS_EQUAL)                                                                         \
    X(EQUAL)                                                                              \
    X(NOT_EQUAL)
/* clang-format on */

enum opcode {
#define OPCODE(name) OP_##name,
    OPCODES(OPCODE)
#undef OPCODE
};

#endif
