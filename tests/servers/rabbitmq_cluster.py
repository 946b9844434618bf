"""Three private RabbitMQ nodes on loopback that form one cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Final, Self

from tests.servers.process import PATIENCE
from tests.servers.rabbitmq import RabbitServer

_SIZE: Final = 3
_POLL_SECONDS: Final = 0.5


class RabbitCluster:
    """A cluster of three nodes. A context manager: all run within the block, none after it.

    Attributes:
        nodes: in the order of their start. They share the first one's port mapper.
    """

    def __init__(self) -> None:
        first = RabbitServer()
        self.nodes = [first, *(RabbitServer(peer=first) for _ in range(_SIZE - 1))]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as started:
            for node in self.nodes:
                started.enter_context(node)
            self._started = started.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def url(self, *, first: int = 0, options: str = "") -> str:
        """Return one address of all nodes, beginning with that of number `first`."""
        nodes = self.nodes[first:] + self.nodes[:first]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in nodes)
        return f"amqp://guest:guest@{hosts}/%2F{options}"

    def leader(self, queue: str) -> RabbitServer:
        """Return the node that leads a quorum queue. All nodes run."""
        name = self._column(self.nodes[0], queue, "leader").strip("'")
        return next(node for node in self.nodes if node.node == name)

    def await_away(self, gone: RabbitServer) -> None:
        """Wait until another node has given up the connection to one."""
        asked = next(node for node in self.nodes if node is not gone)
        question = f"lists:member('{gone.node}', nodes())."
        self._await(lambda: "false" in asked.rabbitmqctl("eval", question))

    def await_whole(self, queue: str) -> None:
        """Wait until every node serves, and takes part in a quorum queue."""
        for node in self.nodes:
            self._await(lambda node=node: self._sees_all(node))
        self._await(lambda: self._column(self.nodes[0], queue, "online").count("@") == _SIZE)

    @staticmethod
    def _await(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "the cluster is not as it should be"
            time.sleep(_POLL_SECONDS)

    @staticmethod
    def _sees_all(asked: RabbitServer) -> bool:
        question = (
            "{length(rabbit_mnesia:cluster_nodes(running)), rabbit_node_monitor:partitions()}."
        )
        try:
            return asked.rabbitmqctl("eval", question).strip() == f"{{{_SIZE},[]}}"
        except RuntimeError:  # it is on its way back
            return False

    @staticmethod
    def _column(asked: RabbitServer, queue: str, column: str) -> str:
        rows = asked.rabbitmqctl("list_queues", "--no-table-headers", "name", column).splitlines()
        return dict(row.split("\t") for row in rows if "\t" in row)[queue]
