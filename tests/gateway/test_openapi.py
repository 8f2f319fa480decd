"""``GET /openapi.json`` is true: it names what there is, and what it says holds."""

from typing import Any

import jsonschema
import pytest

from polyroute.gateway.openapi import document
from polyroute.gateway.shapes.schema import check

HELLO = [{"role": "user", "content": "hello"}]
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "polyroute", "messages": HELLO},
    "/v1/completions": {"model": "polyroute", "prompt": "hello"},
    "/v1/embeddings": {"model": "small-vectors", "input": "hello"},
    "/v1/messages": {"model": "polyroute", "messages": HELLO, "max_tokens": 9},
    "/v1/responses": {"model": "polyroute", "input": "hello"},
    "/v1/route": {"model": "polyroute", "messages": HELLO},
}


def resolved(name: str) -> dict[str, Any]:
    schemas = document()["components"]
    return {"$ref": f"#/components/schemas/{name}", "components": schemas}


def test_the_server_says_it_and_every_schema_is_one(server: Any) -> None:
    said = server.send("GET", "/openapi.json")
    assert said.json() == document()
    for name in document()["components"]["schemas"]:
        jsonschema.Draft202012Validator.check_schema(resolved(name))


@pytest.mark.parametrize("path", sorted(ASKED))
def test_an_answer_is_as_the_document_says(server: Any, path: str) -> None:
    operation = document()["paths"][path]["post"]
    said = server.send("POST", path, ASKED[path])
    assert said.status_code == 200
    body = operation["requestBody"]["content"]["application/json"]["schema"]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    for schema, value in ((body, ASKED[path]), (answer, said.json())):
        jsonschema.validate(value, {**schema, "components": document()["components"]})
    refused = server.send("POST", path, {})
    assert refused.status_code == 400
    jsonschema.validate(refused.json(), resolved("Error"))


def test_every_path_that_takes_a_key_is_in_it() -> None:
    from polyroute.gateway.access.door import _ANY, _TABLE

    documented = set(document()["paths"])
    assert (set(_TABLE) | set(_ANY)) - {"/metrics"} <= documented


def test_what_checks_a_body_agrees_with_a_whole_implementation_of_json_schema() -> None:
    schema = {
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"type": ["integer", "null"], "minimum": 1, "maximum": 3},
            "b": {"type": "array", "minItems": 1, "items": {"type": "string", "minLength": 1}},
            "c": {"type": "string", "enum": ["x", "y"]},
            "d": {"type": "object", "properties": {"e": {"type": "number"}}},
        },
    }
    values: list[Any] = [None, True, False, 0, 1, 2.5, 4, "", "x", [], [""], ["x"], {}, {"e": "1"}]
    values += [{"e": 1}, {"e": True}]
    bodies = [{"a": 1, key: value} for key in "abcd" for value in values]
    bodies += [{}, {"z": 1}]
    for body in bodies:
        try:
            jsonschema.validate(body, schema)
        except jsonschema.ValidationError:
            with pytest.raises(Exception, match=r"must be|is missing"):
                check(body, schema)
        else:
            check(body, schema)
