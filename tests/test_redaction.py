"""What is hidden, and what is not."""

import io
import logging

import pytest

from polyroute.errors import BackendError
from polyroute.gateway.access.redacting import Redacting
from polyroute.gateway.errors import ApiError
from polyroute.redaction import redact

SECRETS = [
    "sk-proj-AbCdEf0123456789AbCdEf0123456789",
    "sk-ant-api03-x_y-z0123456789",
    "gsk_0123456789abcdefABCDEF",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "pr_ud0BoW7O5uSTMRjlWDpVvPSkR0Cqb7yUrnG8p0",
    "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-0123456789abcdefghijklmnopqrstu",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
]


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("around", ["{}", "wrong key: {}.", '{{"error": "{}"}}', "x={}&y", "({})"])
def test_keys_are_hidden_wherever_they_stand(secret: str, around: str) -> None:
    text = around.format(secret)
    assert secret[:-1] not in redact(text)
    assert secret not in str(BackendError(text))
    assert secret not in ApiError(500, text).message
    assert secret not in str(ApiError(500, text))


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abc123def456ghi",
        "api_key=hunter2hunter2",
        '"password": "correct horse"',
        "redis://:hunter2hunter2@cache:6379/0",
        "https://me:hunter2@example.org/v1",
    ],
)
def test_named_secrets_are_hidden(text: str) -> None:
    assert "[redacted]" in redact(text)
    assert "hunter2" not in redact(text)
    assert "abc123" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "there is no model 'gpt-5-mini'; did you mean 'gpt-5'?",
        "the policy 'risk-model-2' broke: KeyError('oops')",
        "trace 4f0c1d2e3b4a5968778695a4b3c2d1e0: 429 from https://api.example.org/v1/chat",
        "max_tokens must be an integer of 1 or more, got 'many'",
        "the 30 seconds are over; ask-me-later",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    assert redact(text) == text


def test_logs_hide_secrets_in_messages_and_tracebacks() -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.addFilter(Redacting())
    log = logging.Logger("test")
    log.addHandler(handler)
    log.warning("upstream said %s", SECRETS[0])
    try:
        raise ValueError(SECRETS[1])
    except ValueError:
        log.exception("broken")
    log.info("%d ordinary words", 3)
    text = written.getvalue()
    assert text.count("[redacted]") == 2
    assert "3 ordinary words" in text
    assert not any(secret in text for secret in SECRETS)
