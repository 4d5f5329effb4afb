/* SPDX-License-Identifier: MIT */
/*
 * libFuzzer target: the input is a program for the oracle, which runs it in both
 * modes of the collector and aborts when the native heap and the model heap differ.
 */
#include "collect/oracle.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    (void)oracle_run("fuzzer's input, generational mode", NEVE_MODE_GENERATIONAL, data, size);
    (void)oracle_run("fuzzer's input, incremental mode", NEVE_MODE_INCREMENTAL, data, size);
    return 0;
}
