# SPDX-License-Identifier: MIT
"""Thresholds: how much may be made before the next young collection.

A service: each request keeps a little and leaves a cycle behind. Higher thresholds collect less often
and let more garbage wait; without automatic collections all garbage in cycles stays.
"""

import gc
import sys

import measure


def serve(threshold):
    def work(size):
        gc.set_threshold(threshold)
        kept = []
        for i in range(size):
            one = [i]
            one.append([one])
            if i % 10 == 0:
                kept.append([i])
    return work


VARIANTS = {"700": serve(700), "10000": serve(10_000), "off": serve(0)}
SIZE = 500_000

if __name__ == "__main__":
    sys.exit(measure.main(VARIANTS))
