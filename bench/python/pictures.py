# SPDX-License-Identifier: MIT
"""Pictures of measurements: fields with a title, axes with ticks and units, a legend, as SVG; no library is needed.

A chart is built from series of points and written at once:

    chart = Chart("pauses", Axis("time", "s"), Axis("pause", "ms", is_log=True))
    chart.add("stock", [(0.5, 12.0), (1.5, 300.0)], style="dots")
    chart.write(path)

Whoever draws many points thins them first (thin_dots, thin_steps): the largest of a neighbourhood always stay.
"""

import math
from xml.sax.saxutils import escape, quoteattr

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 78, 20, 44, 58
# Distinct for most eyes, on white; the first is stock's.
COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
STYLES = ("dots", "line", "steps")


class Axis:
    """Maps values to 0..1. The range is that of the values, widened to what has a round number at its ends."""

    def __init__(self, name, unit="", is_log=False):
        self.label = f"{name}, {unit}" if unit else name
        self.is_log = is_log
        self.low = self.high = None
        self.ticks = []

    def fit(self, values):
        """Sets range and ticks; on a logarithmic axis there is no place for values that are not positive."""
        values = [value for value in values if value > 0 or not self.is_log]
        low, high = (min(values), max(values)) if values else (1, 10)
        if self.is_log:
            first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
            last = max(last, first + 1)
            self.low, self.high = 10.0 ** first, 10.0 ** last
            self.ticks = [10.0 ** exponent for exponent in range(first, last + 1)]
            return
        low = min(low, 0)
        high = high if high > low else low + 1
        step = 10.0 ** math.floor(math.log10((high - low) / 4))
        step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 8)
        self.low, self.high = math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step
        self.ticks = [self.low + step * index for index in range(round((self.high - self.low) / step) + 1)]

    def has(self, value):
        return value > 0 or not self.is_log

    def place(self, value):
        if self.is_log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def minor_ticks(self):
        if not self.is_log or len(self.ticks) > 6:
            return []
        return [tick * factor for tick in self.ticks[:-1] for factor in range(2, 10)]


def tick_text(value):
    """12000 as 12,000 and 0.001 as 0.001: never a power, for people read them."""
    return f"{value:,.0f}" if abs(value) >= 1 and abs(value - round(value)) < 1e-6 else f"{value:.6g}"


class Chart:
    """One field with its series."""

    def __init__(self, title, x, y):
        self.title, self.x, self.y = title, x, y
        self.series = []

    def add(self, name, points, style="line"):
        """Points are (x, y); those that have no place on a logarithmic axis are left out."""
        if style not in STYLES:
            raise ValueError(f"style {style!r} is none of {', '.join(STYLES)}")
        self.series.append((name, [point for point in points if self.x.has(point[0]) and self.y.has(point[1])], style))

    def place(self, point):
        """Where a point is drawn."""
        return (LEFT + self.x.place(point[0]) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - self.y.place(point[1]) * (HEIGHT - TOP - BOTTOM))

    def svg(self):
        self.x.fit([point[0] for _, points, _ in self.series for point in points])
        self.y.fit([point[1] for _, points, _ in self.series for point in points])
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
                 f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
                 f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
                 f'<text x="{LEFT}" y="18" font-size="15">{escape(self.title)}</text>']
        parts += self.draw_axes()
        for index, (name, points, style) in enumerate(self.series):
            parts.append(self.draw_series(name, points, style, COLOURS[index % len(COLOURS)]))
        parts += self.draw_legend()
        parts.append("</svg>")
        return "\n".join(parts) + "\n"

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.svg())

    def draw_axes(self):
        left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM
        parts = []
        for minor, colour in ((True, "#f2f2f2"), (False, "#dddddd")):
            for tick in self.x.minor_ticks() if minor else self.x.ticks:
                at = left + self.x.place(tick) * (right - left)
                parts.append(f'<line x1="{at:.2f}" x2="{at:.2f}" y1="{top}" y2="{bottom}" stroke="{colour}"/>')
            for tick in self.y.minor_ticks() if minor else self.y.ticks:
                at = bottom - self.y.place(tick) * (bottom - top)
                parts.append(f'<line x1="{left}" x2="{right}" y1="{at:.2f}" y2="{at:.2f}" stroke="{colour}"/>')
        for tick in self.x.ticks:
            at = left + self.x.place(tick) * (right - left)
            parts.append(f'<text class="x-tick" x="{at:.2f}" y="{bottom + 18}" text-anchor="middle">'
                         f'{tick_text(tick)}</text>')
        for tick in self.y.ticks:
            at = bottom - self.y.place(tick) * (bottom - top)
            parts.append(f'<text class="y-tick" x="{left - 8}" y="{at:.2f}" dominant-baseline="middle" '
                         f'text-anchor="end">{tick_text(tick)}</text>')
        parts.append(f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" fill="none" '
                     'stroke="#444444"/>')
        parts.append(f'<text x="{(left + right) / 2}" y="{HEIGHT - 14}" text-anchor="middle">'
                     f'{escape(self.x.label)}</text>')
        middle = (top + bottom) / 2
        parts.append(f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">'
                     f'{escape(self.y.label)}</text>')
        return parts

    def draw_series(self, name, points, style, colour):
        places = [self.place(point) for point in points]
        if style == "dots":
            body = "".join(f'<circle cx="{x:.2f}" cy="{y:.2f}" r="2"/>' for x, y in places)
            return (f'<g class="series" data-name={quoteattr(name)} fill="{colour}" fill-opacity="0.6">'
                    f'{body}</g>')
        if style == "steps":
            # A count holds up to its value, and falls there.
            places = [place for before, here in zip([None, *places], places)
                      for place in ([(before[0], here[1]), here] if before else [here])]
        body = " ".join(f"{x:.2f},{y:.2f}" for x, y in places)
        return (f'<g class="series" data-name={quoteattr(name)} fill="none" stroke="{colour}" stroke-width="1.6">'
                f'<polyline points="{body}"/></g>')

    def draw_legend(self):
        parts, at = [], LEFT
        for index, (name, _, _) in enumerate(self.series):
            parts.append(f'<rect x="{at}" y="27" width="10" height="10" fill="{COLOURS[index % len(COLOURS)]}"/>'
                         f'<text class="legend" x="{at + 14}" y="36">{escape(name)}</text>')
            at += 40 + 7 * len(name)
        return parts


# --- points ------------------------------------------------------------------------------------------------


def thin_dots(points, slots=400, per_slot=4):
    """At most so many points in each of the equal stretches of x: the largest."""
    if len(points) <= slots * per_slot:
        return list(points)
    low, high = min(point[0] for point in points), max(point[0] for point in points)
    width = (high - low) / slots or 1
    buckets = {}
    for point in points:
        buckets.setdefault(int((point[0] - low) / width), []).append(point)
    kept = [point for bucket in buckets.values()
            for point in sorted(bucket, key=lambda point: point[1])[-per_slot:]]
    return sorted(kept)


def counts_at_least(values):
    """The complementary distribution: (value, how many are at least so large), the smallest value first."""
    ordered = sorted(values, reverse=True)
    points = []
    for rank, value in enumerate(ordered, 1):
        if rank == len(ordered) or ordered[rank] != value:
            points.append((value, rank))
    return points[::-1]


def thin_steps(points, per_decade=100):
    """Of steps on a logarithmic axis, those that can be told apart; the ends stay, and all of the tail."""
    kept, last = [], None
    for index, point in enumerate(points):
        place = math.floor(math.log10(point[0]) * per_decade) if point[0] > 0 else None
        if place != last or index >= len(points) - per_decade:
            kept.append(point)
        last = place
    return kept
