/* SPDX-License-Identifier: MIT */
/*
 * A C program against the installed library: see program.h.
 */
#include "program.h"

int main(void)
{
    return run_program("C");
}
