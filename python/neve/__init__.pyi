# SPDX-License-Identifier: MIT
"""The types of Neve's public functions; their documentation is in __init__.py."""

from collections.abc import Iterable
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

class SnapshotStats(TypedDict):
    begun: int
    taken: int
    refused: int
    died: int
    late: int
    forked: int
    abandoned: int
    fork_ns: int
    longest_fork_ns: int
    child_ns: int

class TimerStats(TypedDict):
    is_running: bool
    slices: int

class CollectorStats(TypedDict):
    generations: list[GenerationStats]
    cycle: CycleStats
    snapshot: SnapshotStats
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

class PreforkStats(TypedDict):
    runs: int
    skipped: int
    immortal: int
    mortal: int

class Stats(TypedDict):
    mode: str
    collector: CollectorStats
    heap: HeapStats
    prefork: PreforkStats

class FreezeReport(TypedDict):
    frozen: int
    immortal: int
    mortal: dict[str, int]
    writes_counts: bool

class PreforkReport(FreezeReport):
    is_new: bool

class CowProcess(TypedDict):
    rss: int
    pss: int
    shared_clean: int
    shared_dirty: int
    private_clean: int
    private_dirty: int
    swap: int

class CowStates(TypedDict):
    shared: int
    clean: int
    dirty: int
    swapped: int

class CowCause(TypedDict):
    pages: int
    pages_with: int
    bytes: int

class CowArea(TypedDict):
    pages: CowStates
    causes: dict[str, CowCause]

class CowType(TypedDict):
    name: str
    pages: int
    pages_alone: int
    pages_same: int
    changed: int
    count_only: int
    allocated: int
    freed: int
    bytes: dict[str, int]

class CowMapping(TypedDict):
    start: int
    end: int
    name: str
    writable: bool
    pages: CowStates

class _CowPage(TypedDict):
    address: int
    state: Literal["shared", "clean", "dirty", "swapped"]
    area: str
    causes: list[str]

class CowPage(_CowPage, total=False):
    type: str

class _CowReport(TypedDict):
    pid: int
    basis: Literal["none", "parent", "reference"]
    basis_pid: int
    has_heap: bool
    remark: str
    page_bytes: int
    process: CowProcess
    pages: CowStates
    causes: dict[str, CowCause]
    areas: dict[str, CowArea]
    types: list[CowType]
    mappings: list[CowMapping]

class CowReport(_CowReport, total=False):
    page_list: list[CowPage]

def install(
    mode: Literal["generational", "incremental", "snapshot"] | None = None,
    pause_us: int | None = None,
    timer_ms: int | None = None,
) -> None: ...
def uninstall() -> None: ...
def is_installed() -> bool: ...
def step(budget_us: int | None = None) -> bool: ...
def stats() -> Stats: ...
def freeze(
    immortal: bool = False, finalize_at_exit: Iterable[type] = ()
) -> FreezeReport: ...
def unfreeze() -> None: ...
def refreeze() -> FreezeReport: ...
def prefork(finalize_at_exit: Iterable[type] = ()) -> PreforkReport: ...
def cow_reference(keep: bool = True) -> int: ...
def cow_report(
    pid: int | None = None, against: int | None = None, pages: bool = False
) -> CowReport: ...
