"""The one settings class: every variable, its unit and its default.

Values come from the environment (prefix ``AIMQ_``). An unknown or bad one stops the start with one
line that says what to change (`load_settings`).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from aimq.errors import SettingsError
from aimq.webhooks.signature import key_of

PREFIX = "AIMQ_"
#: Read by the tests only; never settings of a service.
TEST_ONLY = ("AIMQ_TEST_", "AIMQ_REQUIRE_SERVICES")

#: What every secret of `.env.example` and of the example manifests contains.
EXAMPLE_SECRET = "change-me"  # noqa: S105 # a marker, not a secret

_SECRETS = (
    "internal_token", "api_keys", "webhook_secret", "broker_url", "store_url", "redisai_url"
)  # fmt: skip

Port = Annotated[int, Field(ge=0, le=65535)]
Positive = Annotated[int, Field(gt=0)]
Seconds = Annotated[float, Field(gt=0)]
CommaSeparated = Annotated[frozenset[str], NoDecode]


class Constants(BaseModel):
    """Values that no installation has a reason to turn: no environment variable sets them.

    They are fields, so that a test can give a service another value by keyword.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    redisai_connect_seconds: Seconds = 0.5
    """Longest wait for a connection to RedisAI, in seconds; then the answer is made in-process."""
    redisai_timeout_seconds: Seconds = 1.0
    """Longest wait for RedisAI's answer to one execution, in seconds; then as above."""
    redisai_store_seconds: Seconds = 120.0
    """Longest wait for RedisAI to take a model, in seconds; it answers nobody meanwhile."""
    redisai_connections: Positive = 16
    """Most connections to RedisAI of one process (on its event loop; as many for its threads)."""
    keep_versions: int = Field(default=5, ge=1)
    """Published versions of a model that training keeps, the newest and the current one; older ones
    are deleted."""
    ml_timeout_seconds: Seconds = 30.0
    """Longest wait for one answer of the ML service, in seconds."""
    delivery_limit: Positive = 3
    """Deliveries of one message that end with its worker's death before it is dead-lettered."""
    batch_rows: Positive = 10_000
    """Rows sent to the ML service in one request by the batch processor."""
    max_unpacked_mb: Positive = 2048
    """Largest workbook once unpacked, in MiB; larger: refused."""
    max_body_kb: Positive = 1024
    """Largest JSON body, in KiB; larger: 413."""
    latency_target_ms: Positive = 20
    """Single predictions slower than this, in milliseconds, make the ML service admit less."""
    queue_bound: Positive = 100_000
    """Most messages waiting in one queue; beyond it uploads and tasks are answered 503."""
    shutdown_seconds: Seconds = 25.0
    """Longest wait for work under way when asked to stop, in seconds."""
    drain_seconds: float = Field(default=0.0, ge=0)
    """How long an HTTP service still answers after SIGTERM while it says that it is not ready, in
    seconds; 5 in production, where a load balancer has to notice."""
    task_seconds: Seconds = 300.0
    """Longest computation of one task, in seconds; then it is stopped and fails."""
    training_seconds: Seconds = 1200.0
    """Longest training of an uploaded table, in seconds; then it is stopped and fails."""
    webhook_attempts: Positive = 10
    """Attempts at one webhook before it is dead-lettered."""
    webhook_timeout_seconds: Seconds = 10.0
    """Longest wait for a webhook's receiver, in seconds."""
    log_json: bool = False
    """One JSON object per log line instead of text; true in production."""


class Settings(Constants, BaseSettings):
    """Settings of every service. Immutable; safe to share between threads."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    data_dir: Path = Path("data")
    """Folder of the embedded queue, store and files."""
    broker_url: str = Field(default="", repr=False)
    """``sqlite:///…`` (default: ``<data>/aimq.db``), ``amqp://user:pw@host:5672/vhost`` (or
    several: ``host1:5672,host2:5672``), ``amqps://``."""
    broker_ca: str = ""
    """File of authorities (PEM) to trust for ``amqps://``; empty: the system's."""
    store_url: str = Field(default="", repr=False)
    """``sqlite:///…`` (default: ``<data>/aimq.db``), ``redis://host:6379/0``, ``rediss://``, or
    ``redis+sentinel://host1:26379,host2:26379/mymaster/0``; ``?wait=1`` waits for a replica."""
    files_url: str = ""
    """``file://…`` (default: ``<data>/files``) or any fsspec URL. Of this installation alone: files
    that no job of its store names are deleted after a day."""
    redisai_url: str = Field(default="", repr=False)
    """``redis://host:6379/0`` of a RedisAI server, database 0; empty: in-process ONNX Runtime."""
    models_dir: Path = Path("models")
    """Folder of the published model versions."""
    model_name: str = "used_cars"
    """Which published model is the default, and what is trained without a table: a folder of
    ``models_dir``."""
    models_memory_mb: Positive = 1024
    """Memory of all models that the ML service holds, by estimate, in MiB of each process; over it
    the least recently used ones are unloaded, but the default."""

    interface_host: str = "127.0.0.1"
    """Address the interface listens on."""
    interface_port: Port = 8080
    """Port of the interface; 0 takes a free one."""
    interface_url: str = ""
    """Where the command line reaches the interface; empty: its host and port."""
    ml_host: str = "127.0.0.1"
    """Address the ML service listens on."""
    ml_port: Port = 5001
    """Port of the ML service; 0 takes a free one."""
    ml_url: str = "http://127.0.0.1:5001"
    """Where the other services reach the ML service."""
    metrics_host: str = "127.0.0.1"
    """Address of the batch processor's ``/metrics`` and ``/health/*``."""
    metrics_port: Port = 9102
    """Port of the batch processor's ``/metrics`` and ``/health/*``; 0 takes a free one."""

    concurrency: Positive = Field(default_factory=lambda: os.cpu_count() or 1)
    """Files and tasks processed side by side (default: cores)."""
    workers: Positive = 1
    """Processes of the interface and of the ML service, each set on one port."""
    prefetch: int = Field(default=0, ge=0)
    """Unacked uploads held; 0: twice the concurrency. Tasks have bounds of their own."""
    max_attempts: Positive = 5
    """Attempts at one message before it is dead-lettered."""
    retry_base_seconds: Seconds = 1.0
    """Delay before the first retry, in seconds; doubles with each further one."""
    retry_max_seconds: Seconds = 60.0
    """Longest delay between two attempts, in seconds."""
    lease_seconds: Seconds = 10.0
    """How long a claim outlives its worker's last sign of life, in seconds."""

    max_upload_mb: Positive = 100
    """Largest upload, in MiB of file; larger: 413."""
    max_rows: Positive = 1_048_575
    """Most data rows of one spreadsheet; more: refused."""
    rate_limit: str = "2000/second"
    """Requests per client of the ML service, scaled down with health."""
    result_ttl_seconds: Positive = 604_800
    """Age at which a record and its files are deleted, in seconds."""
    factorial_max: Positive = 200_000
    """Largest ``no`` of the factorial workload."""
    webhook_secret: str = Field(default="", repr=False)
    """Signs webhooks; text, or ``whsec_`` and base64; empty: no ``callback_url`` is taken."""
    webhook_allow_private: bool = False
    """Lets webhooks go to loopback, private and link-local addresses."""

    api_keys: CommaSeparated = Field(default=frozenset(), repr=False)
    """Comma-separated keys for ``X-API-Key``; empty: open, loopback only."""
    internal_token: str = Field(default="", repr=False)
    """Bearer token between the services; ``aimq up`` makes a random one."""
    allowed_hosts: CommaSeparated = frozenset()
    """Comma-separated names that clients may call the services by (``Host``, no port); ``*``: any.
    Empty: any with API keys set, loopback names without. The names in ``interface_url`` and
    ``ml_url`` are always answered."""
    trusted_proxies: CommaSeparated = frozenset()
    """Comma-separated addresses or networks whose ``X-Forwarded-For`` is believed; empty: none."""
    allow_open: bool = False
    """Says that listening beyond loopback without an API key is meant."""
    environment: str = "development"
    """development or production; outside development the secrets of the examples are refused."""
    log_level: str = "info"
    """debug, info, warning or error."""

    @field_validator("api_keys", "allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _split_at_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return frozenset(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _known_networks(cls, value: frozenset[str]) -> frozenset[str]:
        for item in value:
            ipaddress.ip_network(item)  # raises ValueError, which names the item
        return value

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError("must be debug, info, warning or error")
        return value.lower()

    @field_validator("webhook_secret")
    @classmethod
    def _usable_secret(cls, value: str) -> str:
        key_of(value)
        return value

    @field_validator("environment")
    @classmethod
    def _known_environment(cls, value: str) -> str:
        if value not in {"development", "production"}:
            raise ValueError("must be development or production")
        return value

    @model_validator(mode="after")
    def _derive(self) -> Self:
        data = self.data_dir.absolute()
        derived = {
            "broker_url": self.broker_url or f"sqlite:///{data / 'aimq.db'}",
            "store_url": self.store_url or f"sqlite:///{data / 'aimq.db'}",
            "files_url": self.files_url or f"file://{data / 'files'}",
            "interface_url": self.interface_url or _url(self.interface_host, self.interface_port),
            "prefetch": self.prefetch or 2 * self.concurrency,
        }
        if self.environment == "production":
            derived |= {"drain_seconds": self.drain_seconds or 5.0, "log_json": True}
        for name, value in derived.items():
            object.__setattr__(self, name, value)
        return self

    def refuse_example_secrets(self) -> None:
        """Raise `SettingsError` when a secret is still the example's and this is production."""
        if self.environment == "development":
            return
        for name in _SECRETS:
            if EXAMPLE_SECRET in str(getattr(self, name)):
                raise SettingsError(
                    f"{PREFIX}{name.upper()} still holds the example's secret. Set one of your "
                    "own, or AIMQ_ENVIRONMENT=development on a machine of your own."
                )

    def refuse_missing_secrets(self) -> None:
        """Raise `SettingsError` in production when callers need a key and the services have none.

        The ML service would refuse its own colleagues, one request at a time.
        """
        if self.environment != "development" and self.api_keys and not self.internal_token:
            raise SettingsError(
                f"{PREFIX}INTERNAL_TOKEN is not set. With {PREFIX}API_KEYS the services need it to "
                "call each other: set one secret, the same for all of them."
            )

    def refuse_open_door(self, host: str) -> None:
        """Raise `SettingsError` when `host` is reachable from outside and no API key is set."""
        if self.api_keys or self.allow_open or is_loopback(host):
            return
        raise SettingsError(
            f"Listening on {host} without an API key is refused. Set AIMQ_API_KEYS, "
            "or AIMQ_ALLOW_OPEN=1 if it is meant."
        )


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """True if `host` can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def variables() -> list[str]:
    """Return the fields that an environment variable sets, in their order."""
    return [name for name in Settings.model_fields if name not in Constants.model_fields]


def load_settings(**overrides: object) -> Settings:
    """Read and check the settings.

    Args:
        overrides: values that win over the environment, by field name.

    Raises:
        SettingsError: one line that names the variable, what is wrong and what is allowed.
    """
    _refuse_unknown(os.environ)
    try:
        settings = Settings(**overrides)  # type: ignore[arg-type] # checked by pydantic
    except ValidationError as exc:
        raise SettingsError(_first_problem(exc)) from None
    settings.refuse_example_secrets()
    settings.refuse_missing_secrets()
    return settings


def _first_problem(exc: ValidationError) -> str:
    problem = exc.errors()[0]
    if not problem["loc"]:
        return problem["msg"]
    name = str(problem["loc"][0])
    field = Settings.model_fields.get(name)
    shown = f" (got {problem['input']!r})" if field is not None and field.repr else ""
    return f"{PREFIX}{name.upper()}: {problem['msg']}{shown}"


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    known = {PREFIX + name.upper() for name in variables()}
    for name in environ:
        if name.startswith(PREFIX) and name not in known and not name.startswith(TEST_ONLY):
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"{name} is not a setting{hint}")
