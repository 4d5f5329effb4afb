# SPDX-License-Identifier: MIT
"""bench/python/bench_pauses.py: the driver at toy sizes on stock, its pictures, and how it judges."""

import json
import math
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[2] / "bench" / "python"
sys.path.insert(0, str(BENCH))

import bench_pauses  # noqa: E402
import pause_recorder  # noqa: E402
import pictures  # noqa: E402

SVG = "{http://www.w3.org/2000/svg}"
TOY = ["--quick", "--runs", "1", "--configurations", "stock", "--sizes", "2000", "--least-lists", "100000",
       "--server-heap", "2000", "--server-seconds", "0.5", "--linked-objects", "60000", "--ring-heap", "2000",
       "--ring-objects", "3000", "--rings", "5", "--churn-heap", "2000", "--churn-rings", "3000", "--aged", "1000",
       "--created", "20000,40000", "--garbage-heap", "2000", "--garbage-pairs", "5000"]


def run(*words):
    return subprocess.run([sys.executable, "-B", str(BENCH / "bench_pauses.py"), *map(str, words)],
                          capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """One run of all rows that need no other packages: the folder of its pictures, what it said and its JSON."""
    folder = tmp_path_factory.mktemp("pauses")
    done = run(*TOY, "--only", "heap,server,linked,rings,churn,created,garbage", "--pictures", folder / "pictures",
               "--json", folder / "all.json")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return folder / "pictures", done.stdout, json.loads((folder / "all.json").read_text())


def only_report(document, case):
    (report,) = document["results"][case]["stock"]
    return report


class Picture:
    """A chart read back from its file: values by the ticks that are printed on its axes."""

    def __init__(self, path, x_is_log, y_is_log):
        self.root = ElementTree.parse(path).getroot()
        assert self.root.tag == SVG + "svg"
        self.texts = [element.text for element in self.root.iter(SVG + "text")]
        self.x = self.scale("x-tick", "x", x_is_log)
        self.y = self.scale("y-tick", "y", y_is_log)

    def scale(self, name, attribute, is_log):
        ticks = [(float(element.get(attribute)), float(element.text.replace(",", "")))
                 for element in self.root.iter(SVG + "text") if element.get("class") == name]
        assert len(ticks) >= 2
        (first, low), (last, high) = ticks[0], ticks[-1]

        def value(place):
            share = (place - first) / (last - first)
            return low * (high / low) ** share if is_log else low + (high - low) * share
        for place, printed in ticks:
            assert value(place) == pytest.approx(printed, rel=1e-3)
        return value

    def series(self, name):
        (group,) = [group for group in self.root.iter(SVG + "g") if group.get("data-name") == name]
        dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in group.iter(SVG + "circle")]
        for line in group.iter(SVG + "polyline"):
            dots += [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        return [(self.x(x), self.y(y)) for x, y in dots]


# --- the driver --------------------------------------------------------------------------------------------


def test_each_row_counts_what_its_program_did(toy):
    _, said, document = toy
    cases = document["results"]
    assert list(cases) == [
        "heap of 2,000, memory", "heap of 2,000, shuffled", "server over 2,000", "linked lists, 60,000",
        "rings of 3,000", "churn, young", "churn, aged", "churn, linked", "created, 20,000", "created, 40,000",
        "garbage beside 2,000"]
    assert all(case in said for case in cases)
    heap = only_report(document, "heap of 2,000, memory")
    # 100,000 lists over thresholds of at most 2,000, 10, 10; the control had its collector off.
    assert heap["pauses"] == sum(heap["collections"]) >= 100_000 // 2_000 and heap["pause_max_ms"] > 0
    assert heap["control"]["pauses"] == 0 and heap["control"]["collector_s"] == 0
    assert heap["statistics"] is None
    server = only_report(document, "server over 2,000")
    assert server["requests"] == 100 and min(server["samples"]["latencies"][1]) > 0
    assert server["latency_p50_ms"] <= server["latency_p99_ms"] <= server["latency_max_ms"]
    assert only_report(document, "linked lists, 60,000")["made"] == 70_000
    garbage = only_report(document, "garbage beside 2,000")
    assert garbage["threshold"] <= garbage["garbage"] <= 3 * garbage["threshold"]
    # Of five rings three are held; the others wait for a full collection, which a run so short has none of.
    rings = only_report(document, "rings of 3,000")
    assert rings["garbage"] == 6_000 if not rings["collections"][2] else rings["garbage"] <= 6_000


def test_every_case_has_its_pictures(toy):
    folder, _, document = toy
    assert len(list(folder.iterdir())) == 3 * len(document["results"])
    for path in folder.iterdir():
        root = ElementTree.parse(path).getroot()
        assert [group.get("data-name") for group in root.iter(SVG + "g")] == ["stock"]


def test_pictures_show_the_numbers_that_were_measured(toy):
    folder, _, document = toy
    report = only_report(document, "heap of 2,000, shuffled")
    times_us, gaps_us = report["samples"]["gaps"]
    assert gaps_us, "a full collection of this heap takes milliseconds"
    largest_ms = max(gaps_us) / 1000
    stem = folder / "heap-of-2000-shuffled"
    pauses = Picture(f"{stem}-pauses.svg", False, True)
    assert "gap in the program's loop, ms" in pauses.texts and "time, s" in pauses.texts
    dots = pauses.series("stock")
    assert len(dots) == len(gaps_us)
    place, highest = max(dots, key=lambda dot: dot[1])
    assert highest == pytest.approx(largest_ms, rel=0.02)
    assert place == pytest.approx(times_us[gaps_us.index(max(gaps_us))] / 1e6, rel=0.02)
    steps = Picture(f"{stem}-distribution.svg", True, True).series("stock")
    assert steps[-1] == pytest.approx((largest_ms, gaps_us.count(max(gaps_us))), rel=0.02)
    assert max(count for _, count in steps) == pytest.approx(len(gaps_us), rel=0.02)
    memory = Picture(f"{stem}-memory.svg", False, False).series("stock")
    assert max(value for _, value in memory) == pytest.approx(max(report["samples"]["memory"][1]), rel=0.02)


def test_a_row_that_fails_says_why_and_stops_no_other(tmp_path):
    done = run(*TOY, "--only", "sphinx,garbage", "--manual", tmp_path, "--pictures", tmp_path / "pictures")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "sphinx, 5 pages, stock" in line and "installs Python's manual" in line
    assert "garbage beside 2,000" in done.stdout


@pytest.mark.parametrize("words", [
    ["--only", "nothing"], ["--configurations", "pypy"], ["--sizes", "1,0"], ["--pages", "101"],
    ["--server-rate", "nan"], ["--pictures", "/dev/null/pictures"]])
def test_a_wrong_command_line_is_one_line(words):
    done = run(*words)
    assert done.returncode == 2 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert words[0] in line or words[1] in line


# --- judging -----------------------------------------------------------------------------------------------


def judged(row, case, neve, stock, configuration="incremental"):
    checks = bench_pauses.judge_row(row, {case: {"stock": stock, configuration: neve}}, {})
    return {check["target"]: check["met"] for check in checks}


def test_heap_is_judged_by_every_target():
    stock = {"collector_s": 4.0, "peak_mb": 100.0}
    good = {"pause_max_ms": 0.9, "stat_slice_max_ms": 0.9, "over_control_ms": 0.9, "pause_p99_ms": 0.5,
            "collector_s": 2.0, "peak_mb": 105.0, "whole": 2}
    assert len(judged("heap", "x", good, stock)) == 7 and all(judged("heap", "x", good, stock).values())
    for figure, bad in (("pause_max_ms", 1.1), ("stat_slice_max_ms", 1.1), ("over_control_ms", 1.1),
                        ("pause_p99_ms", 0.61), ("collector_s", 2.1), ("peak_mb", 106.0), ("whole", 1)):
        assert list(judged("heap", "x", dict(good, **{figure: bad}), stock).values()).count(False) == 1, figure


def test_aged_rings_must_be_five_times_as_fast_and_others_as_fast():
    neve = {"rings_per_s": 300.0, "pause_max_ms": 0.5}
    for case, factor in (("churn, young", 1), ("churn, aged", 5), ("churn, linked", 1)):
        assert all(judged("churn", case, neve, {"rings_per_s": 300.0 / factor}).values())
        assert not all(judged("churn", case, neve, {"rings_per_s": 301.0 / factor}).values())


def test_sphinx_may_pause_for_its_largest_group_and_must_answer_the_same():
    stock = {"collector_s": 19.0, "wall_s": 36.0, "peak_mb": 200.0, "digests": ["a"]}
    neve = {"collector_s": 4.0, "wall_s": 20.0, "peak_mb": 200.0, "digests": ["a"], "pause_max_ms": 7.0,
            "stat_largest_group": 200_000}
    assert all(judged("sphinx", "x", neve, stock).values())
    assert not judged("sphinx", "x", dict(neve, stat_largest_group=None), stock)["longest pause, CPU ms"]
    assert not judged("sphinx", "x", dict(neve, digests=["b"]), stock)["different outputs"]


def test_growth_is_told_linear_or_quadratic():
    sizes = [1_000_000, 2_000_000, 4_000_000, 8_000_000]
    assert bench_pauses.growth_exponent([(n, n * 3e-7) for n in sizes]) == pytest.approx(1)
    assert bench_pauses.growth_exponent([(n, n * n * 1e-13) for n in sizes]) == pytest.approx(2)
    figures = {f"created, {n}": {"incremental": {"collector_s": n * n * 1e-13}} for n in sizes}
    parameters = {f"created, {n}": {"objects": n} for n in sizes}
    assert [check["met"] for check in bench_pauses.judge_row("created", figures, parameters)] == [False]


def test_what_is_over_the_control_is_compared_run_by_run():
    runs = [{"gap_ms": gap, "collections": [9, 1, cycles], "statistics": None, "control": {"gap_ms": control}}
            for gap, control, cycles in ((5.0, 4.5, 2), (9.0, 8.0, 3), (1.0, 1.5, 4))]
    row = bench_pauses.figures_of(runs)
    assert (row["gap_ms"], row["control_gap_ms"], row["over_control_ms"], row["whole"]) == (5.0, 4.5, 0.5, 3)


# --- the recorder ------------------------------------------------------------------------------------------


def test_ticker_keeps_long_gaps_and_not_its_own_reading_of_memory(monkeypatch):
    now = [1_000_000_000]
    monkeypatch.setattr(pause_recorder.time, "perf_counter_ns", lambda: now[0])
    recorder = pause_recorder.Recorder()
    recorder.zero_ns = now[0]
    recorder.next_memory_ns = now[0] + 10_000_000
    read = recorder.sample_memory

    def slow_read(at_ns):
        read(at_ns)
        now[0] += 20_000_000
    monkeypatch.setattr(recorder, "sample_memory", slow_read)
    tick = recorder.make_ticker()
    for step_ns in (20_000, 5_000_000, 90_000, 6_000_000, 30_000):
        now[0] += step_ns
        tick()
    assert list(recorder.gap_ns) == [5_000_000, 6_000_000]
    assert list(recorder.gap_at) == [5_020_000, 11_110_000]
    assert recorder.longest_gap_ns == 6_000_000 and len(recorder.memory_at) == 1


def test_percentile_is_the_nearest_rank():
    values = list(range(1, 1001))
    assert [pause_recorder.percentile(values, share) for share in (0.5, 0.99, 0.999, 1)] == [500, 990, 999, 1000]
    assert pause_recorder.percentile([], 0.99) == 0 and pause_recorder.percentile([7], 0.01) == 7


# --- pictures ----------------------------------------------------------------------------------------------


def test_chart_is_read_back_as_it_was_given(tmp_path):
    points = [(0.5, 0.2), (3.0, 40.0), (9.75, 999.0)]
    chart = pictures.Chart("a < b & \"c\"", pictures.Axis("time", "s"), pictures.Axis("pause", "ms", is_log=True))
    chart.add("one & two", points, "dots")
    chart.add("none", [(1.0, 0.0)], "line")
    chart.write(tmp_path / "chart.svg")
    picture = Picture(tmp_path / "chart.svg", False, True)
    assert picture.texts[0] == 'a < b & "c"' and "one & two" in picture.texts and "pause, ms" in picture.texts
    for (x, y), drawn in zip(points, picture.series("one & two"), strict=True):
        assert drawn == (pytest.approx(x, abs=0.01), pytest.approx(y, rel=0.01))
    assert not picture.series("none")
    with pytest.raises(ValueError):
        chart.add("x", points, "bars")


@pytest.mark.parametrize("values", [[], [5], [0, 0], [1e-3, 1], [3, 3.1], [1, 123456], [0.2, 0.9999999], [10, 100]])
@pytest.mark.parametrize("is_log", [False, True])
def test_axis_holds_its_values_between_its_ends(values, is_log):
    axis = pictures.Axis("x", is_log=is_log)
    axis.fit(values)
    assert axis.low < axis.high and 2 <= len(axis.ticks) <= 12
    assert all(-1e-6 <= axis.place(value) <= 1 + 1e-6 for value in values if axis.has(value))
    assert axis.place(axis.low) == pytest.approx(0) and axis.place(axis.high) == pytest.approx(1)


def test_distribution_counts_and_thinning_keeps_the_tail():
    assert pictures.counts_at_least([5, 1, 5, 2]) == [(1, 4), (2, 3), (5, 2)]
    dots = [(number / 1000, math.sin(number) ** 2) for number in range(100_000)] + [(50.0005, 77.0)]
    kept = pictures.thin_dots(dots, slots=50, per_slot=3)
    assert len(kept) <= 3 * 51 and (50.0005, 77.0) in kept and kept == sorted(kept)
    steps = pictures.counts_at_least([1 + number / 1000 for number in range(50_000)])
    thinned = pictures.thin_steps(steps)
    assert thinned[0] == steps[0] and thinned[-1] == steps[-1] and len(thinned) < 1000
    assert set(thinned) <= set(steps)
