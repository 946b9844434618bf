"""A private RabbitMQ node on loopback: own data, logs, cookie, ports and port mapper."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from pathlib import Path

from tests.servers.private import PrivateServer
from tests.servers.process import PATIENCE, ServerProcess, answers, free_ports, program

#: Debian's wrappers in /usr/sbin insist on root and on the system's own node.
_FOLDERS = ("/usr/lib/rabbitmq/bin",)
#: One scheduler of each kind and no spinning: a node for tests is a guest on the machine. Nodes of
#: a cluster miss a silent one within 10 s instead of 75. Retry queues publish a message again when
#: the work queue has not confirmed it within 5 s instead of 180.
_VM_FLAGS = (
    "+S 1:1 +SDcpu 1:1 +SDio 2 +A 2 +sbwt none +sbwtdcpu none +sbwtdio none "
    "-kernel inet_dist_use_interface {127,0,0,1} net_ticktime 8 "
    "-rabbit dead_letter_worker_publisher_confirm_timeout 5000"
)
#: Vhosts are made by so many: each call of the node's tool takes a second.
_VHOSTS = 16
_MAKE_VHOSTS = """
    [begin
        Name = list_to_binary("test-" ++ integer_to_list(Number)),
        ok = rabbit_vhost:add(Name, <<"tests">>),
        ok = rabbit_auth_backend_internal:set_permissions(
            <<"guest">>, Name, <<".*">>, <<".*">>, <<".*">>, <<"tests">>)
    end || Number <- lists:seq(%d, %d)].
"""


class RabbitServer(PrivateServer):
    """A ``rabbitmq-server`` of its own. Any number may run side by side.

    `kill` and `start` again keep the data: what it has confirmed survives.

    Args:
        schedulers: threads the node runs on; more only for measurements.
        peer: a running node whose cluster this one joins at its first start. It outlives this one.
        installed: path of another ``rabbitmq-server`` than the system's, beside its tools.

    Attributes:
        epmd_port: of the port mapper; nodes of a cluster share the peer's.
        cookie: secret that nodes of a cluster share.
    """

    def __init__(
        self,
        schedulers: int = 1,
        peer: RabbitServer | None = None,
        installed: Path | None = None,
    ) -> None:
        folders = _FOLDERS if installed is None else (str(installed.parent),)
        self._server = program("rabbitmq-server", *(f"{f}/rabbitmq-server" for f in folders))
        self._ctl = program("rabbitmqctl", *(f"{f}/rabbitmqctl" for f in folders))
        self._epmd_program = program("epmd")
        super().__init__("rabbitmq")
        self.port, self._dist_port, self.epmd_port = free_ports(3)
        self.node = f"aimq-{self.port}@localhost"
        self.cookie = secrets.token_hex(16)
        if peer is not None:
            self.epmd_port, self.cookie = peer.epmd_port, peer.cookie
        self._peer = peer
        self._flags = _VM_FLAGS.replace("+S 1:1", f"+S {schedulers}:{schedulers}")
        self._environ = self._environment()
        self._epmd: ServerProcess | None = None
        self._used_vhosts = 0

    @property
    def url(self) -> str:
        """Address of the default vhost."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        """Start, and wait until AMQP is served; the data of the last run are there again."""
        logs = self._folder / "log"
        if self._epmd is None and self._peer is None:
            command = [self._epmd_program, "-port", str(self.epmd_port), "-address", "127.0.0.1"]
            self._epmd = ServerProcess(command, self._environ, logs / "epmd.log")
        self._process = ServerProcess([self._server], self._environ, logs / "console.log")
        protocol, connection_start = b"AMQP\x00\x00\x09\x01", b"\x01\x00\x00"
        self._process.wait_until(lambda: answers(self.port, protocol, connection_start))

    def close(self) -> None:
        """Kill it with its port mapper, and remove its data. Idempotent."""
        super().close()
        if self._epmd is not None:
            self._epmd.end(signal.SIGKILL)
            self._epmd = None

    def rabbitmqctl(self, *arguments: str) -> str:
        """Run the node's own tool and return what it prints.

        Raises:
            RuntimeError: it failed; with what it said.
        """
        done = subprocess.run(
            [self._ctl, "--quiet", "--node", self.node, *arguments],
            env=self._environ, capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {arguments[0]}: {done.stderr or done.stdout}")
        return done.stdout

    def queues(self, vhost: str = "/") -> dict[str, tuple[int, int]]:
        """Return the node's own count of ready and unacknowledged messages by queue."""
        rows = self.rabbitmqctl(
            "list_queues", "-p", vhost, "--no-table-headers",
            "name", "messages_ready", "messages_unacknowledged",
        ).splitlines()  # fmt: skip
        cells = (row.split("\t") for row in rows if row)
        return {name: (int(ready), int(unacked)) for name, ready, unacked in cells}

    def new_vhost(self) -> str:
        """Return the URL of a vhost that nobody else uses."""
        if self._used_vhosts % _VHOSTS == 0:
            first = self._used_vhosts + 1
            self.rabbitmqctl("eval", _MAKE_VHOSTS % (first, first + _VHOSTS - 1))
        self._used_vhosts += 1
        return f"amqp://guest:guest@127.0.0.1:{self.port}/test-{self._used_vhosts}"

    def _environment(self) -> dict[str, str]:
        home, logs = self._folder / "home", self._folder / "log"
        for folder in (home, logs):
            folder.mkdir()
        cookie = home / ".erlang.cookie"
        cookie.write_text(self.cookie)
        cookie.chmod(0o400)
        config = self._folder / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.local = 127.0.0.1:{self.port}\n"
            "log.file.level = warning\n"
            "log.console = false\n"
            "disk_free_limit.absolute = 50MB\n"
            "vm_memory_high_watermark.absolute = 1GB\n"
            "management_agent.disable_metrics_collector = true\n"
            "cluster_partition_handling = autoheal\n"
            "cluster_formation.peer_discovery_backend = classic_config\n"
            f"cluster_formation.classic_config.nodes.1 = {(self._peer or self).node}\n"
        )
        plugins = self._folder / "enabled_plugins"
        plugins.write_text("[].\n")
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **kept,
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_CONFIG_FILE": str(config),
            "RABBITMQ_CONF_ENV_FILE": str(self._folder / "absent"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_MNESIA_BASE": str(self._folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(logs),
            "RABBITMQ_PID_FILE": str(self._folder / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": self._flags,
            "RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +SDcpu 1:1 +A 1 +sbwt none",
        }
