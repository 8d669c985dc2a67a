"""Everything this package raises on purpose.

PadellmError
├── ConfigurationError        a setting, checkpoint or file is wrong; names it and its fix
│   └── CheckpointError       a model folder cannot be served
├── BadDocument               this input can never become an event: dead letter, no retry
├── InferenceError            the model did not answer
│   ├── InferenceUnavailable  worth another try: server down, queue full, breaker open
│   │   ├── InferenceBusy     the server is up, but its queue is full
│   │   ├── InferenceLost     the server went away while it had the prompt
│   │   ├── InferenceSick     the server itself failed on the prompt, as it may on all
│   │   ├── InferenceOutage   the server has failed for a while; the circuit breaker is open
│   │   └── InferenceStopped  the engine in this process is gone for good; a new process is needed
│   ├── InferenceTimeout      the deadline passed
│   ├── InferenceModelChanged  another model answered than before; the document starts anew
│   ├── InferenceCrash        the server fails each time it has this document
│   └── InferenceRejected     the server refused the request as malformed; a retry would fail alike
│       └── InferenceUnclear  the server's words do not say whether it or the request is at fault
│           └── InferenceBreach  its answer breaks the contract
├── DeliveryError             Kafka did not take a message
├── RegistryUnavailable       the schema registry did not answer as one, or lacks a schema of ours
├── ForeignRecord             a record on a topic of the service that another program wrote
└── StackError                a part of the embedded stack did not start or died for good
"""


class PadellmError(Exception):
    """Root of the tree."""


class ConfigurationError(PadellmError):
    """A setting, checkpoint or file is wrong; the message names it and its fix."""


class CheckpointError(ConfigurationError):
    """A model folder cannot be served; the message names the file and the reason."""


class BadDocument(PadellmError):  # noqa: N818 - names what it is
    """An input that can never become an event.

    Attributes:
        reason: Stable machine-readable code, for example ``not_json``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class InferenceError(PadellmError):
    """The model did not answer.

    Attributes:
        stage: ``count`` or ``mention``, by the prompt that failed; empty where that is unknown.
        attempts: Tries after which the document was given up.
    """

    stage: str = ""
    attempts: int = 1


class InferenceUnavailable(InferenceError):  # noqa: N818 - names what it is
    """Worth another try: the server is down, its queue is full, or the circuit breaker is open."""


class InferenceBusy(InferenceUnavailable):
    """The server is up, but its queue is full."""


class InferenceLost(InferenceUnavailable):
    """The server, or the connection to it, went away while it had the prompt."""


class InferenceSick(InferenceUnavailable):
    """The server itself failed while it had the prompt, and may fail on every other one."""


class InferenceOutage(InferenceUnavailable):
    """The server has failed for a while: the circuit breaker is open, and its latest probe failed too."""


class InferenceStopped(InferenceUnavailable):
    """The engine in this process is gone for good: only a new process brings it back."""


class InferenceTimeout(InferenceError):  # noqa: N818 - names what it is
    """The deadline passed before the answer came."""


class InferenceModelChanged(InferenceError):  # noqa: N818 - names what it is
    """Another model answered than the one that answered this document's earlier prompts."""


class InferenceCrash(InferenceError):  # noqa: N818 - names what it is
    """The server fails each time it has this document alone, and is well before."""


class InferenceRejected(InferenceError):  # noqa: N818 - names what it is
    """The server refused the request as malformed; the same request would fail again."""


class InferenceUnclear(InferenceRejected):
    """The server answered with an error that does not say whether it or the request is at fault."""


class InferenceBreach(InferenceUnclear):
    """The server's answer breaks the contract of the model: no scores can be made of it."""


class DeliveryError(PadellmError):
    """Kafka did not take a message."""


class RegistryUnavailable(PadellmError):  # noqa: N818 - names what it is
    """Worth another try: the schema registry is away, refuses the login, or lacks a schema of ours."""


class ForeignRecord(PadellmError):  # noqa: N818 - names what it is
    """A record on a topic of the service that is no message of its; names the position and the reason."""


class StackError(PadellmError):
    """A part of the embedded stack did not start, or died for good."""
