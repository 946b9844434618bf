"""AI.MODELEXECUTE and AI.DAGEXECUTE: parsed and checked at once, executed on a worker thread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from redisai_server import tensors
from redisai_server.keyspace import Keyspace
from redisai_server.models import Model
from redisai_server.resp import NA, OK, WRONGTYPE, Failure, Reply, Status, TwoReplies

NO_TENSOR = "ERR tensor key is empty or in a different shard"
ARITY = "ERR wrong number of arguments for 'AI.MODELEXECUTE' command"
Scope = dict[bytes, np.ndarray]
#: Work for the execution thread; its answer is taken on by what follows on the event loop.
Step = Callable[[Scope], Reply]


@dataclass(slots=True)
class Call:
    """One parsed AI.MODELEXECUTE."""

    model: Model
    inputs: list[bytes]
    outputs: list[bytes]

    def __call__(self, scope: Scope) -> Status:
        answers = self.model.execute([scope[key] for key in self.inputs])
        scope.update(zip(self.outputs, answers, strict=False))
        return OK


def parse_call(args: list[bytes], keyspace: Keyspace) -> Call:
    if len(args) < 8:
        raise Failure(ARITY)
    model = keyspace.model(args[1])
    inputs, rest = _counted(args[2:], b"INPUTS", "input_count")
    outputs, rest = _counted(rest, b"OUTPUTS", "output_count")
    if rest:
        if rest[0].upper() != b"TIMEOUT" or len(rest) != 2:
            raise Failure("ERR Invalid argument")
        _timeout(rest[1])
    model.check_counts(len(inputs), len(outputs))
    return Call(model, inputs, outputs)


def _counted(args: list[bytes], word: bytes, name: str) -> tuple[list[bytes], list[bytes]]:
    if len(args) < 2 or args[0].upper() != word:
        raise Failure(ARITY)
    if not args[1].isdigit():
        raise Failure(f"ERR Invalid argument for {name}")
    count = int(args[1])
    if len(args) < 2 + count:
        raise Failure(ARITY)
    return args[2 : 2 + count], args[2 + count :]


def _timeout(value: bytes) -> float:
    if not value.isdigit() or int(value) == 0:
        raise Failure("ERR Invalid value for TIMEOUT")
    return int(value) / 1000


@dataclass(slots=True)
class Job:
    """What to execute, and how to answer once it has been."""

    steps: list[Step]
    scope: Scope
    persist: list[bytes] = field(default_factory=list)
    single: bool = False
    timeout: float = math.inf
    began: float = field(default_factory=time.monotonic)

    def run(self) -> list[Reply] | Status:
        """Execute; after the first step that fails the others answer ``NA``. Any thread."""
        if time.monotonic() - self.began > self.timeout:
            return Status("TIMEDOUT")
        replies: list[Reply] = []
        for step in self.steps:
            try:
                replies.append(step(self.scope))
            except Failure as failure:
                replies.append(failure)
                break
        return replies + [NA] * (len(self.steps) - len(replies))

    def finish(self, replies: list[Reply] | Status, keyspace: Keyspace) -> Reply:
        """Store what persists and return the reply to the client. On the event loop."""
        if isinstance(replies, Status):
            return replies
        failed = any(isinstance(reply, Failure) for reply in replies)
        refused: Failure | None = None
        for key in [] if failed else self.persist:
            if key in keyspace.values and not isinstance(keyspace.values[key], np.ndarray):
                refused = Failure(WRONGTYPE)
            else:
                keyspace.put(key, self.scope[key])
        if not self.single:
            return replies
        # A real server answers twice where an output key holds another type.
        return TwoReplies([OK, refused]) if refused else replies[0]


def parse_execute(args: list[bytes], first: Keyspace) -> Job:
    """Parse ``AI.MODELEXECUTE …``. A real server looks for model and inputs in its database 0."""
    call = parse_call(args, first)
    scope = {key: first.tensor(key) for key in call.inputs}
    return Job([call], scope, persist=call.outputs, single=True)


def parse_dag(args: list[bytes], keyspace: Keyspace, first: Keyspace) -> Job:
    """Parse ``AI.DAGEXECUTE[_RO] [LOAD n …] [PERSIST n …] [ROUTING key] [TIMEOUT ms] |> …``.

    Tensors are of the client's database, models of `first`, the server's database 0.
    """
    head, *commands = _split(args[1:])
    load, persist, scoped, timeout = _head(head)
    if persist and args[0].upper().endswith(b"_RO"):
        raise Failure("ERR PERSIST cannot be specified in a read-only DAG")
    if not scoped:
        raise Failure(
            "ERR AI.DAGEXECUTE and AI.DAGEXECUTE_RO commands must contain at least one out of "
            "ROUTING, LOAD, PERSIST keywords"
        )
    scope = {key: keyspace.tensor(key) for key in load}
    known = set(scope)
    steps = [_step(command, first, known) for command in commands]
    if not known.issuperset(persist):
        raise Failure("ERR PERSIST key cannot be found in DAG")
    return Job(steps, scope, persist, timeout=timeout)


def _split(args: list[bytes]) -> list[list[bytes]]:
    parts: list[list[bytes]] = [[]]
    for arg in args:
        if arg.split(b"\0", 1)[0] == b"|>":  # a real server compares C strings
            parts.append([])
        else:
            parts[-1].append(arg)
    return parts


def _head(args: list[bytes]) -> tuple[list[bytes], list[bytes], bool, float]:
    keys: dict[bytes, list[bytes]] = {b"LOAD": [], b"PERSIST": []}
    scoped, timeout = False, math.inf
    while args:
        word = args[0].upper()
        if word in keys:
            count = int(args[1])
            keys[word], args = args[2 : 2 + count], args[2 + count :]
        elif word == b"TIMEOUT":
            timeout, args = _timeout(args[1]), args[2:]
            continue
        elif word == b"ROUTING":
            args = args[2:]
        else:
            raise Failure("ERR Invalid DAG command")
        scoped = True
    return keys[b"LOAD"], keys[b"PERSIST"], scoped, timeout


def _step(args: list[bytes], first: Keyspace, known: set[bytes]) -> Step:
    match args[0].upper() if args else b"":
        case b"AI.TENSORSET":
            key, array = tensors.parse(args)
            known.add(key)
            return _set(key, array)
        case b"AI.TENSORGET":
            _require(args[1:2], known)
            return _get(args[1], args[2:])
        case b"AI.MODELEXECUTE":
            call = parse_call(args, first)
            _require(call.inputs, known)
            known.update(call.outputs)
            return call
    raise Failure("Unsupported command within DAG")


def _require(keys: list[bytes], known: set[bytes]) -> None:
    if not known.issuperset(keys):
        raise Failure("ERR INPUT key cannot be found in DAG")


def _set(key: bytes, array: np.ndarray) -> Step:
    def step(scope: Scope) -> Reply:
        scope[key] = array
        return OK

    return step


def _get(key: bytes, options: list[bytes]) -> Step:
    return lambda scope: tensors.reply(scope[key], options)
