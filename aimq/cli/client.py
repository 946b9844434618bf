"""The interface's HTTP API as the command line uses it."""

from __future__ import annotations

from typing import Any

import httpx

from aimq.errors import AimqError, ClientError, TransientError
from aimq.settings import Settings


class Client:
    """Calls an interface service. Not thread-safe; use it as a context manager.

    Every method raises `TransientError` when the service cannot be reached or asks to come back
    later, and `ClientError` with the service's own words when it refuses.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.interface_url.rstrip("/")
        key = next(iter(sorted(settings.api_keys)), None)
        self._http = httpx.Client(
            base_url=self.url,
            headers={"X-API-Key": key} if key else {},
            timeout=httpx.Timeout(60.0, connect=5.0),
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 # httpx's
        """Send a request and return the answer, which is a success."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as exc:
            raise TransientError(
                f"{self.url} does not answer ({type(exc).__name__}). Is it up? Try `aimq up`."
            ) from None
        if response.is_error:
            raise _refusal(response)
        return response

    def json(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 # JSON is anything
        """Send a request and return the answer's JSON."""
        return self.call(method, path, **options).json()


def _refusal(response: httpx.Response) -> AimqError:
    try:
        problem = response.json()
        detail = str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"{response.request.url} answered {response.status_code}"
    kind = TransientError if response.status_code in {429, 503, 504} else ClientError
    return kind(detail)
