/* SPDX-License-Identifier: MIT */
/*
 * Options of a collector: what a caller states of them, and what is wrong with them.
 */
#include "collect_internal.h"

neve_status nv_collector_options_read(neve_collector_options *into,
                                      const neve_collector_options *given, char *message,
                                      size_t size)
{
    neve_status status =
        nv_options_read(into, sizeof *into, given, "neve_collector_options", message, size);
    if (status != NEVE_OK)
        return status;
    if ((unsigned)into->mode > NEVE_MODE_SNAPSHOT)
        return nv_options_refuse(message, size, "mode is %d: there are the modes 0 to %d",
                                 (int)into->mode, (int)NEVE_MODE_SNAPSHOT);
    if (into->pause_us > NEVE_MAX_PAUSE_US)
        return nv_options_refuse(message, size, "pause_us is %lu: at most %lu, a minute",
                                 (unsigned long)into->pause_us, (unsigned long)NEVE_MAX_PAUSE_US);
    if ((uintptr_t)into->breaker % _Alignof(neve_eval_breaker) != 0)
        return nv_options_refuse(message, size, "breaker is not aligned: it is an atomic word");
    return NEVE_OK;
}

neve_status neve_collector_options_check(const neve_collector_options *options, char *message,
                                         size_t message_size)
{
    neve_collector_options read;
    return nv_collector_options_read(&read, options, message, message_size);
}
