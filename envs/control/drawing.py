"""Pictures of lines and discs in numpy alone, with smooth edges."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, TypeAlias

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
        # Only where it can be seen, the stroke and then each segment: many of them cost little.
        rows, columns = _near(points, x, y, radius + pixel)
        part_x, part_y, part = x[columns], y[rows], paper[rows, columns]
        distance = np.full(part.shape[:2], np.inf)
        for ends in pairwise(points) if len(points) > 1 else [(points[0], points[0])]:
            box = _near(ends, part_x, part_y, radius + pixel)
            gap = _distance(part_x[box[1]][None, :], part_y[box[0]][:, None], *ends)
            distance[box] = np.minimum(distance[box], gap)
        cover = np.clip((radius - distance) / pixel + 0.5, 0, 1)[..., None]
        part += cover * (np.array(colour) - part)
    return paper.astype(np.uint8)


def _near(
    points: Iterable[Point], x: NDArray[Any], y: NDArray[Any], reach: float
) -> tuple[slice, slice]:
    """Rows and columns of the pixels at (x, y) no further than `reach` from the points' box."""
    across, up = np.array(list(points)).T
    columns = np.searchsorted(x, (across.min() - reach, across.max() + reach))
    rows = len(y) - np.searchsorted(y[::-1], (up.max() + reach, up.min() - reach))
    return slice(*rows), slice(*columns)


def _distance(x: NDArray[Any], y: NDArray[Any], one: Point, two: Point) -> NDArray[Any]:
    """Of the points (x, y) from a segment."""
    dx, dy = two[0] - one[0], two[1] - one[1]
    length = max(dx * dx + dy * dy, 1e-12)
    along = np.clip(((x - one[0]) * dx + (y - one[1]) * dy) / length, 0, 1)
    gap: NDArray[Any] = np.hypot(x - one[0] - along * dx, y - one[1] - along * dy)
    return gap
