/* SPDX-License-Identifier: MIT */
/*
 * Operators and items: what an instruction does to values, apart from the stack.
 *
 * Integers do not wrap: what leaves the immediate range is an error. Nothing here runs code of
 * the program but by releasing what an item replaced, which is done last.
 */
#include "vm.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- operators ---- */

static value throw_operands(vm *m, int op, value a, value b)
{
    static const char *const words[] = {
        [OP_ADD] = "+",         [OP_SUBTRACT] = "-",         [OP_MULTIPLY] = "*",
        [OP_DIVIDE] = "/",      [OP_QUOTIENT] = "//",        [OP_REMAINDER] = "%%",
        [OP_LESS] = "compared", [OP_LESS_EQUAL] = "compared"};
    if (op == OP_LESS || op == OP_LESS_EQUAL)
        vm_throw(m, "%s and %s cannot be compared", type_name(a), type_name(b));
    else
        vm_throw(m, "%s and %s have no %.1s%s", type_name(a), type_name(b), words[op],
                 op == OP_QUOTIENT ? "/" : "");
    return NO_VALUE;
}

static value on_integers(vm *m, int op, intptr_t a, intptr_t b)
{
    intptr_t is = 0;
    bool overflows = false;
    if (b == 0 && (op == OP_QUOTIENT || op == OP_REMAINDER)) {
        vm_throw(m, "division by zero");
        return NO_VALUE;
    }
    switch (op) {
    case OP_ADD:
        is = a + b; /* two words of one bit less cannot overflow */
        break;
    case OP_SUBTRACT:
        is = a - b;
        break;
    case OP_MULTIPLY:
        overflows = __builtin_mul_overflow(a, b, &is);
        break;
    case OP_QUOTIENT: /* towards minus infinity, and the remainder has the divisor's sign */
        is = a / b - (a % b != 0 && (a % b < 0) != (b < 0));
        break;
    default:
        is = a % b;
        if (is != 0 && (is < 0) != (b < 0))
            is += b;
    }
    if (overflows || is > INT_MAX_VALUE || is < INT_MIN_VALUE) {
        vm_throw(m, "an integer is too large");
        return NO_VALUE;
    }
    return from_int(is);
}

static value on_numbers(vm *m, int op, double a, double b)
{
    if (b == 0 && op >= OP_DIVIDE && op <= OP_REMAINDER) {
        vm_throw(m, "division by zero");
        return NO_VALUE;
    }
    double is;
    switch (op) {
    case OP_ADD:
        is = a + b;
        break;
    case OP_SUBTRACT:
        is = a - b;
        break;
    case OP_MULTIPLY:
        is = a * b;
        break;
    case OP_DIVIDE:
        is = a / b;
        break;
    case OP_QUOTIENT:
        is = floor(a / b);
        break;
    default:
        is = a - b * floor(a / b);
    }
    return from_object(number_new(m, is));
}

static bool number_of(value v, double *is)
{
    if (is_int(v))
        *is = (double)int_of(v);
    else if (is_a(v, &number_type))
        *is = ((number *)object_of(v))->is;
    else
        return false;
    return true;
}

value operate(vm *m, int op, value a, value b)
{
    double x, y;
    if (op == OP_EQUAL || op == OP_NOT_EQUAL) {
        bool equal = number_of(a, &x) && number_of(b, &y) && is_int(a) != is_int(b)
                         ? x == y
                         : value_equal(a, b);
        return from_bool(equal == (op == OP_EQUAL));
    }
    if (op == OP_LESS || op == OP_LESS_EQUAL) {
        if (is_int(a) && is_int(b))
            return from_bool(op == OP_LESS ? int_of(a) < int_of(b) : int_of(a) <= int_of(b));
        if (number_of(a, &x) && number_of(b, &y))
            return from_bool(op == OP_LESS ? x < y : x <= y);
        if (!is_a(a, &string_type) || !is_a(b, &string_type))
            return throw_operands(m, op, a, b);
        int order = strcmp(((string *)object_of(a))->text, ((string *)object_of(b))->text);
        return from_bool(op == OP_LESS ? order < 0 : order <= 0);
    }
    if (is_int(a) && is_int(b) && op != OP_DIVIDE)
        return on_integers(m, op, int_of(a), int_of(b));
    if (number_of(a, &x) && number_of(b, &y))
        return on_numbers(m, op, x, y);
    if (op == OP_ADD && is_a(a, &string_type) && is_a(b, &string_type))
        return from_object(string_join(m, (string *)object_of(a), (string *)object_of(b)));
    return throw_operands(m, op, a, b);
}

/* ---- items ---- */

/* How many items a sequence has; false: it is none. */
static bool count_of(value object, size_t *count)
{
    if (is_a(object, &list_type))
        *count = ((list *)object_of(object))->count;
    else if (is_a(object, &array_type))
        *count = ((array *)object_of(object))->count;
    else if (is_a(object, &string_type))
        *count = string_length((string *)object_of(object));
    else
        return false;
    return true;
}

/* The item number `i`, which is there; new, or NO_VALUE: thrown. */
static value item_at(vm *m, value object, size_t i)
{
    if (is_a(object, &list_type))
        return retain(((list *)object_of(object))->items[i]);
    if (is_a(object, &array_type))
        return array_get(m, (array *)object_of(object), i);
    return from_object(string_new(m, &((string *)object_of(object))->text[i], 1));
}

static bool check_index(vm *m, value object, value key, size_t *i)
{
    size_t count;
    if (!count_of(object, &count))
        return vm_throw(m, "%s has no items", type_name(object));
    if (!is_int(key))
        return vm_throw(m, "an index is an integer, not %s", type_name(key));
    if (int_of(key) < 0 || (size_t)int_of(key) >= count)
        return vm_throw(m, "index %" PRIdPTR " is outside of the %zu items", int_of(key), count);
    *i = (size_t)int_of(key);
    return true;
}

value item_get(vm *m, value object, value key)
{
    if (is_a(object, &dict_type)) {
        value found = dict_get((dict *)object_of(object), key);
        if (found != NO_VALUE)
            return retain(found);
        string *text = value_text(m, key, true);
        if (text != NULL)
            vm_throw(m, "the dict has no key %.100s", text->text);
        release(m, from_object(text));
        return NO_VALUE;
    }
    size_t i;
    return check_index(m, object, key, &i) ? item_at(m, object, i) : NO_VALUE;
}

bool item_set(vm *m, value object, value key, value item)
{
    if (is_a(object, &dict_type))
        return dict_set(m, (dict *)object_of(object), key, item);
    size_t i;
    if (!check_index(m, object, key, &i))
        return false;
    if (is_a(object, &array_type))
        return array_set(m, (array *)object_of(object), i, item);
    if (!is_a(object, &list_type))
        return vm_throw(m, "an item of %s cannot be set", type_name(object));
    assign(m, &((list *)object_of(object))->items[i], retain(item));
    return true;
}

bool item_next(vm *m, value object, size_t *i, value *item)
{
    size_t count;
    *item = NO_VALUE;
    if (is_int(object)) { /* `for i in 10` counts, and makes nothing */
        if (int_of(object) > 0 && *i < (size_t)int_of(object))
            *item = from_int((intptr_t)(*i)++);
        return true;
    }
    if (is_a(object, &dict_type)) {
        const dict *d = (dict *)object_of(object);
        while (*i < d->used && d->entries[*i].key == NO_VALUE)
            (*i)++;
        if (*i < d->used)
            *item = retain(d->entries[(*i)++].key);
        return true;
    }
    if (!count_of(object, &count))
        return vm_throw(m, "for cannot go through %s", type_name(object));
    if (*i >= count)
        return true;
    *item = item_at(m, object, (*i)++);
    return *item != NO_VALUE;
}
