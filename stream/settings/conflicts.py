"""Settings that contradict each other: no connection is less protected than its settings say."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from stream.settings.choices import EventEncoding, RecordEncoding, RecordFormat, SaslMechanism
from stream.settings.values import LOOPBACK, in_files, variable

if TYPE_CHECKING:
    from stream.settings.settings import Settings

SHORTEST_TOKEN = 16
_SAME_TOPIC = {
    ("documents_topic", "entities_topic"): "every event would be read as a document",
    ("documents_topic", "dead_letters_topic"): "every dead letter would be read as a document, without end",
    ("entities_topic", "dead_letters_topic"): "events and dead letters could not be told apart",
    ("documents_topic", "entity_rows_topic"): "every row would be read as a document",
    ("entities_topic", "entity_rows_topic"): "events and rows could not be told apart",
    ("dead_letters_topic", "entity_rows_topic"): "rows and dead letters could not be told apart",
    ("documents_topic", "shadow_topic"): "every difference would be read as a document",
    ("entities_topic", "shadow_topic"): "events and differences could not be told apart",
    ("dead_letters_topic", "shadow_topic"): "dead letters and differences could not be told apart",
    ("shadow_topic", "entity_rows_topic"): "rows and differences could not be told apart",
}
_POINTERS = (
    "text_pointers",
    "optional_text_pointers",
    "id_pointer",
    "labels_pointer",
    "metadata_pointers",
    "carry_all_fields",
)

_REGISTRY_LOGIN = ("schema_registry_username", "schema_registry_password")
_REGISTRY_TLS = (
    "schema_registry_ssl_ca_location",
    "schema_registry_ssl_certificate_location",
    "schema_registry_ssl_key_location",
)
_PASSWORD_LOGIN = ("sasl_username", "sasl_password")
_TOKEN_LOGIN = (
    "sasl_oauthbearer_token_endpoint_url",
    "sasl_oauthbearer_client_id",
    "sasl_oauthbearer_client_secret",
)
_TOKEN_OPTIONS = ("sasl_oauthbearer_scope", "sasl_oauthbearer_extensions", "https_ca_location")


def conflicts(settings: "Settings") -> Iterator[str]:
    """Messages about settings that do not fit together; each names the variables."""
    yield from _topic_conflicts(settings)
    yield from _pointer_conflicts(settings)
    yield from _access_conflicts(settings)
    yield from _login_conflicts(settings)
    yield from _triton_conflicts(settings)
    yield from _registry_conflicts(settings)
    yield from _page_conflicts(settings)


def _topic_conflicts(settings: "Settings") -> Iterator[str]:
    for (one, other), harm in _SAME_TOPIC.items():
        first, second = getattr(settings, one), getattr(settings, other)
        given = f"{variable(one)}={first} and {variable(other)}={second}"
        if second is None:
            continue
        if first == second:
            yield f"{given} are the same: {harm}"
        elif first.replace(".", "_") == second.replace(".", "_"):
            yield f"{given}: Kafka refuses a topic that differs from another in . and _ alone"


def _pointer_conflicts(settings: "Settings") -> Iterator[str]:
    given = [name for name in _POINTERS if getattr(settings, name)]
    chosen = f"PADELLM_RECORD_FORMAT={settings.record_format}"
    if given and not settings.record_format.has_pointers:
        yield (
            f"{chosen} has no fields to point at, and {variable(given[0])} is set; "
            "pointers go with json, cloudevents and debezium"
        )
    if settings.record_format.has_pointers and not settings.text_pointers + settings.optional_text_pointers:
        yield (
            f"{chosen} needs PADELLM_TEXT_POINTERS, such as /data/body; "
            "padellm doctor --topic proposes them from the topic's records"
        )
    if settings.carry_all_fields and settings.metadata_pointers:
        yield "PADELLM_CARRY_ALL_FIELDS=true and PADELLM_METADATA_POINTERS exclude each other"
    if both := set(settings.text_pointers) & set(settings.optional_text_pointers):
        yield f"{min(both)} is both in PADELLM_TEXT_POINTERS and in PADELLM_OPTIONAL_TEXT_POINTERS"


def _given(settings: "Settings", *names: str) -> list[str]:
    """Variables of the settings that have a value, by itself or in a file."""
    found = [
        each
        for name in names
        for each in (name, f"{name}_file")
        if getattr(settings, each, None) not in (None, False)
    ]
    return [variable(each) for each in found]


def _access_conflicts(settings: "Settings") -> Iterator[str]:
    protocol = f"PADELLM_SECURITY_PROTOCOL={settings.security_protocol}"
    for name in sorted(in_files(type(settings).model_fields)):
        if len(both := _given(settings, name)) > 1:
            yield f"{' and '.join(both)} are both set: unset one"
    of_tls = _given(settings, "ssl_ca_location", "ssl_certificate_location", "ssl_key_location")
    if of_tls and not settings.security_protocol.encrypted:
        yield f"{of_tls[0]} is set, but {protocol} does not encrypt: set it to SSL or SASL_SSL"
    of_key = _given(settings, "ssl_key_location", "ssl_key_password")
    if of_key and settings.ssl_certificate_location is None:
        yield f"{of_key[0]} is set without PADELLM_SSL_CERTIFICATE_LOCATION"
    of_login = _given(settings, "sasl_mechanism", *_PASSWORD_LOGIN, *_TOKEN_LOGIN, *_TOKEN_OPTIONS)
    if of_login and not settings.security_protocol.login:
        yield f"{of_login[0]} is set, but {protocol} does not log in: set it to SASL_SSL or SASL_PLAINTEXT"
    if settings.security_protocol.login and settings.sasl_mechanism is None:
        yield f"{protocol} needs PADELLM_SASL_MECHANISM ({', '.join(SaslMechanism)})"


def _login_conflicts(settings: "Settings") -> Iterator[str]:
    if settings.sasl_mechanism is None:
        return
    mechanism = f"PADELLM_SASL_MECHANISM={settings.sasl_mechanism}"
    needed: tuple[str, ...] = _PASSWORD_LOGIN
    others: tuple[str, ...] = (*_TOKEN_LOGIN, *_TOKEN_OPTIONS)
    if settings.sasl_mechanism is SaslMechanism.OAUTHBEARER:
        needed, others = _TOKEN_LOGIN, _PASSWORD_LOGIN
    for name in needed:
        if not _given(settings, name):
            in_file = f" or {variable(name)}_FILE" if name in in_files(type(settings).model_fields) else ""
            yield f"{mechanism} needs {variable(name)}{in_file}"
    if passed_over := _given(settings, *others):
        yield f"{passed_over[0]} is set, but {mechanism} does not use it"


def _triton_conflicts(settings: "Settings") -> Iterator[str]:
    own = _given(settings, "triton_ssl_certificate_location", "triton_ssl_key_location")
    of_tls = _given(settings, "triton_ssl_ca_location") + own
    if of_tls and not settings.triton_ssl:
        yield f"{of_tls[0]} is set, but PADELLM_TRITON_SSL is not: set it to true"
    if own and settings.triton_ssl_certificate_location is None:
        yield f"{own[0]} is set without PADELLM_TRITON_SSL_CERTIFICATE_LOCATION"


def _registry_conflicts(settings: "Settings") -> Iterator[str]:
    used = []
    if settings.record_encoding is RecordEncoding.REGISTRY:
        used.append(f"PADELLM_RECORD_ENCODING={settings.record_encoding}")
        if settings.record_format in {RecordFormat.TEXT, RecordFormat.CLOUDEVENTS}:
            yield f"{used[0]} goes with PADELLM_RECORD_FORMAT document, json and debezium"
    if settings.event_encoding is not EventEncoding.JSON:
        used.append(f"PADELLM_EVENT_ENCODING={settings.event_encoding}")
    access = _given(settings, *_REGISTRY_TLS, *_REGISTRY_LOGIN)
    if settings.schema_registry_url is not None and not used:
        yield (
            "PADELLM_SCHEMA_REGISTRY_URL is set, and nothing uses it: set PADELLM_RECORD_ENCODING=registry, "
            "or PADELLM_EVENT_ENCODING=avro or json-schema"
        )
    if settings.schema_registry_url is None and used + access:
        yield f"{(used + access)[0]} is set without PADELLM_SCHEMA_REGISTRY_URL"
    elif settings.schema_registry_url is not None:
        yield from _registry_access_conflicts(settings, urlsplit(settings.schema_registry_url))


def _registry_access_conflicts(settings: "Settings", url: SplitResult) -> Iterator[str]:
    of_tls, of_login = _given(settings, *_REGISTRY_TLS), _given(settings, *_REGISTRY_LOGIN)
    if of_tls and url.scheme == "http":
        yield f"{of_tls[0]} is set, but PADELLM_SCHEMA_REGISTRY_URL is not https://"
    if of_login and url.scheme == "http" and url.hostname not in LOOPBACK:
        yield f"{of_login[0]} would be sent in clear text: use https:// in PADELLM_SCHEMA_REGISTRY_URL"
    key = _given(settings, "schema_registry_ssl_key_location")
    if key and settings.schema_registry_ssl_certificate_location is None:
        yield f"{key[0]} is set without PADELLM_SCHEMA_REGISTRY_SSL_CERTIFICATE_LOCATION"
    for name, other in (_REGISTRY_LOGIN, _REGISTRY_LOGIN[::-1]):
        if _given(settings, name) and not _given(settings, other):
            yield f"{_given(settings, name)[0]} is set without {variable(other)}"


def _page_conflicts(settings: "Settings") -> Iterator[str]:
    token = settings.page_token
    if settings.page_host not in LOOPBACK and not _given(settings, "page_token"):
        yield (
            f"PADELLM_PAGE_HOST={settings.page_host} is not on loopback, where whoever reaches the page may "
            "read documents: set PADELLM_PAGE_TOKEN or PADELLM_PAGE_TOKEN_FILE"
        )
    if token is not None and len(token.get_secret_value()) < SHORTEST_TOKEN:
        yield f"PADELLM_PAGE_TOKEN has fewer than {SHORTEST_TOKEN} characters: it could be guessed"
