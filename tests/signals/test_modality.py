import pytest

from polyroute import Message, ModelCard, Request
from polyroute.signals.modality import modalities, takes


def request_with(*parts):
    return Request(id="q", messages=(Message("user", tuple(parts)),))


@pytest.mark.parametrize(
    ("part", "modality"),
    [
        ({"type": "image_url", "image_url": {"url": "data:,"}}, "image"),
        ({"type": "input_audio", "input_audio": {}}, "audio"),
        ({"type": "file", "file": {}}, "file"),
    ],
)
def test_a_part_needs_its_modality(part, modality):
    request = request_with({"type": "text", "text": "what is this?"}, part)
    assert modalities(request) == {"text", modality}
    assert not takes(ModelCard(id="m"), request)
    assert takes(ModelCard(id="m", modalities=frozenset({"text", modality})), request)


def test_a_part_of_an_unknown_type_excludes_nobody():
    assert takes(ModelCard(id="m"), request_with({"type": "new", "new": 1}))
