"""Decides which spans are coded together: every group pays for tables of its own.

A few partitions are tried and the cheapest is kept. What is large is judged by a quick estimate.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from exporter.pack.assemble import simplified, varint
from exporter.pack.methods import CodedGroup, code_group
from exporter.pack.products import Floats, Product, find_products
from exporter.pack.spans import Kind, Located
from exporter.pack.streams import squeeze
from runtimes import decode
from runtimes.container import Span

# Above this many bytes of one kind, partitions are compared by estimate, and only the best few of
# them coded in full.
EXACT_BYTES: Final = 1 << 12
FINALISTS: Final = 2
# Spans from these sizes on are tried in groups of their own. Bytes.
LARGE_SPAN_BYTES: Final = (1 << 12, 1 << 15)


@dataclass(frozen=True)
class Planned:
    """A group with the spans, by their places in the located list, that it codes."""

    members: tuple[int, ...]
    ordered: bool
    coded: CodedGroup
    kind: Kind

    def spans(self, located: Sequence[Located], group: int) -> Iterator[Span]:
        """The package's spans of this group."""
        for member in self.members:
            span = located[member]
            order = span.order if self.ordered else tuple(range(len(span.shape)))
            shape, order = simplified(span.shape, order)
            yield Span(span.offset, span.size_bytes, shape, order, group)


class Planner:
    """Groups the spans of one file. Results are kept, for the next call with other spans."""

    def __init__(self, data: bytes, located: Sequence[Located], *, brotli: bool) -> None:
        self._data = data
        self._located = located
        self._brotli = brotli
        self._coded: dict[tuple[tuple[int, ...], bool, bool], CodedGroup] = {}
        self._stored = [data[one.offset : one.offset + one.size_bytes] for one in located]

    def plan(self, members: Sequence[int]) -> list[Planned]:
        """The groups, after the skeleton, that code these spans; `members` ascend."""
        products = self._products(members)
        by_kind: dict[tuple[Kind, int], list[int]] = defaultdict(list)
        for member in members:
            if member not in products:
                span = self._located[member]
                by_kind[span.kind, span.item_bytes].append(member)
        groups = [group for same in by_kind.values() for group in self._best(same)]
        if products:
            groups.append(self._product_group(products, members))
        return groups

    def _best(self, members: list[int]) -> list[Planned]:
        """The cheapest partition of spans of one kind."""
        partitions = [[tuple(part) for part in one if part] for one in self._partitions(members)]
        unique = [one for place, one in enumerate(partitions) if one not in partitions[:place]]
        large = sum(self._located[one].size_bytes for one in members) > EXACT_BYTES
        if large:
            estimates = [self._groups(one, quick=True) for one in unique]
            finalists = sorted(estimates, key=_cost_bytes)[:FINALISTS]
            plans = [[self._in_full(group) for group in plan] for plan in finalists]
        else:
            plans = [self._groups(one, quick=False) for one in unique]
        return min(plans, key=_cost_bytes)

    def _groups(self, partition: list[tuple[int, ...]], quick: bool) -> list[Planned]:
        return [self._group(part, quick) for part in partition]

    def _in_full(self, group: Planned) -> Planned:
        return replace(group, coded=self._code(group.members, group.ordered, quick=False))

    def _partitions(self, members: list[int]) -> Iterator[list[list[int]]]:
        yield [members]
        yield [[one] for one in members]
        for limit in LARGE_SPAN_BYTES:
            large = [one for one in members if self._located[one].size_bytes >= limit]
            small = [one for one in members if self._located[one].size_bytes < limit]
            yield [small, *([one] for one in large)]
            yield [small, large]
        sparse = [one for one in members if 2 * self._stored[one].count(0) > len(self._stored[one])]
        yield [sparse, [one for one in members if one not in set(sparse)]]

    def _group(self, members: tuple[int, ...], quick: bool) -> Planned:
        """The cheaper of the file's and the channels-first order."""
        kind = self._located[members[0]].kind
        stored, ordered = (
            Planned(members, order, self._code(members, order, quick), kind)
            for order in (False, True)
        )
        return ordered if ordered.coded.cost_bytes < stored.coded.cost_bytes else stored

    def _code(self, members: tuple[int, ...], ordered: bool, quick: bool) -> CodedGroup:
        ordered = ordered and any(self._reorders(one) for one in members)
        key = (members, ordered, quick)
        if key not in self._coded:
            content = b"".join(self._content(one, ordered) for one in members)
            span = self._located[members[0]]
            self._coded[key] = code_group(
                content, span.item_bytes, span.kind, brotli=self._brotli, quick=quick
            )
        return self._coded[key]

    def _reorders(self, member: int) -> bool:
        return simplified(self._located[member].shape, self._located[member].order)[1] != (0,)

    def _content(self, member: int, ordered: bool) -> bytes:
        span = self._located[member]
        if not ordered:
            return self._stored[member]
        items = np.frombuffer(self._stored[member], f"V{span.item_bytes}")
        return items.reshape(span.shape).transpose(span.order).tobytes()

    def _products(self, members: Sequence[int]) -> dict[int, Product]:
        vectors: dict[int, Floats] = {}
        for member in members:
            span = self._located[member]
            if span.kind == "floats" and span.item_bytes == 4 and len(span.shape) == 1:
                vectors[member] = np.frombuffer(self._stored[member], "<f4")
        return find_products(vectors)

    def _product_group(self, products: dict[int, Product], members: Sequence[int]) -> Planned:
        """One group for all products: their factors, then the numbers of their sources."""
        chosen = tuple(sorted(products))
        numbers = {member: number for number, member in enumerate(members)}
        table = b"".join(products[one].factor.astype("<f4").tobytes() for one in chosen)
        table += b"".join(varint(numbers[products[one].source]) for one in chosen)
        stream = squeeze(table, brotli=self._brotli)
        size_bytes = sum(self._located[one].size_bytes for one in chosen)
        coded = CodedGroup(4, decode.METHOD_PRODUCT, size_bytes, (stream,))
        return Planned(chosen, False, coded, "floats")


def _cost_bytes(plan: Sequence[Planned]) -> int:
    return sum(group.coded.cost_bytes for group in plan)


def skeleton_of(data: bytes, located: Sequence[Located]) -> bytes:
    """All of the file that is in no span."""
    spans = tuple(Span(one.offset, one.size_bytes, (), (), 1) for one in located)
    return b"".join(data[a:b] for a, b in decode.skeleton_pieces(spans, len(data)))
