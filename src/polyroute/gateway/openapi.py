"""``GET /openapi.json``: what this server does, as an OpenAPI 3.1 document.

The one decision here: bodies are described by the very schemas that check them, and the knobs by
the model that reads them; what stands here is which path takes and gives which.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from polyroute import __version__
from polyroute.gateway.asked import Options
from polyroute.gateway.errors import STATUSES
from polyroute.gateway.knobs import HEADERS
from polyroute.gateway.shapes import chat, completions, embeddings, messages, responses
from polyroute.types import Json, JsonObject

__all__ = ["document"]

_TEXT = {"type": "string"}
_NUMBER = {"type": "number"}
_ANY_OBJECT = {"type": "object"}
_LIST = {"type": "array", "items": _ANY_OBJECT}


def _object(required: Mapping[str, JsonObject], **optional: JsonObject) -> JsonObject:
    return {"type": "object", "required": list(required), "properties": {**required, **optional}}


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(schema: JsonObject) -> JsonObject:
    return {"anyOf": [schema, {"type": "null"}]}


_ERROR = _object(
    {
        "error": _object(
            {
                "message": _TEXT,
                "type": _TEXT,
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            }
        )
    },
    polyroute=_ref("Report"),
    type={"const": "error"},
)

_REPORT = _object(
    {
        "trace_id": _TEXT,
        "policy": _TEXT,
        "seed": {"type": "integer"},
        "usd": {"type": ["string", "null"], "description": "Exact; null when a part is unknown."},
        "rounds": {"type": "integer"},
        "seconds": _NUMBER,
        "usage": _ANY_OBJECT,
        "own_usage": _ANY_OBJECT,
        "calls": _LIST,
    },
    reason=_TEXT,
    facts=_ANY_OBJECT,
    fallback=_ANY_OBJECT,
    record={"const": "lost"},
    trace=_ANY_OBJECT,
)

_ANSWERS: Mapping[str, JsonObject] = {
    "ChatCompletion": _object(
        {
            "id": _TEXT,
            "model": _TEXT,
            "choices": _LIST,
            "usage": {"type": ["object", "null"]},
            "polyroute": _ref("Report"),
        }
    ),
    "Completion": _object(
        {
            "id": _TEXT,
            "object": {"const": "text_completion"},
            "model": _TEXT,
            "choices": _LIST,
            "usage": {"type": ["object", "null"]},
            "polyroute": _ref("Report"),
        }
    ),
    "Response": _object(
        {
            "id": _TEXT,
            "object": {"const": "response"},
            "status": {"enum": ["completed", "incomplete"]},
            "model": _TEXT,
            "output": _LIST,
            "usage": {"type": ["object", "null"]},
            "store": {"type": "boolean"},
            "polyroute": _ref("Report"),
        }
    ),
    "Message": _object(
        {
            "id": _TEXT,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": _TEXT,
            "content": _LIST,
            "stop_reason": _TEXT,
            "usage": _ANY_OBJECT,
            "polyroute": _ref("Report"),
        }
    ),
    "Embeddings": _object(
        {
            "object": {"const": "list"},
            "model": _TEXT,
            "data": _LIST,
            "polyroute": _ref("Report"),
        }
    ),
    "Decision": _object(
        {
            "object": {"const": "polyroute.decision"},
            "id": _TEXT,
            "policy": _TEXT,
            "decision": _ANY_OBJECT,
            "model": {"type": ["string", "null"]},
            "propensity": {"type": ["number", "null"]},
            "asks": _LIST,
            "cards": {
                "type": "array",
                "items": _object(
                    {
                        "id": _TEXT,
                        "quality": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
                        "usd": {"type": ["number", "null"]},
                        "most_usd": {"type": ["string", "null"]},
                    }
                ),
            },
        }
    ),
}

_BODIES: Mapping[str, JsonObject] = {
    "ChatCompletionRequest": chat.SCHEMA,
    "CompletionRequest": completions.SCHEMA,
    "EmbeddingsRequest": embeddings.SCHEMA,
    "MessageRequest": messages.SCHEMA,
    "ResponseRequest": responses.SCHEMA,
    "Feedback": {
        **_object(
            {
                "trace_id": {"type": "string", "minLength": 1},
                "reward": {"type": "number", "minimum": 0, "maximum": 1},
            }
        ),
        "additionalProperties": False,
    },
}

_ASKED: Mapping[str, tuple[str, str, str]] = {
    "/v1/chat/completions": ("ChatCompletionRequest", "ChatCompletion", "OpenAI's chat"),
    "/v1/completions": ("CompletionRequest", "Completion", "a prompt in, text out"),
    "/v1/embeddings": ("EmbeddingsRequest", "Embeddings", "texts to vectors"),
    "/v1/messages": ("MessageRequest", "Message", "Anthropic's messages"),
    "/v1/responses": ("ResponseRequest", "Response", "OpenAI's responses"),
    "/v1/route": ("ChatCompletionRequest", "Decision", "how a request would be routed"),
}
"""What is asked with a body that names a model: the body, the answer, and what it is."""

_NOT_STREAMED = ("/v1/embeddings", "/v1/route")

_READ: Mapping[str, tuple[JsonObject, str]] = {
    "/v1/models": (_object({"object": {"const": "list"}, "data": _LIST}), "every name of a model"),
    "/v1/models/{name}": (_object({"id": _TEXT, "object": {"const": "model"}}), "one of them"),
    "/v1/traces/{id}": (_object({"id": _TEXT, "steps": _LIST}), "the record of one request"),
    "/v1/budgets": (_object({"object": {"const": "list"}, "data": _LIST}), "what is left to spend"),
    "/health": (_object({"status": _TEXT, "version": _TEXT}), "whether the server is up"),
}

_FEEDBACK = _object(
    {"object": {"const": "feedback"}, "trace_id": _TEXT, "reward": _NUMBER, "created_at": _TEXT}
)


def document() -> dict[str, Json]:
    """Return the document. It is the same for every server of this version."""
    options = Options.model_json_schema()
    bodies = {name: _with_options(schema) for name, schema in _BODIES.items()}
    schemas = {"Error": _ERROR, "Report": _REPORT, "Options": options, **_ANSWERS, **bodies}
    knobs = [_header(name, options["properties"][key]) for name, key in HEADERS.items()]
    asked = {path: {"post": _asking(path, *row, knobs)} for path, row in _ASKED.items()}
    read = {path: {"get": _reading(path, *row)} for path, row in _READ.items()}
    feedback = _operation("what the answer of a trace was worth", _FEEDBACK, "Feedback")
    return {
        "openapi": "3.1.0",
        "info": {"title": "polyroute", "version": __version__},
        "paths": {**asked, "/v1/feedback": {"post": feedback}, **read},
        "security": [{"bearer": []}, {"key": []}, {}],
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _with_options(schema: JsonObject) -> JsonObject:
    if "polyroute" not in schema["properties"]:
        return schema
    return {
        **schema,
        "properties": {**schema["properties"], "polyroute": _or_null(_ref("Options"))},
    }


def _header(name: str, schema: JsonObject) -> JsonObject:
    kinds = [schema, *schema.get("anyOf", ())]
    if any(each.get("type") == "array" for each in kinds):
        about = "Names, separated by commas."
    else:
        about = "As the key of the body's polyroute object, which wins over it."
    # a header is text: its value is read by the rules of the key
    return {"name": name, "in": "header", "description": about, "schema": _TEXT}


def _asking(
    path: str, body: str, answer: str, about: str, knobs: list[JsonObject]
) -> dict[str, Json]:
    schema = _ref(answer)
    if path != "/v1/route":
        schema = {"anyOf": [schema, _ref("Decision")]}
    operation = _operation(about, schema, body)
    operation["parameters"] = knobs
    if path not in _NOT_STREAMED:
        operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": _TEXT}
    return operation


def _reading(path: str, schema: JsonObject, about: str) -> dict[str, Json]:
    operation = _operation(about, schema)
    names = [part[1:-1] for part in path.split("/") if part.startswith("{")]
    operation["parameters"] = [
        {"name": name, "in": "path", "required": True, "schema": {**_TEXT, "minLength": 1}}
        for name in names
    ]
    return operation


def _operation(about: str, answer: JsonObject, body: str | None = None) -> dict[str, Any]:
    statuses = {str(status): _refusal(status) for status in STATUSES if status != 499}
    operation: dict[str, Any] = {
        "summary": about,
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": answer}}},
            **statuses,
        },
    }
    if body is not None:
        content = {"application/json": {"schema": _ref(body)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _refusal(status: int) -> JsonObject:
    content = {"application/json": {"schema": _ref("Error")}}
    return {"description": HTTPStatus(status).phrase, "content": content}
