/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a program for the oracle, which aborts when
 * the native heap and the model heap differ.
 */
#include "collect/oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)oracle_run("fuzzer's input", data, size);
    return 0;
}
