"""Types of the messages for TypeScript and Java, from the AsyncAPI document and the JSON Schemas it names.

AsyncAPI's own generators need Node and a tree of npm packages to write these two files, which are types and
no more: a Kafka client is the reader's choice. JSON Schema's keywords that the messages do not use have no
counterpart here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

_NOTICE = "Generated from schemas/asyncapi.yaml by `make schemas`; do not edit."
_REFERENCE = "#/$defs/"
_ANY = "JsonValue"
Schema = Mapping[str, Any]


def client_files(contract: Mapping[str, str]) -> dict[str, str]:
    """Files of the clients by their paths under ``clients/``.

    Args:
        contract: The contract files by name: ``asyncapi.yaml``, and the schemas that it names.

    Raises:
        TypeError: A schema uses a keyword that has no counterpart here.
    """
    types, topics = _types(contract)
    return {
        "typescript/padellm.ts": _typescript(types, topics),
        "java/padellm/Messages.java": _java(types, topics),
    }


def _types(contract: Mapping[str, str]) -> tuple[dict[str, Schema], dict[str, str]]:
    """The types by name, in the order of the channels, and the channels' default topics."""
    document = yaml.safe_load(contract["asyncapi.yaml"])
    types: dict[str, Schema] = {}
    topics: dict[str, str] = {}
    for name, channel in document["channels"].items():
        topics[name] = channel["address"]
        for key in channel["messages"]:
            payload = document["components"]["messages"][key]["payload"]
            if "schema" in payload:
                schema = json.loads(contract[payload["schema"]["$ref"].removeprefix("./")])
                types |= {name: each for name, each in schema["$defs"].items() if name != _ANY}
                types[schema["title"]] = schema
    return types, topics


def _kinds(schema: Schema) -> tuple[list[Schema], bool]:
    """The alternatives of a schema without null, and whether null is one of them."""
    every = schema.get("anyOf", [schema])
    kinds = [each for each in every if each.get("type") != "null"]
    return kinds, len(kinds) < len(every)


def _reference(schema: Schema) -> str | None:
    return schema["$ref"].removeprefix(_REFERENCE) if "$ref" in schema else None


def _unknown(schema: Schema) -> TypeError:
    return TypeError(f"no counterpart is known for {dict(schema)}: add one to stream/schemas/clients.py")


def _comment(schema: Schema, indent: str = "") -> Iterator[str]:
    if words := schema.get("description"):
        text = re.sub(r"\s+", " ", words.replace("``", "`")).replace("*/", "* /")
        yield f"{indent}/** {text} */"


def _typescript(types: Mapping[str, Schema], topics: Mapping[str, str]) -> str:
    lines = [f"// {_NOTICE}", "", "/** Default names of the topics. */", "export const topics = {"]
    lines += [f"  {name}: {json.dumps(topic)}," for name, topic in topics.items()]
    lines += ["} as const;", "", f"export type {_ANY} =", f"  | null | boolean | number | string | {_ANY}[]"]
    lines += [f"  | {{ [name: string]: {_ANY} }};"]
    for name, schema in types.items():
        lines += ["", *_comment(schema)]
        if "enum" in schema:
            lines.append(f"export type {name} = {' | '.join(map(json.dumps, schema['enum']))};")
            continue
        lines.append(f"export interface {name} {{")
        for field, of_field in schema["properties"].items():
            lines += _comment(of_field, "  ")
            mark = "" if field in schema.get("required", ()) else "?"
            lines.append(f"  {field}{mark}: {_typescript_type(of_field)};")
        lines.append("}")
    return "\n".join(lines) + "\n"


_TYPESCRIPT = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


def _typescript_type(schema: Schema) -> str:
    kinds, nullable = _kinds(schema)
    return " | ".join([*map(_typescript_kind, kinds), *(["null"] if nullable else [])])


def _typescript_kind(schema: Schema) -> str:
    if name := _reference(schema):
        return name
    kind = schema.get("type")
    if kind in _TYPESCRIPT:
        return _TYPESCRIPT[kind]
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(map(_typescript_type, schema['prefixItems']))}]"
    if kind == "array":
        return f"{_typescript_type(schema['items'])}[]"
    if kind == "object":
        return f"Record<string, {_typescript_type(schema['additionalProperties'])}>"
    raise _unknown(schema)


_JAVA_HEAD = f"""// {_NOTICE}
package padellm;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.JsonNode;
import java.util.List;
import java.util.Map;

/** The messages as records for Jackson; members that a later version adds are passed over. */
public final class Messages {{
    private Messages() {{}}
"""


def _java(types: Mapping[str, Schema], topics: Mapping[str, str]) -> str:
    lines = [_JAVA_HEAD]
    for name, topic in topics.items():
        constant = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper()
        lines.append(f"    public static final String {constant}_TOPIC = {json.dumps(topic)};")
    for name, schema in types.items():
        lines += ["", *_comment(schema, "    ")]
        lines += _java_enum(name, schema) if "enum" in schema else _java_record(name, schema)
    return "\n".join([*lines, "}"]) + "\n"


def _java_enum(name: str, schema: Schema) -> Iterator[str]:
    yield f"    public enum {name} {{"
    for value in schema["enum"]:
        yield f"        @JsonProperty({json.dumps(value)}) {re.sub('[^A-Za-z0-9]', '_', value).upper()},"
    yield "    }"


def _java_record(name: str, schema: Schema) -> Iterator[str]:
    yield "    @JsonIgnoreProperties(ignoreUnknown = true)"
    yield f"    public record {name}("
    fields = list(schema["properties"].items())
    for number, (field, of_field) in enumerate(fields, start=1):
        yield from _comment(of_field, "        ")
        component = re.sub(r"_([a-z])", lambda found: found[1].upper(), field)
        boxed = field not in schema.get("required", ())
        kind = _java_type(of_field, boxed=boxed)
        comma = "," if number < len(fields) else ""
        yield f"        @JsonProperty({json.dumps(field)}) {kind} {component}{comma}"
    yield "    ) {}"


_JAVA = {"string": "String", "integer": "long", "number": "double", "boolean": "boolean"}
_JAVA_BOXED = {**_JAVA, "integer": "Long", "number": "Double", "boolean": "Boolean"}


def _java_type(schema: Schema, *, boxed: bool) -> str:
    kinds, nullable = _kinds(schema)
    if len(kinds) > 1:
        return "JsonNode"
    return _java_kind(kinds[0], boxed=boxed or nullable)


def _java_kind(schema: Schema, *, boxed: bool) -> str:
    if name := _reference(schema):
        return "JsonNode" if name == _ANY else name
    kind = schema.get("type")
    if kind in _JAVA:
        return (_JAVA_BOXED if boxed else _JAVA)[kind]
    if kind == "array" and "prefixItems" in schema:
        members = {_java_type(each, boxed=True) for each in schema["prefixItems"]}
        return f"List<{members.pop() if len(members) == 1 else 'JsonNode'}>"
    if kind == "array":
        return f"List<{_java_type(schema['items'], boxed=True)}>"
    if kind == "object":
        return f"Map<String, {_java_type(schema['additionalProperties'], boxed=True)}>"
    raise _unknown(schema)
