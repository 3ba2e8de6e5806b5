"""What rewrites did to a graph, for the user to read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from exporter.errors import UnsupportedError


@dataclass(frozen=True)
class Change:
    """One rewrite of one node.

    Attributes:
        rewrite: what was done, in a few words; the same words for the same rewrite.
        node: the node or value that it was done to.
        exact: whether every number that the model computes stays as it was.
        detail: how large the change is, for one that is not exact.
    """

    rewrite: str
    node: str
    exact: bool = True
    detail: str = ""


class Changes:
    """Collects changes.

    Args:
        requantize: whether what has no exact form may be quantized anew.
    """

    def __init__(self, *, requantize: bool = False) -> None:
        self.requantize = requantize
        self._entries: list[Change] = []

    def __iter__(self) -> Iterator[Change]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def note(self, rewrite: str, node: str | None, detail: str = "", *, exact: bool = True) -> None:
        """Note a change."""
        self._entries.append(Change(rewrite, node or "", exact, detail))

    def require_requantize(self, node: str | None, operator: str, reason: str) -> None:
        """Go on only where the user allows numbers to change.

        Raises:
            UnsupportedError: without `requantize`; the reason says what has no exact form.
        """
        if not self.requantize:
            raise UnsupportedError(
                node or "",
                operator,
                reason,
                "quantize the model without that, or allow the change with --requantize",
            )
