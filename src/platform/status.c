/* SPDX-License-Identifier: MIT */
/*
 * Names and messages of the status codes, from their one table, and the
 * version that the library was built as.
 */
#include "neve/base.h"

const char *neve_status_name(neve_status status)
{
    switch (status) {
#define NAME_CASE(name, number, message)                                                           \
    case NEVE_##name:                                                                              \
        return "NEVE_" #name;
        NEVE_STATUS_MAP(NAME_CASE)
#undef NAME_CASE
    }
    return "NEVE_UNKNOWN";
}

const char *neve_status_message(neve_status status)
{
    switch (status) {
#define MESSAGE_CASE(name, number, message)                                                        \
    case NEVE_##name:                                                                              \
        return message;
        NEVE_STATUS_MAP(MESSAGE_CASE)
#undef MESSAGE_CASE
    }
    return "unknown status";
}

const char *neve_version(void)
{
    return NEVE_VERSION;
}
