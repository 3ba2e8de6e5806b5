"""Decides which spans are coded together: every group pays for tables of its own.

A few partitions are tried and the cheapest is kept. What is large is judged by a quick estimate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from exporter.pack.assemble import simplified
from exporter.pack.methods import CodedGroup, Source, code_group, estimate_group
from exporter.pack.numbers import varint
from exporter.pack.products import Floats, Product, find_products
from exporter.pack.spans import Kind, Located
from exporter.pack.streams import Device, squeeze
from runtimes import decode
from runtimes.container import Span

Bytes = npt.NDArray[np.uint8]

# Above this many bytes of one kind, partitions are compared by estimate, and only the best few of
# them coded in full.
EXACT_BYTES: Final = 1 << 12
FINALISTS: Final = 2
# Spans from these sizes on are tried in groups of their own. Bytes.
LARGE_SPAN_BYTES: Final = (1 << 12, 1 << 15)
# Weights are tried in two groups, cut at this size: small tensors may have tables of their own.
ALONE_BYTES: Final = 1 << 12
MIN_ROW_BYTES: Final = 8


@dataclass(frozen=True)
class Planned:
    """A group with the spans, by their places in the located list, that it codes."""

    members: tuple[int, ...]
    ordered: bool
    coded: CodedGroup
    kind: Kind

    def spans(
        self, located: Sequence[Located], group: int, places: dict[int, int]
    ) -> Iterator[Span]:
        """The package's spans of this group; `places` are those of counterparts in a base."""
        for member in self.members:
            one = located[member]
            rows = self.coded.method == decode.METHOD_CLASSES
            shape, order = _shape(one, self.ordered, keep_rows=rows)
            yield Span(one.offset, one.size_bytes, shape, order, group, places.get(member))


class Planner:
    """Groups the spans of one file. Results are kept, for the next call with other spans.

    Args:
        data: the file.
        located: its spans.
        device: what the reader has.
        base: for a delta, the file that it builds on.
        places: the offset in the base of each span that has a counterpart there.
    """

    def __init__(
        self,
        data: bytes,
        located: Sequence[Located],
        device: Device,
        base: bytes = b"",
        places: dict[int, int] | None = None,
    ) -> None:
        self._located = located
        self._device = device
        self._places = places or {}
        self._same_length = len(base) == len(data)
        self._coded: dict[tuple[tuple[int, ...], bool], CodedGroup] = {}
        self._estimates: dict[tuple[tuple[int, ...], bool], float] = {}
        self._stored = [data[one.offset : one.offset + one.size_bytes] for one in located]
        self._old = {
            member: base[at : at + located[member].size_bytes]
            for member, at in self._places.items()
        }

    def plan(self, members: Sequence[int]) -> list[Planned]:
        """The groups, after the skeleton, that code these spans; `members` ascend."""
        copies = self._copies(members)
        once = [member for member in members if member not in copies]
        products = self._products(once)
        by_kind: dict[tuple[Kind, int, bool], list[int]] = defaultdict(list)
        for member in once:
            if member not in products:
                span = self._located[member]
                by_kind[span.kind, span.item_bytes, member in self._old].append(member)
        groups = [group for same in by_kind.values() for group in self._best(same)]
        numbers = {member: number for number, member in enumerate(members)}
        if products:
            groups.append(self._product_group(products, numbers))
        if copies:
            groups += self._copy_groups(copies, numbers)
        return groups

    def _copies(self, members: Sequence[int]) -> dict[int, int]:
        """Spans that hold the bytes of an earlier one, with that one."""
        first: dict[bytes, int] = {}
        copies = {}
        for member in members:
            source = first.setdefault(self._stored[member], member)
            if source != member:
                copies[member] = source
        return copies

    def unchanged(self, member: int) -> bool:
        """Whether a base of the same length has the same bytes.

        Such a span is best left in the skeleton, whose difference then is nothing there.
        """
        return self._same_length and self._old.get(member) == self._stored[member]

    def _copy_groups(self, copies: dict[int, int], numbers: dict[int, int]) -> list[Planned]:
        """One group for all copies of one kind: the numbers of their sources."""
        by_kind: dict[tuple[Kind, int], list[int]] = defaultdict(list)
        for member in copies:
            by_kind[self._located[member].kind, self._located[member].item_bytes].append(member)
        groups = []
        for (kind, item_bytes), same in by_kind.items():
            table = b"".join(varint(numbers[copies[one]]) for one in same)
            size_bytes = sum(self._located[one].size_bytes for one in same)
            stream = squeeze(table, self._device)
            coded = CodedGroup(kind, item_bytes, decode.METHOD_COPY, size_bytes, (stream,))
            groups.append(Planned(tuple(same), False, coded, kind))
        return groups

    def _best(self, members: list[int]) -> list[Planned]:
        """The cheapest partition of spans of one kind."""
        partitions = [[tuple(part) for part in one if part] for one in self._partitions(members)]
        unique = [one for place, one in enumerate(partitions) if one not in partitions[:place]]
        if sum(self._located[one].size_bytes for one in members) > EXACT_BYTES:
            unique = sorted(unique, key=self._estimate)[:FINALISTS]
        plans = [[self._group(part) for part in one] for one in unique]
        return min(plans, key=_cost_bytes)

    def _estimate(self, partition: list[tuple[int, ...]]) -> float:
        return sum(
            min(self._estimate_group(part, ordered) for ordered in (False, True))
            for part in partition
        )

    def _estimate_group(self, members: tuple[int, ...], ordered: bool) -> float:
        key = (members, ordered and any(map(self._reorders, members)))
        if key not in self._estimates:
            self._estimates[key] = estimate_group(self._source(*key), self._device)
        return self._estimates[key]

    def _partitions(self, members: list[int]) -> Iterator[list[list[int]]]:
        """Ways to cut spans of one kind into groups.

        Weights mostly share: their tables are shared by class, and every group more costs a reader
        time. What takes tables by position, as floats do, may be better off alone.
        """
        yield [members]
        if self._located[members[0]].kind == "weights":
            yield self._halves(members, self._is_sparse)
            yield self._halves(members, lambda one: self._located[one].size_bytes >= ALONE_BYTES)
            return
        yield [[one] for one in members]
        for limit in LARGE_SPAN_BYTES:
            large = [one for one in members if self._located[one].size_bytes >= limit]
            small = [one for one in members if self._located[one].size_bytes < limit]
            yield [small, *([one] for one in large)]
            yield [small, large]

    def _halves(self, members: list[int], first: Callable[[int], bool]) -> list[list[int]]:
        return [[one for one in members if first(one) is wanted] for wanted in (True, False)]

    def _is_sparse(self, member: int) -> bool:
        return 2 * self._stored[member].count(0) > len(self._stored[member])

    def _group(self, members: tuple[int, ...]) -> Planned:
        """The group in the file's or the channels-first order, whichever seems the better."""
        orders: tuple[bool, ...] = (False, True)
        if sum(self._located[one].size_bytes for one in members) > EXACT_BYTES:
            orders = (min(orders, key=lambda one: self._estimate_group(members, one)),)
        kind = self._located[members[0]].kind
        plans = [Planned(members, order, self._code(members, order), kind) for order in orders]
        return min(plans, key=lambda one: one.coded.cost_bytes)

    def _code(self, members: tuple[int, ...], ordered: bool) -> CodedGroup:
        key = (members, ordered and any(map(self._reorders, members)))
        if key not in self._coded:
            self._coded[key] = code_group(self._source(*key), self._device)
        return self._coded[key]

    def _source(self, members: tuple[int, ...], ordered: bool) -> Source:
        arrays = [self._array(one, self._stored[one], ordered) for one in members]
        span = self._located[members[0]]
        old = None
        if all(one in self._old for one in members):
            old = b"".join(self._array(one, self._old[one], ordered).tobytes() for one in members)
        matrices: tuple[Bytes, ...] = ()
        if span.kind == "weights" and span.item_bytes == 1:
            matrices = tuple(
                array.reshape(len(array) if array.ndim > 1 else 1, -1).view(np.uint8)
                for array in arrays
            )
        content = b"".join(array.tobytes() for array in arrays)
        return Source(span.kind, span.item_bytes, content, matrices, old)

    def _array(self, member: int, content: bytes, ordered: bool) -> npt.NDArray[np.void]:
        """A span's items with their axes in the order in which they are coded, rows kept."""
        shape, order = _shape(self._located[member], ordered, keep_rows=True)
        items = np.frombuffer(content, f"V{self._located[member].item_bytes}")
        return np.ascontiguousarray(items.reshape(shape).transpose(order))

    def _reorders(self, member: int) -> bool:
        return simplified(self._located[member].shape, self._located[member].order)[1] != (0,)

    def _products(self, members: Sequence[int]) -> dict[int, Product]:
        if not self._device.numpy:
            return {}
        vectors: dict[int, Floats] = {}
        for member in members:
            span = self._located[member]
            if span.kind == "floats" and span.item_bytes == 4 and len(span.shape) == 1:
                vectors[member] = np.frombuffer(self._stored[member], "<f4")
        return find_products(vectors)

    def _product_group(self, products: dict[int, Product], numbers: dict[int, int]) -> Planned:
        """One group for all products: their factors, then the numbers of their sources."""
        chosen = tuple(sorted(products))
        table = b"".join(products[one].factor.astype("<f4").tobytes() for one in chosen)
        table += b"".join(varint(numbers[products[one].source]) for one in chosen)
        stream = squeeze(table, self._device)
        size_bytes = sum(self._located[one].size_bytes for one in chosen)
        coded = CodedGroup("floats", 4, decode.METHOD_PRODUCT, size_bytes, (stream,))
        return Planned(chosen, False, coded, "floats")


def _shape(
    span: Located, ordered: bool, *, keep_rows: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The simplest shape and order of a span in which it can be coded.

    Rows are kept as an axis of their own where they are long enough to have classes.
    """
    order = span.order if ordered else tuple(range(len(span.shape)))
    rows = span.shape[order[0]]
    long_rows = keep_rows and span.size_bytes >= MIN_ROW_BYTES * rows
    return simplified(span.shape, order, keep_rows=long_rows)


def _cost_bytes(plan: Sequence[Planned]) -> int:
    return sum(group.coded.cost_bytes for group in plan)
