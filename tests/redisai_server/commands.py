"""Every command the stand-in knows, by name."""

from __future__ import annotations

import fnmatch
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from redisai_server import models, tensors
from redisai_server.execution import Job, parse_dag, parse_execute
from redisai_server.keyspace import Keyspace
from redisai_server.models import Model
from redisai_server.resp import OK, WRONGTYPE, Failure, Reply, Status, wrong_arity

CHUNK = 535_822_336
TYPES = {bytes: "string", np.ndarray: "AI_TENSOR", Model: "AI__MODEL"}


@dataclass(slots=True)
class Client:
    """State of one connection."""

    number: int
    database: int = 0
    authenticated: bool = False
    name: bytes = b""


@dataclass(slots=True)
class Server:
    """State of the server."""

    password: str = ""
    databases: dict[int, Keyspace] = field(default_factory=dict)
    config: dict[bytes, int | bytes] = field(
        default_factory=lambda: {b"MODEL_CHUNK_SIZE": CHUNK, b"BACKENDSPATH": b"/usr/lib/redis"}
    )
    calls: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Context:
    """A command's surroundings."""

    server: Server
    client: Client

    @property
    def keys(self) -> Keyspace:
        return self.server.databases.setdefault(self.client.database, Keyspace())

    @property
    def first(self) -> Keyspace:
        """Database 0: the only one that models are executed in."""
        return self.server.databases.setdefault(0, Keyspace())


Handler = Callable[[Context, list[bytes]], "Reply | Job"]


def dispatch(context: Context, args: list[bytes]) -> Reply | Job:
    """Answer a command, or return what the execution thread has to do first."""
    name = args[0].decode(errors="replace").lower()
    entry = COMMANDS.get(name)
    if entry is None:
        given = "".join(f"'{arg.decode(errors='replace')}' " for arg in args[1:])
        return Failure(
            f"ERR unknown command '{args[0].decode()}', with args beginning with: {given}"
        )
    handler, least = entry
    if context.server.password and not context.client.authenticated and name != "auth":
        return Failure("NOAUTH Authentication required.")
    if len(args) < least:
        return wrong_arity(name)
    context.server.calls[name] = context.server.calls.get(name, 0) + 1
    try:
        return handler(context, args)
    except Failure as failure:
        return failure


def _modelstore(context: Context, args: list[bytes]) -> Reply:
    model = models.parse_store(args)
    if not isinstance(context.keys.values.get(args[1], model), Model):
        os.kill(os.getpid(), signal.SIGSEGV)  # as a real server does
    context.keys.put(args[1], model)
    return OK


def _modeldel(context: Context, args: list[bytes]) -> Reply:
    context.keys.model(args[1])
    context.keys.delete(args[1])
    return OK


def _modelscan(context: Context, _args: list[bytes]) -> Reply:
    stored = context.keys.values.items()
    return [[key, value.tag] for key, value in stored if isinstance(value, Model)]


def _tensorset(context: Context, args: list[bytes]) -> Reply:
    key, array = tensors.parse(args)
    context.keys.get(key, np.ndarray)
    context.keys.put(key, array)
    return OK


def _ai_info(context: Context, args: list[bytes]) -> Reply:
    model = context.keys.values.get(args[1])
    if not isinstance(model, Model):
        raise Failure("ERR cannot find run info for key")
    if len(args) > 2 and args[2].upper() == b"RESETSTAT":
        model.stats = dict.fromkeys(model.stats, 0)
        return OK
    return model.info(args[1])


def _config(context: Context, args: list[bytes]) -> Reply:
    match [arg.upper() for arg in args[1:]]:
        case [b"GET", name, *_]:
            return context.server.config.get(name)
        case [b"LOADBACKEND", b"ONNX" | b"TF" | b"TFLITE" | b"TORCH", *_]:
            raise Failure("ERR error loading backend")
        case [b"LOADBACKEND", *_]:
            raise Failure("ERR unsupported backend")
        case [b"MODEL_CHUNK_SIZE", size] if size.isdigit():
            context.server.config[b"MODEL_CHUNK_SIZE"] = int(size)
            return OK
        case [b"BACKENDSPATH", _]:
            context.server.config[b"BACKENDSPATH"] = args[2]
            return OK
    raise Failure("ERR unsupported subcommand")


def _auth(context: Context, args: list[bytes]) -> Reply:
    if not context.server.password:
        raise Failure(
            "ERR AUTH <password> called without any password configured for the default user. "
            "Are you sure your configuration is correct?"
        )
    if args[-1].decode() != context.server.password:
        raise Failure("WRONGPASS invalid username-password pair or user is disabled.")
    context.client.authenticated = True
    return OK


def _select(context: Context, args: list[bytes]) -> Reply:
    if not args[1].isdigit() or int(args[1]) > 15:
        raise Failure("ERR DB index is out of range")
    context.client.database = int(args[1])
    return OK


def _client(context: Context, args: list[bytes]) -> Reply:
    match args[1].upper():
        case b"SETNAME":
            context.client.name = args[2]
            return OK
        case b"GETNAME":
            return context.client.name
        case b"ID":
            return context.client.number
        case b"SETINFO":
            return OK
    raise Failure(f"ERR unknown subcommand '{args[1].decode()}'. Try CLIENT HELP.")


def _hello(context: Context, args: list[bytes]) -> Reply:
    if len(args) > 1 and args[1] != b"2":
        raise Failure("NOPROTO unsupported protocol version")
    return [
        *("server", "redis", "version", "7.0.15", "proto", 2, "id", context.client.number),
        *("mode", "standalone", "role", "master"),
        *("modules", [["name", "ai", "ver", 10207, "path", "", "args", []]]),
    ]


def _info(context: Context, args: list[bytes]) -> Reply:
    calls = [
        f"cmdstat_{name}:calls={count},usec=0,usec_per_call=0.00,rejected_calls=0,failed_calls=0"
        for name, count in context.server.calls.items()
    ]
    keyspaces = [
        f"db{number}:keys={len(keys.values)},expires=0,avg_ttl=0"
        for number, keys in sorted(context.server.databases.items())
        if keys.values
    ]
    sections = {
        b"SERVER": ["# Server", "redis_version:7.0.15", f"process_id:{os.getpid()}"],
        b"COMMANDSTATS": ["# Commandstats", *calls],
        b"KEYSPACE": ["# Keyspace", *keyspaces],
    }
    wanted = [arg.upper() for arg in args[1:]] or [b"SERVER", b"KEYSPACE"]
    lines = [line for name in wanted for line in [*sections.get(name, ()), ""]]
    return "\r\n".join(lines).encode()


def _scan(context: Context, args: list[bytes]) -> Reply:
    options = {args[i].upper(): args[i + 1] for i in range(2, len(args) - 1, 2)}
    return [b"0", _matching(context, options.get(b"MATCH", b"*"))]


def _matching(context: Context, pattern: bytes) -> list[bytes]:
    return [key for key in context.keys.values if fnmatch.fnmatchcase(key, pattern)]


def _delete(context: Context, args: list[bytes]) -> Reply:
    return sum(context.keys.delete(key) for key in args[1:])


def _set(context: Context, args: list[bytes]) -> Reply:
    context.keys.put(args[1], args[2])
    return OK


def _get(context: Context, args: list[bytes]) -> Reply:
    value = context.keys.values.get(args[1])
    if value is not None and not isinstance(value, bytes):
        raise Failure(WRONGTYPE)
    return value


def _type(context: Context, args: list[bytes]) -> Reply:
    value = context.keys.values.get(args[1])
    return Status("none" if value is None else TYPES[type(value)])


def _flushall(context: Context, _args: list[bytes]) -> Reply:
    context.server.databases.clear()
    return OK


#: Name to handler and least number of arguments, the name included.
COMMANDS: dict[str, tuple[Handler, int]] = {
    "ai.modelstore": (_modelstore, 2),
    "ai.modelget": (lambda c, a: models.reply(c.keys.model(a[1]), a[2:]), 2),
    "ai.modeldel": (_modeldel, 2),
    "ai.modelexecute": (lambda c, a: parse_execute(a, c.first), 1),
    "ai._modelscan": (_modelscan, 1),
    "ai.tensorset": (_tensorset, 1),
    "ai.tensorget": (lambda c, a: tensors.reply(c.keys.tensor(a[1]), a[2:]), 2),
    "ai.dagexecute": (lambda c, a: parse_dag(a, c.keys, c.first), 2),
    "ai.dagexecute_ro": (lambda c, a: parse_dag(a, c.keys, c.first), 2),
    "ai.info": (_ai_info, 2),
    "ai.config": (_config, 2),
    "auth": (_auth, 2),
    "client": (_client, 2),
    "dbsize": (lambda c, _: len(c.keys.values), 1),
    "del": (_delete, 2),
    "echo": (lambda _, a: a[1], 2),
    "exists": (lambda c, a: sum(key in c.keys.values for key in a[1:]), 2),
    "expire": (lambda c, a: int(c.keys.expire(a[1], int(a[2]))), 3),
    "flushall": (_flushall, 1),
    "get": (_get, 2),
    "hello": (_hello, 1),
    "info": (_info, 1),
    "keys": (lambda c, a: _matching(c, a[1]), 2),
    "ping": (lambda _, a: a[1] if len(a) > 1 else Status("PONG"), 1),
    "scan": (_scan, 2),
    "select": (_select, 2),
    "set": (_set, 3),
    "ttl": (lambda c, a: c.keys.ttl(a[1]), 2),
    "type": (_type, 2),
}
