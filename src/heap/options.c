/* SPDX-License-Identifier: MIT */
/*
 * Options of a heap: what a caller states of them, their defaults, and what is wrong
 * with them.
 *
 * Structures of options grow at their ends, and state their size: a caller that was
 * compiled with older headers has fewer fields, and those that he lacks are zero, which
 * stands for the default everywhere.
 */
#include "heap_internal.h"

#include <stdarg.h>
#include <stdio.h>

neve_status nv_options_refuse(char *message, size_t size, const char *format, ...)
{
    if (message != NULL && size > 0) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(message, size, format, arguments);
        va_end(arguments);
    }
    return NEVE_EINVAL;
}

neve_status nv_options_read(void *into, size_t size, const void *given, const char *name,
                            char *message, size_t message_size)
{
    memset(into, 0, size);
    memcpy(into, &size, sizeof size);
    if (given == NULL)
        return NEVE_OK;
    size_t stated;
    memcpy(&stated, given, sizeof stated);
    if (stated < sizeof stated)
        return nv_options_refuse(message, message_size,
                                 "%s.struct_size is %zu: set it to sizeof(%s)", name, stated, name);
    if (stated > size)
        return nv_options_refuse(message, message_size,
                                 "%s.struct_size is %zu, and this library knows %zu bytes of it: "
                                 "it is older than the headers of the program",
                                 name, stated, size);
    memcpy(into, given, stated);
    return NEVE_OK;
}

neve_status nv_large_allocator_read(neve_large_allocator *into, const neve_large_allocator *given,
                                    char *message, size_t size)
{
    neve_status status =
        nv_options_read(into, sizeof *into, given, "neve_large_allocator", message, size);
    if (status != NEVE_OK)
        return status;
    if (into->malloc == NULL || into->realloc == NULL || into->free == NULL)
        return nv_options_refuse(message, size,
                                 "large lacks its function %s: an allocator for large blocks has "
                                 "all three",
                                 into->malloc == NULL    ? "malloc"
                                 : into->realloc == NULL ? "realloc"
                                                         : "free");
    return NEVE_OK;
}

neve_status nv_heap_options_read(neve_heap_options *into, const neve_heap_options *given,
                                 char *message, size_t size)
{
    neve_status status =
        nv_options_read(into, sizeof *into, given, "neve_heap_options", message, size);
    if (status != NEVE_OK)
        return status;
    if ((into->object_starts & ~0xfu) != 0)
        return nv_options_refuse(message, size,
                                 "object_starts is 0x%x: an object begins at most 3 granules into "
                                 "its block, bits 0 to 3",
                                 into->object_starts);
    neve_large_allocator large;
    return into->large == NULL ? NEVE_OK
                               : nv_large_allocator_read(&large, into->large, message, size);
}

neve_status neve_heap_options_check(const neve_heap_options *options, char *message,
                                    size_t message_size)
{
    neve_heap_options read;
    return nv_heap_options_read(&read, options, message, message_size);
}
