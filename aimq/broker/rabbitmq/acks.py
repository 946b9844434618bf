"""Which acks may be sent as one. Pure."""

from __future__ import annotations

from collections.abc import Iterable


class Outstanding:
    """The delivery tags of one channel that are not settled, and those that may be acked.

    Tags of a channel only grow, so insertion order is their order. Not thread-safe.
    """

    def __init__(self) -> None:
        self._tags: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tag: int) -> None:
        """Note a delivery."""
        self._tags[tag] = None

    def remove(self, tag: int) -> None:
        """Note a delivery that was settled otherwise than by an ack."""
        self._tags.pop(tag, None)

    def settle(self, acked: Iterable[int]) -> tuple[int, list[int]]:
        """Take acked tags out and say how to tell the server.

        Returns:
            The tag up to which everything outstanding is acked, to be acked with
            ``multiple=True`` (0: none), and the tags to be acked one by one.
        """
        waiting = set(acked)
        upto = 0
        for tag in list(self._tags):
            if tag not in waiting:
                break
            waiting.discard(tag)
            del self._tags[tag]
            upto = tag
        rest = sorted(waiting)
        for tag in rest:
            self._tags.pop(tag, None)
        return upto, rest
