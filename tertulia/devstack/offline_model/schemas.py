"""Values for a JSON schema, made from the topic: for tool calls and structured answers."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

_MAX_DEPTH = 12
_FORMATS = {
    "date": "2024-05-01",
    "date-time": "2024-05-01T12:00:00Z",
    "time": "12:00:00Z",
    "email": "velma@example.org",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}

Schema = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class SchemaValueGenerator:
    """Generates values: equal schema, topic and seed give equal values."""

    root: Schema
    topic: str
    seed: int

    def value(self) -> JsonValue:
        """Return a value for the whole schema."""
        return self._generate(self.root, 0)

    def _generate(self, schema: Schema, depth: int) -> JsonValue:
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(options := schema.get("enum"), list) and options:
            return options[self.seed % len(options)]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = next((name for name in kind if name != "null"), "null")
        if depth > _MAX_DEPTH:
            return None
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return self._number(schema, whole=kind == "integer")
        return {"boolean": True, "null": None}.get(str(kind), self._string(schema))

    def _resolve(self, schema: Schema) -> Schema:
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref")
            if isinstance(reference, str):
                schema = self._resolve_reference(reference)
            elif choice := next((schema[key] for key in ("anyOf", "oneOf", "allOf") if schema.get(key)), None):
                schema = choice[0] if isinstance(choice, list) and isinstance(choice[0], dict) else {}
            else:
                break
        return schema

    def _resolve_reference(self, reference: str) -> Schema:
        found: JsonValue = dict(self.root)
        for step in reference.removeprefix("#/").split("/"):
            found = found.get(step, {}) if isinstance(found, dict) else {}
        return found if isinstance(found, dict) else {}

    def _object(self, schema: Schema, depth: int) -> JsonValue:
        properties = schema.get("properties")
        if not isinstance(properties, dict):
            return {}
        required = schema.get("required")
        names = required if isinstance(required, list) and required else list(properties)
        result: dict[str, JsonValue] = {}
        for name in map(str, names):
            inner = properties.get(name)
            result[name] = self._generate(inner if isinstance(inner, dict) else {}, depth + 1)
        return result

    def _array(self, schema: Schema, depth: int) -> JsonValue:
        items = schema.get("items")
        minimum = schema.get("minItems")
        count = max(minimum if isinstance(minimum, int) else 1, 0)
        return [self._generate(items if isinstance(items, dict) else {}, depth + 1) for _ in range(min(count, 100))]

    def _number(self, schema: Schema, *, whole: bool) -> JsonValue:
        step = _number_keyword(schema, "multipleOf") or (1 if whole else 0.5)
        low, high = _number_keyword(schema, "minimum"), _number_keyword(schema, "maximum")
        if (above := _number_keyword(schema, "exclusiveMinimum")) is not None:
            low = above + step
        if (below := _number_keyword(schema, "exclusiveMaximum")) is not None:
            high = below - step
        start = low if low is not None else min(1, high) if high is not None else 1
        first = -(-start // step) * step
        room = int((high - first) // step) if high is not None else 9
        number = first + step * (self.seed % (max(room, 0) + 1))
        return int(number) if whole else number

    def _string(self, schema: Schema) -> str:
        if isinstance(form := schema.get("format"), str) and form in _FORMATS:
            return _FORMATS[form]
        minimum, maximum = schema.get("minLength"), schema.get("maxLength")
        text = re.sub(r"\s+", " ", self.topic).strip() or "words"
        if isinstance(minimum, int):
            text = text.ljust(minimum, ".")
        return text[:maximum] if isinstance(maximum, int) else text


def _number_keyword(schema: Schema, key: str) -> float | None:
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
