"""Charts as plain SVG, drawn on the server.

Why not Gradio's plot: it sends a plotting library and every point again on each update, flickers, and has
no words for who cannot see it. This is a few KiB, follows light and dark by CSS, and carries a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medlora.ui.present import count, number, text

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 8, 28


@dataclass(frozen=True)
class Series:
    """One line: a name and its points (x, y), in the order of x."""

    name: str
    points: Sequence[tuple[float, float]]


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    if high <= low:
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw), 10 * power)
    first = math.floor(low / step)
    last = math.ceil(high / step)
    return [index * step for index in range(first, last + 1)]


def _tick_label(value: float) -> str:
    return "0" if value == 0 else f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e+")


@dataclass(frozen=True)
class _Frame:
    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x_low) / ((self.x_high - self.x_low) or 1)

    def y(self, value: float) -> float:
        return (
            HEIGHT
            - BOTTOM
            - (HEIGHT - TOP - BOTTOM) * (value - self.y_low) / ((self.y_high - self.y_low) or 1)
        )


def _axes(frame: _Frame, y_ticks: Sequence[float], x_ticks: Sequence[float], x_title: str) -> list[str]:
    parts = []
    for tick in y_ticks:
        y = frame.y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_tick_label(tick)}</text>')
    for tick in x_ticks:
        if frame.x_low <= tick <= frame.x_high:
            anchor = "end" if tick == x_ticks[-1] and frame.x(tick) > WIDTH - 40 else "middle"
            place = f'x="{frame.x(tick):.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}"'
            parts.append(f"<text {place}>{_tick_label(tick)}</text>")
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}" text-anchor="end">{text(x_title)}</text>')
    return parts


def _path(frame: _Frame, series: Series, kind: int, *, last_only: bool = False) -> list[str]:
    places = [(frame.x(x), frame.y(y), x, y) for x, y in series.points]
    parts = []
    if len(places) > 1:
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y, _, _ in places)
        parts.append(f'<polyline class="line-{kind}" points="{joined}"/>')
    dots = places if not last_only and (len(places) <= 60 or kind == 2) else places[-1:]
    radius = 3 if kind == 1 else 4
    for x, y, at, value in dots:
        title = text(f"{series.name} {number(value, 4)} at step {number(at)}")
        place = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}"'
        parts.append(f'<circle class="dot-{kind}" {place}><title>{title}</title></circle>')
    return parts


def summarise(series: Series) -> str:
    """The line in words, for who cannot see it."""
    if not series.points:
        return f"{series.name}: no value yet."
    values = [value for _, value in series.points]
    first, last = series.points[0], series.points[-1]
    if len(values) == 1:
        return f"{series.name}: {number(last[1], 4)} at step {number(last[0])}."
    lowest = min(series.points, key=lambda point: point[1])
    return (
        f"{series.name}: {number(first[1], 4)} at step {number(first[0])}, {number(last[1], 4)} at step "
        f"{number(last[0])}; lowest {number(lowest[1], 4)} at step {number(lowest[0])}."
    )


def line_chart(
    title: str,
    lines: Sequence[Series],
    *,
    x_high: float | None = None,
    from_zero: bool = False,
    overlay: bool = False,
) -> str:
    """One figure with up to six lines over the steps of a run, and its summary in words.

    overlay: lines of different runs, which have a dot at their end only.
    """
    points = [point for line in lines for point in line.points]
    summary = " ".join(summarise(line) for line in lines if line.points) or "No value yet."
    keys = "".join(
        f'<span class="ml-key"><svg viewBox="0 0 24 8" aria-hidden="true"><line class="line-{kind}" x1="1" '
        f'x2="23" y1="4" y2="4"/></svg>{text(line.name)}</span>'
        for kind, line in enumerate(lines, start=1)
        if len(lines) > 1
    )
    head = f"<figcaption>{text(title)}<span>{keys}</span></figcaption>"
    body: list[str] = []
    values = [y for _, y in points] or [0.0, 1.0]
    low = 0.0 if from_zero else min(values)
    y_ticks = nice_ticks(low, max(values))
    steps = [x for x, _ in points] or [0.0]
    frame = _Frame(0.0, max(x_high or 0, max(steps), 1.0), y_ticks[0], y_ticks[-1])
    x_ticks = [
        tick for tick in nice_ticks(0, frame.x_high, 5) if 0 < tick <= frame.x_high and tick == int(tick)
    ]
    body += _axes(frame, y_ticks, x_ticks, "step")
    for kind, line in enumerate(lines, start=1):
        body += _path(frame, line, kind, last_only=overlay)
    drawing = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}. {text(summary)}">'
        f"{''.join(body)}</svg>"
    )
    return f'<figure class="ml-chart">{head}{drawing}<p>{text(summary)}</p></figure>'


def histogram(title: str, bins: Sequence[tuple[float, float, int]], *, limit: float | None, note: str) -> str:
    """Bars of (from, to, how many); those beyond `limit` are drawn in amber and said in the note."""
    if not bins:
        return ""
    y_ticks = nice_ticks(0, max(amount for _, _, amount in bins))
    frame = _Frame(bins[0][0], bins[-1][1], 0.0, y_ticks[-1])
    parts = _axes(frame, y_ticks, nice_ticks(frame.x_low, frame.x_high, 5), "")
    for low, high, amount in bins:
        x, width = frame.x(low) + 1, max(frame.x(high) - frame.x(low) - 2, 1)
        kind = "bar-cut" if limit is not None and low >= limit else "bar-1"
        label = text(f"{number(low)} to {number(high)} tokens: {count(amount, 'record')}")
        parts.append(
            f'<rect class="{kind}" x="{x:.1f}" y="{frame.y(amount):.1f}" width="{width:.1f}" rx="2" '
            f'height="{frame.y(0) - frame.y(amount):.1f}"><title>{label}</title></rect>'
        )
    if limit is not None and frame.x_low < limit < frame.x_high:
        x = frame.x(limit)
        parts.append(f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
    return (
        f'<figure class="ml-chart"><figcaption>{text(title)}<span>tokens</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}. {text(note)}">'
        f"{''.join(parts)}</svg><p>{text(note)}</p></figure>"
    )
