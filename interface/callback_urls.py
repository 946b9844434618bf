"""Checks the URLs that clients want results sent to (`batch_processor.webhooks` sends them)."""

from __future__ import annotations

from aimq.errors import FieldError, Invalid
from aimq.settings import Settings
from aimq.webhooks.address import check_url

#: The field of a task that names the URL, beside the fields of the record.
FIELD = "callback_url"


class CallbackUrls:
    """Checks callback URLs. Immutable; thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._enabled = bool(settings.webhook_secret)
        self._allow_private = settings.webhook_allow_private

    def checked(self, url: object) -> str:
        """Return the URL.

        Names are resolved when the result is sent, not now: their addresses may change.

        Raises:
            Invalid: it cannot be used, or this installation sends no webhooks.
        """
        if not isinstance(url, str):
            raise _invalid("is not a text")
        if not self._enabled:
            raise _invalid("is not accepted here: the operator has set no AIMQ_WEBHOOK_SECRET")
        problem = check_url(url, allow_private=self._allow_private)
        if problem:
            raise _invalid(problem)
        return url


def _invalid(problem: str) -> Invalid:
    return Invalid(f"{FIELD} {problem}.", errors=[FieldError(field=FIELD, message=problem)])
