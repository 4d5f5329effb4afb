# SPDX-License-Identifier: MIT
"""The report that ``python -m neve --stats`` and ``--stats-json`` write when the program ends.

This file is responsible for the report's form, for writing the JSON file whole or not at all, and
for never changing how the program ends: a report that cannot be written costs one line on standard
error. Loaded only where a report was asked for, and before the program, whose files could hide
``json``.
"""

import json
import os
import sys

import neve

GENERATION_NAMES = ("young", "middle", "old")
MIB = 1024.0 * 1024.0


def peak_rss_bytes():
    """The largest resident set of this process so far; 0 where the system does not tell."""
    try:
        with open("/proc/self/status", "rb") as status:
            for line in status:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return 0


def gather():
    """All figures, as they are written to the JSON file; None after neve.uninstall()."""
    if not neve.is_installed():
        return None
    figures = {"neve": neve.__version__, "python": sys.version.split()[0]}
    figures.update(neve.stats())
    figures["process"] = {"pid": os.getpid(), "peak_rss_bytes": peak_rss_bytes()}
    return figures


def duration(ns):
    """A time for people, in seconds or milliseconds."""
    return f"{ns / 1e9:,.2f} s" if ns >= 10e9 else f"{ns / 1e6:,.2f} ms"


def size(count):
    """An amount of memory for people."""
    return f"{count / MIB:,.1f} MiB"


def cycle_lines(cycle):
    """What the cycles did, and what they could not split into slices."""
    running = ", one under way" if cycle["is_running"] else ""
    return [f"cycles      {cycle['cycles']:,} ended, {cycle['abandoned']:,} abandoned{running}; "
            f"{cycle['collected']:,} collected, largest group {cycle['largest_group']:,} "
            f"in {duration(cycle['largest_group_ns'])}",
            f"slices      {cycle['slices']:,}, of these {cycle['late_slices']:,} late, "
            f"longest {duration(cycle['longest_slice_ns'])}, in all {duration(cycle['time_ns'])}"]


def snapshot_line(snapshot):
    """What the children of the snapshot mode came to."""
    failures = [f"{snapshot[why]:,} {why}" for why in
                ("refused", "died", "late", "forked", "abandoned") if snapshot[why]]
    return (f"snapshots   {snapshot['begun']:,} begun, {snapshot['taken']:,} taken"
            + "".join(", " + failure for failure in failures)
            + f"; longest fork {duration(snapshot['longest_fork_ns'])}, "
              f"children {duration(snapshot['child_ns'])}")


def table(figures):
    """The report as text, lines that end with a newline."""
    collector, heap = figures["collector"], figures["heap"]
    rows = [("generation", "objects", "collections", "collected", "uncollectable", "time",
             "longest pause")]
    for name, generation in zip(GENERATION_NAMES, collector["generations"]):
        rows.append((name, f"{generation['objects']:,}", f"{generation['collections']:,}",
                     f"{generation['collected']:,}", f"{generation['uncollectable']:,}",
                     duration(generation["time_ns"]), duration(generation["longest_pause_ns"])))
    rows.append(("permanent", f"{collector['frozen']:,}", "", "", "", "", ""))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [f"Neve {figures['neve']} ({figures['mode']}) on Python {figures['python']}"]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    lines.append(f"pauses      p50 {duration(collector['pause_p50_ns'])}, "
                 f"p99 {duration(collector['pause_p99_ns'])}, "
                 f"longest {duration(collector['pause_max_ns'])}, "
                 f"in all {duration(collector['pause_total_ns'])}")
    if figures["mode"] != "generational":
        lines += cycle_lines(collector["cycle"])
    if figures["mode"] == "snapshot":
        lines.append(snapshot_line(collector["snapshot"]))
    if collector["failed"]:
        lines.append(f"given up    {collector['failed']:,} collections, for want of memory")
    lines.append(f"memory      heap in use {size(heap['small_bytes'])}, "
                 f"cached {size(heap['cached_bytes'])}, returned {size(heap['returned_bytes'])}, "
                 f"side tables {size(heap['side_table_bytes'])}, "
                 f"peak RSS {size(figures['process']['peak_rss_bytes'])}")
    return "\n".join(lines) + "\n"


def write_whole(path, text):
    """Replace the file at ``path`` by one that holds ``text``, or leave it as it was: OSError."""
    data = text.encode()
    if os.path.exists(path) and not os.path.isfile(path):
        try:
            sys.stdout.flush()  # it may be the same device
        except (AttributeError, OSError, ValueError):
            pass
        with open(path, "wb") as device:
            device.write(data)
        return
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def say(text):
    """Print to standard error, if the program has left us one."""
    for stream in (sys.__stderr__, sys.stderr):
        try:
            stream.write(text)
            stream.flush()
            return
        except (AttributeError, OSError, ValueError):  # None, full, closed
            continue


def write(pid, as_table, json_path):
    """The exit handler.  Silent in children of the process ``pid`` that the report is about."""
    if os.getpid() != pid:
        return
    figures = gather()
    if figures is None:
        say("neve: no statistics, the program has uninstalled Neve\n")
        return
    if json_path is not None:
        try:
            write_whole(json_path, json.dumps(figures, indent=2) + "\n")
        except OSError as error:
            say(f"neve: cannot write the statistics to {json_path!r}: {error.strerror}\n")
    if as_table:
        say(table(figures))
