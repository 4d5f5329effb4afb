# SPDX-License-Identifier: MIT
"""The types of Neve's public functions; their documentation is in __init__.py."""

from typing import Literal, TypedDict

__version__: str

class GenerationStats(TypedDict):
    objects: int
    collections: int
    collected: int
    uncollectable: int
    time_ns: int
    longest_pause_ns: int

class CycleStats(TypedDict):
    cycles: int
    abandoned: int
    slices: int
    late_slices: int
    time_ns: int
    longest_slice_ns: int
    collected: int
    suspects: int
    false_suspects: int
    largest_group: int
    largest_group_ns: int
    is_running: bool

class TimerStats(TypedDict):
    is_running: bool
    slices: int

class CollectorStats(TypedDict):
    generations: list[GenerationStats]
    cycle: CycleStats
    timer: TimerStats
    frozen: int
    long_lived_total: int
    long_lived_pending: int
    failed: int
    pause_p50_ns: int
    pause_p99_ns: int
    pause_max_ns: int
    pause_total_ns: int

class HeapStats(TypedDict):
    serves: bool
    small_blocks: int
    small_bytes: int
    arenas: int
    arena_bytes: int
    pools_used: int
    pools_cached: int
    cached_bytes: int
    returned_bytes: int
    side_table_bytes: int
    malloc_bytes: int
    malloc_cached_bytes: int

class Stats(TypedDict):
    mode: str
    collector: CollectorStats
    heap: HeapStats

def install(
    mode: Literal["generational", "incremental"] | None = None,
    pause_us: int | None = None,
    timer_ms: int | None = None,
) -> None: ...
def uninstall() -> None: ...
def is_installed() -> bool: ...
def step(budget_us: int | None = None) -> bool: ...
def stats() -> Stats: ...
def freeze() -> None: ...
def unfreeze() -> None: ...
