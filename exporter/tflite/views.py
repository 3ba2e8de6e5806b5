"""A chain of reshapes and transposes as one: RESHAPE, at most one TRANSPOSE, RESHAPE.

Axes are cut into atoms, the pieces that every reshape of the chain leaves whole. The chain then is
a permutation of atoms, and atoms that stay neighbours are one again.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from exporter.graph.layout import NHWC_OF_NCHW

Atom = list[int]
"""The size of an atom, in a list of its own, so that it has an identity; cut in place."""


@dataclass(frozen=True)
class Composite:
    """A chain in TFLite's terms.

    Attributes:
        before: the shape to see the source in.
        order: the permutation of its axes; empty where nothing moves.
        after: the shape of the result.
    """

    before: tuple[int, ...]
    order: tuple[int, ...]
    after: tuple[int, ...]


class Chain:
    """Follows the atoms of a tensor through reshapes and transposes.

    Args:
        shape: of the source, in ONNX order.
        image: whether the source is stored NHWC.
    """

    def __init__(self, shape: Sequence[int], *, image: bool) -> None:
        self._axes: list[list[Atom]] = [[[size]] for size in shape]
        stored = [self._axes[axis] for axis in NHWC_OF_NCHW] if image else self._axes
        self._stored: list[list[Atom]] = [list(axis) for axis in stored]

    def transpose(self, order: Sequence[int]) -> None:
        """Permute the axes as they are now."""
        self._axes = [self._axes[axis] for axis in order]

    def reshape(self, shape: Sequence[int]) -> bool:
        """See the values in another shape; False where no cut of axes gives it."""
        atoms = [atom for axis in self._axes for atom in axis]
        axes: list[list[Atom]] = []
        position = 0
        for size in shape:
            axis: list[Atom] = []
            left = size
            while left > 1:
                if position == len(atoms):
                    return False
                atom = atoms[position]
                if atom[0] > left:
                    if atom[0] % left:
                        return False
                    rest = [atom[0] // left]
                    self._cut(atom, left, rest)
                    atoms.insert(position + 1, rest)
                elif left % atom[0]:
                    return False
                axis.append(atom)
                left //= atom[0]
                position += 1
            axes.append(axis)
        self._axes = axes
        return all(atom[0] == 1 for atom in atoms[position:])

    def _cut(self, atom: Atom, size: int, rest: Atom) -> None:
        atom[0] = size
        for axis in self._stored:
            for index, other in enumerate(axis):
                if other is atom:
                    axis.insert(index + 1, rest)
                    return

    def composite(self, *, image: bool) -> Composite:
        """The whole chain; `image` says whether the result is stored NHWC."""
        axes = [self._axes[axis] for axis in NHWC_OF_NCHW] if image else self._axes
        after = tuple(math.prod(atom[0] for atom in axis) for axis in axes)
        source = [atom for axis in self._stored for atom in axis if atom[0] > 1]
        target = [atom for axis in axes for atom in axis if atom[0] > 1]
        place = {id(atom): index for index, atom in enumerate(source)}
        order = [place[id(atom)] for atom in target]
        runs = _runs(order)
        starts = sorted(run[0] for run in runs)
        by_start = {run[0]: run for run in runs}
        before = tuple(math.prod(source[i][0] for i in by_start[start]) for start in starts)
        moved = tuple(starts.index(run[0]) for run in runs)
        return Composite(before, moved if moved != tuple(range(len(moved))) else (), after)


def _runs(order: list[int]) -> list[list[int]]:
    """Consecutive numbers that stay neighbours, as lists."""
    runs: list[list[int]] = [order[:1]] if order else []
    for previous, index in itertools.pairwise(order):
        if index == previous + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs
