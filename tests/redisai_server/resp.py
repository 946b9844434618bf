"""RESP2 replies of the stand-in, and the errors whose text a real server sends."""

from __future__ import annotations


class Status(str):
    """A simple string: ``+OK``."""

    __slots__ = ()


class Failure(Exception):
    """An error reply, its text exactly as on the wire (most begin with ``ERR ``, some do not)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class TwoReplies(list):
    """Several replies to one command, as a real server sends where it errs."""


Reply = Status | Failure | TwoReplies | bytes | int | list | None

OK = Status("OK")
NA = Status("NA")
WRONGTYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


def wrong_arity(name: str) -> Failure:
    return Failure(f"ERR wrong number of arguments for '{name}' command")


def encode(reply: Reply) -> bytes:
    parts: list[bytes] = []
    _encode(reply, parts)
    return b"".join(parts)


def _encode(reply: Reply, parts: list[bytes]) -> None:
    match reply:
        case list():
            if not isinstance(reply, TwoReplies):
                parts.append(f"*{len(reply)}\r\n".encode())
            for item in reply:
                _encode(item, parts)
        case bytes():
            parts += (f"${len(reply)}\r\n".encode(), reply, b"\r\n")
        case str() if not isinstance(reply, Status):
            _encode(reply.encode(), parts)
        case _:
            parts.append(_line(reply).encode() + b"\r\n")


def _line(reply: Status | Failure | int | None) -> str:
    match reply:
        case None:
            return "$-1"
        case Failure():
            return f"-{reply.text}"
        case Status():
            return f"+{reply}"
        case int():
            return f":{int(reply)}"
    raise TypeError(f"no RESP2 reply: {reply!r}")
