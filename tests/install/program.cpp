// SPDX-License-Identifier: MIT
//
// The same program as C++, which the public headers have to be as well: see program.h.
#include "program.h"

int main()
{
    return run_program("C++");
}
