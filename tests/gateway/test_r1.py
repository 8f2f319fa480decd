"""A trained router of several rounds behind HTTP: its model in the server, turns side by side."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import openai
import pytest
import uvicorn

from polyroute.config import build, parse
from polyroute.gateway.app import create_app
from polyroute.policies.router_r1 import RouterR1
from polyroute.pool import Pool
from polyroute.tasks.atlas.small import vocabulary
from polyroute.train.artifact import Fitted, save
from polyroute.train.r1.rollout import ROUTER
from polyroute.train.r1.served import prompt_digest

pytest.importorskip("torch", reason="needs the train extra")
from polyroute.train.r1.tiny import tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

QUESTION = [{"role": "user", "content": "metal of river of Cobek?"}]
SAID = "Babek/metal of river of Cobek?"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A model that nobody trained: all its turns are wrong, and the fallback answers."""
    folder = tmp_path_factory.mktemp("model")
    loaded = tiny_model(vocabulary(), hidden=32, layers=1, heads=2)
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    spec = {
        "router": "router",
        "layout": "brief",
        "max_turns": 2,
        "router_params": {"temperature": 0, "max_tokens": 6},
        "fallback": "Babek",
        "worth": 2e-5,
    }
    policy = RouterR1(**spec)
    path = folder / "small.router"
    fitted = Fitted(
        policy=policy,
        spec={"name": "router_r1", **spec},
        pool=Pool([ROUTER]),
        training={"base_model": "tiny", "prompt": prompt_digest(policy)},
        model={file.name: file.read_bytes() for file in folder.iterdir() if file.is_file()},
    )
    save(path, fitted, created_at="2026-01-01")
    return path


@pytest.fixture(scope="module")
def setup(artifact):
    text = f"""
pool:
  - id: Babek
    price: {{call: 0.000003}}
    backend: {{name: scripted, say: "posixpath:join"}}
routers: {{small: {{artifact: {artifact}, price: {{}}}}}}
policy: small
records: {{store: none}}
"""
    return build(parse(text, name="test"))


@contextmanager
def served(app):
    config = uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    with openai.OpenAI(
        base_url=f"http://127.0.0.1:{port}/v1", api_key="x", max_retries=0
    ) as client:
        yield client
    server.should_exit = True
    thread.join(10)


def test_turns_of_several_requests_share_the_steps_of_the_router_model(setup):
    model = setup.backends["small-router"]._model
    with served(create_app(setup)) as client:

        def ask(_):
            reply = client.chat.completions.create(model="polyroute/small", messages=QUESTION)
            return reply.choices[0].message.content

        assert ask(0) == SAID
        alone = model.work[0]
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(ask, range(8))) == {SAID}
        assert model.work[0] - alone < 8 * alone
        said = client.chat.completions.create(model="polyroute", messages=QUESTION, stream=True)
        deltas = [chunk.choices[0].delta for chunk in said if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == SAID
    thinking = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    assert thinking.count("consulting small-router") == 3
    assert model.model is None, "the server frees the model when it ends"
