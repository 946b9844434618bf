"""Every error AIMQ raises, in one tree.

    AimqError
    ├── SettingsError          the start is refused                        exit 2
    ├── ClientError            what was asked cannot be done as asked      400
    │   ├── Unauthorized       no key, or a wrong one                      401
    │   ├── Forbidden          another web site asks, or an unknown Host   403
    │   ├── NotFound           no such thing                               404
    │   ├── RequestTimedOut    the request did not come in time            408
    │   ├── Disconnected       the client left; nobody reads the answer    400
    │   ├── Conflict           not in this state                           409
    │   ├── Gone               expired                                     410
    │   ├── TooLarge           over a bound                                413
    │   ├── UnsupportedMedia   not a file or body we read                  415
    │   ├── TaskTooLong        over the time limit of a task               422
    │   └── Invalid            understood, but wrong; names the fields     422
    │       └── WorkbookError  a spreadsheet that cannot be scored         422
    ├── TransientError         the same call may succeed later; retried    503
    │   ├── RateLimited        asked too often                             429
    │   ├── Overloaded         shedding load, or a queue past its bound    503
    │   ├── TimedOut           no answer in time                           504
    │   ├── BrokerUnavailable  the queue cannot be reached                 503
    │   ├── StoreUnavailable   the job store cannot be reached             503
    │   ├── FilesUnavailable   the file store or its disk refuses          503
    │   ├── MlUnavailable      the ML service cannot be reached            503
    │   ├── WebhookFailed      a webhook's receiver did not take it        503
    │   ├── WorkerDied         the process of a computation died           503
    │   └── ModelMissing       a runtime has lost the model; stored again  503
    ├── NotInstalled           this installation lacks what it needs       501
    ├── ModelRefused           a model file that must not be served        500
    ├── MessageRejected        a message nobody can process                422
    └── InternalError          a bug of ours                               500

Each class knows its HTTP status and whether trying again can help (``retryable``); an adapter maps
its library's errors to these at its edge, so that callers never import a library to catch one.
"""

from __future__ import annotations

from typing import ClassVar, TypedDict


class FieldError(TypedDict, total=False):
    """One thing that is wrong with one field of what was sent."""

    field: str
    message: str
    given: object
    allowed: object


class AimqError(Exception):
    """Root of the tree.

    Args:
        detail: what is wrong, where, and what to do, for a person.
        errors: one entry per wrong field.
        retry_after: seconds after which trying again makes sense, when known.
    """

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors or []
        self.retry_after = retry_after


class SettingsError(AimqError):
    """A setting is unknown, malformed or unsafe; nothing is started."""

    title = "Bad settings"


class ClientError(AimqError):
    """The caller must change something before asking again."""

    status = 400
    title = "Bad request"


class Unauthorized(ClientError):
    """No credentials, or wrong ones."""

    status = 401
    title = "Not authorised"


class Forbidden(ClientError):
    """Not from another web site, nor under a Host that is not answered."""

    status = 403
    title = "Forbidden"


class RequestTimedOut(ClientError):
    """The rest of a request did not come in time."""

    status = 408
    title = "Request timed out"


class Disconnected(ClientError):
    """The client went away before its request was complete; nobody reads the answer."""


class NotFound(ClientError):
    """The id names nothing."""

    status = 404
    title = "Not found"


class Conflict(ClientError):
    """Not possible in the present state."""

    status = 409
    title = "Conflict"


class Gone(ClientError):
    """It was here and has expired."""

    status = 410
    title = "Expired"


class TooLarge(ClientError):
    """Over a size bound."""

    status = 413
    title = "Too large"


class UnsupportedMedia(ClientError):
    """Not a kind of file or body that is read here."""

    status = 415
    title = "Unsupported media type"


class Invalid(ClientError):
    """Well-formed, but wrong in the named fields."""

    status = 422
    title = "Validation failed"


class WorkbookError(Invalid):
    """A spreadsheet that cannot be scored as it is."""

    title = "Unusable spreadsheet"


class TaskTooLong(ClientError):
    """A computation was stopped at its time limit; it would be again."""

    status = 422
    title = "Took too long"


class TransientError(AimqError):
    """The same call may succeed later."""

    status = 503
    title = "Temporarily unavailable"
    retryable = True


class RateLimited(TransientError):
    """Asked too often."""

    status = 429
    title = "Too many requests"


class Overloaded(TransientError):
    """Load is being shed, or a queue is past its bound."""

    title = "Overloaded"


class TimedOut(TransientError):
    """No answer in time."""

    status = 504
    title = "Timed out"


class BrokerUnavailable(TransientError):
    """The queue cannot be reached or did not confirm."""

    title = "Queue unavailable"


class StoreUnavailable(TransientError):
    """The job store cannot be reached."""

    title = "Job store unavailable"


class FilesUnavailable(TransientError):
    """The file store cannot be reached or cannot take more."""

    title = "File store unavailable"


class MlUnavailable(TransientError):
    """The ML service cannot be reached."""

    title = "ML service unavailable"


class WebhookFailed(TransientError):
    """The receiver of a webhook cannot be reached, or did not take it."""

    title = "Webhook failed"


class WorkerDied(TransientError):
    """The process that computed something died: killed, or out of memory."""

    title = "Worker died"


class ModelMissing(TransientError):
    """A runtime that restarted, or was cleared, no longer has the model; storing it again helps."""

    title = "Model missing"


class NotInstalled(AimqError):
    """This installation lacks the packages for it."""

    status = 501
    title = "Not installed"


class ModelRefused(AimqError):
    """A model file that is damaged, of another digest, or does not fit its schema."""

    title = "Model refused"


class MessageRejected(AimqError):
    """A queue message that nobody can process; it is dead-lettered at once."""

    status = 422
    title = "Unprocessable message"


class InternalError(AimqError):
    """A bug of ours; the log has the trace."""
