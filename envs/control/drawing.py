"""Pictures of lines and discs in numpy alone, with smooth edges."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Point: TypeAlias = tuple[float, float]
# A line of that radius through the points, in the units of the view; one point is a disc.
Stroke: TypeAlias = tuple[list[Point], float, tuple[int, int, int]]
BLACK = (0, 0, 0)


def frame(
    strokes: Iterable[Stroke], centre: Point, span: Point, height: int, width: int
) -> NDArray[np.uint8]:
    """White paper with the strokes one over the other, uint8 (height, width, 3).

    At least `span` (width, height) around `centre` is seen, y upwards.
    """
    pixel = max(span[0] / width, span[1] / height)
    x = centre[0] + (np.arange(width) + 0.5 - width / 2) * pixel
    y = centre[1] - (np.arange(height) + 0.5 - height / 2) * pixel
    paper = np.full((height, width, 3), 255.0)
    for points, radius, colour in strokes:
        ends = list(pairwise(points)) or [(points[0], points[0])]
        distance = np.full((height, width), np.inf)
        for one, two in ends:
            # Only where the segment can be seen: a polyline of many costs little.
            reach = radius + pixel
            seen_x = np.flatnonzero(
                (x >= min(one[0], two[0]) - reach) & (x <= max(one[0], two[0]) + reach)
            )
            seen_y = np.flatnonzero(
                (y >= min(one[1], two[1]) - reach) & (y <= max(one[1], two[1]) + reach)
            )
            if not len(seen_x) or not len(seen_y):
                continue
            box = np.s_[seen_y[0] : seen_y[-1] + 1, seen_x[0] : seen_x[-1] + 1]
            near = _distance(x[box[1]][None, :], y[box[0]][:, None], one, two)
            distance[box] = np.minimum(distance[box], near)
        cover = np.clip((radius - distance) / pixel + 0.5, 0, 1)[..., None]
        paper += cover * (np.array(colour) - paper)
    return paper.astype(np.uint8)


def _distance(
    x: NDArray[np.float64], y: NDArray[np.float64], one: Point, two: Point
) -> NDArray[np.float64]:
    """Of the points (x, y) from a segment."""
    dx, dy = two[0] - one[0], two[1] - one[1]
    length = max(dx * dx + dy * dy, 1e-12)
    along = np.clip(((x - one[0]) * dx + (y - one[1]) * dy) / length, 0, 1)
    gap: NDArray[np.float64] = np.hypot(x - one[0] - along * dx, y - one[1] - along * dy)
    return gap
