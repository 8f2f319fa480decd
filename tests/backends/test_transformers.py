"""A model of transformers as a backend: exact tokens, whatever shares its batch."""

import asyncio
import itertools

import pytest
from msgspec.structs import replace

from polyroute import Call, ModelCard, Pool, Request, Trace
from polyroute.backends.transformers import Transformers
from polyroute.errors import BackendError, ConfigError
from polyroute.train.r1.tiny import tiny_model

torch = pytest.importorskip("torch", reason="needs the train extra")
hub = pytest.importorskip("transformers", reason="needs the train extra")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

WORDS = ["<a>", "</a>", "<b>", "</b>", ":", ".", "red", "green", "blue", "one", "two"]
POOL = Pool([ModelCard(id="router")])


@pytest.fixture(scope="module")
def tiny():
    loaded = tiny_model(WORDS, hidden=32, layers=2, heads=4, seed=1)
    with torch.no_grad():  # a random model hardly prefers anything: make it decided
        loaded.model.model.embed_tokens.weight.mul_(12)
    return loaded


def backend_of(tiny, **kw):
    return Transformers.of(tiny.model, tiny.tokenizer, **kw)


def question(k, text="red one :"):
    return Trace(replace(Request.of(text), id=f"q{k}", seed=k), POOL)


async def episode(backend, trace, turns=3, observed=" <b> green two </b>\n", **params):
    """Sample some turns with an observation after each; return the replies."""
    prefix, replies = "", []
    params = {"max_tokens": 12, "temperature": 1.0, "stop": ["</a>"], **params}
    for _ in range(turns):
        call = Call("router", prefix=prefix, params=params)
        reply = await backend.complete(call, trace)
        replies.append(reply)
        prefix += reply.text + (reply.fields.get("stop") or "") + observed
    return replies


def run(backend, coroutines):
    async def all_of_them():
        try:
            return await asyncio.gather(*coroutines)
        finally:
            await backend.close()

    return asyncio.run(all_of_them())


def logprobs_from_scratch(model, tokens):
    """Log-probability of each token after the prompt, by one pass without any cache."""
    ids = [*tokens.prompt_ids, *tokens.completion_ids]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    start = len(tokens.prompt_ids)
    return [float(logits[k - 1, ids[k]]) for k in range(start, len(ids))]


def test_logprobs_are_those_of_one_pass_over_the_finished_episode(tiny):
    backend = backend_of(tiny, parallel=5)

    async def all_of_them():
        await asyncio.gather(*(episode(backend, question(k), turns=1 + k % 4) for k in range(12)))
        tokens = [backend.session(f"q{k}") for k in range(12)]
        await backend.close()
        return tokens

    for k, tokens in enumerate(asyncio.run(all_of_them())):
        assert tokens.turns == 1 + k % 4
        expected = logprobs_from_scratch(tiny.model, tokens)
        for own, found, right in zip(tokens.mask, tokens.logprobs, expected, strict=True):
            assert found == pytest.approx(right if own else 0.0, abs=2e-4)


def test_an_episode_does_not_depend_on_those_that_share_its_batch(tiny):
    alone = []
    for k in range(6):
        backend = backend_of(tiny)
        alone += run(backend, [episode(backend, question(k), turns=2)])
    backend = backend_of(tiny, parallel=4)
    together = run(backend, [episode(backend, question(k), turns=2) for k in range(6)])
    said = [[reply.text for reply in replies] for replies in together]
    assert said == [[reply.text for reply in replies] for replies in alone]


def test_the_cache_changes_nothing_but_the_work(tiny):
    results = []
    for reuse in (True, False):
        backend = backend_of(tiny)
        backend.reuse = reuse
        replies = run(backend, [episode(backend, question(k)) for k in range(4)])
        results.append(replies)
    with_cache, without = results
    for one, other in zip(itertools.chain(*with_cache), itertools.chain(*without), strict=True):
        assert one.text == other.text
        assert one.usage.prompt == other.usage.prompt
        assert other.usage.cached == 0
    assert all(reply.usage.cached for replies in with_cache for reply in replies[1:])


def test_a_text_that_many_begin_with_is_computed_once_for_the_weights_of_now(tiny):
    async def sampled(backend, who):
        text = "red one : blue two . green two : red one"
        await asyncio.gather(*(episode(backend, question(k, text), turns=2) for k in who))
        return [backend.session(f"q{k}") for k in who]

    async def both():
        backend = backend_of(tiny, parallel=4)
        found = await sampled(backend, range(6))
        work = backend.work[1]
        with torch.no_grad():
            tiny.model.model.embed_tokens.weight.mul_(0.5)
        backend.refresh()
        found += (later := await sampled(backend, range(6, 12)))
        await backend.close()
        return found, later, work

    try:
        found, later, work = asyncio.run(both())
        prompt = len(found[0].prompt_ids)
        # the last token of an episode is not computed; a copy computes the last of its prompt
        after = sum(len(tokens.completion_ids) - 1 for tokens in found[:6])
        assert work - after == prompt + 5
        for tokens in later:
            expected = logprobs_from_scratch(tiny.model, tokens)
            own = [
                right if mine else 0.0 for right, mine in zip(expected, tokens.mask, strict=True)
            ]
            assert list(tokens.logprobs) == pytest.approx(own, abs=2e-4)
    finally:
        with torch.no_grad():
            tiny.model.model.embed_tokens.weight.mul_(2)


def test_a_greedy_turn_is_what_generate_says(tiny):
    backend = backend_of(tiny)
    [[reply]] = run(backend, [episode(backend, question(1), turns=1, temperature=0)])
    ids = torch.tensor([tiny.tokenizer("red one :\n")["input_ids"]])
    stop = tiny.tokenizer.convert_tokens_to_ids("</a>")
    out = tiny.model.generate(
        ids, max_new_tokens=12, do_sample=False, eos_token_id=[stop, tiny.tokenizer.eos_token_id]
    )
    said = tiny.tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)
    assert reply.text + (reply.fields.get("stop") or "") == said


def test_usage_counts_every_token_once(tiny):
    backend = backend_of(tiny)
    trace = question(3)
    first, second = run(backend, [episode(backend, trace, turns=2)])[0]
    assert first.usage.cached == 0
    assert first.usage.output == len(first.logprobs)
    # the last token of a turn is sampled, but not yet computed
    assert second.usage.cached == first.usage.total - 1
    assert second.usage.input == 1 + 4


def test_the_tokens_of_others_are_masked_and_tokenised_alone(tiny):
    backend = backend_of(tiny)

    async def go():
        await episode(backend, question(2), turns=2)
        await backend.complete(Call("router", params={"max_tokens": 1}), question(5))
        tokens = backend.session("q2")
        backend.forget("q2")
        with pytest.raises(ConfigError, match="0 sessions of request 'q2'"):
            backend.session("q2")
        await backend.close()
        return tokens

    tokens = asyncio.run(go())
    observed = tiny.tokenizer(" <b> green two </b>\n")["input_ids"]
    others = [i for i, own in zip(tokens.completion_ids, tokens.mask, strict=True) if not own]
    assert others == observed


def test_another_transcript_begins_a_sequence_of_its_own(tiny):
    backend = backend_of(tiny)

    async def go():
        await episode(backend, question(2), turns=2)
        call = Call("router", prefix="<a> blue", params={"max_tokens": 3, "stop": "</a>"})
        await backend.complete(call, question(2))
        tokens = backend.session("q2")
        await backend.close()
        return tokens

    tokens = asyncio.run(go())
    assert tokens.turns == 1
    assert list(tokens.completion_ids[:2]) == tiny.tokenizer("<a> blue")["input_ids"]


def test_a_cancelled_turn_leaves_no_token(tiny):
    backend = backend_of(tiny)
    trace = question(7)

    async def go():
        task = asyncio.create_task(episode(backend, trace, turns=1, max_tokens=900, stop=[]))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        replies = await episode(backend, trace, turns=2)
        tokens = backend.session("q7")
        await backend.close()
        return replies, tokens

    replies, tokens = asyncio.run(go())
    assert sum(tokens.mask) == sum(reply.usage.output for reply in replies)
    fresh = backend_of(tiny)
    assert [r.text for r in run(fresh, [episode(fresh, trace, turns=2)])[0]] == [
        r.text for r in replies
    ]


def test_new_weights_are_used_from_the_next_turn_on(tiny):
    other = tiny_model(WORDS, hidden=32, layers=2, heads=4, seed=9)
    shared = tiny_model(WORDS, hidden=32, layers=2, heads=4, seed=1)
    backend = Transformers.of(shared.model, shared.tokenizer)

    async def go():
        trace = question(4)
        [first] = await episode(backend, trace, turns=1, max_tokens=5, stop=[])
        backend.refresh(other.model.state_dict())
        params = {"max_tokens": 5, "temperature": 1.0}
        await backend.complete(Call("router", prefix=first.text, params=params), trace)
        tokens = backend.session("q4")
        await backend.close()
        return tokens

    tokens = asyncio.run(go())
    expected = logprobs_from_scratch(other.model, tokens)
    assert tokens.logprobs[5:] == pytest.approx(expected[5:], abs=2e-4)
    assert tokens.logprobs[:5] != pytest.approx(expected[:5], abs=1e-2)


def test_frequencies_are_those_of_the_distribution(tiny):
    """Temperature and nucleus against probabilities computed here, by sorting."""
    backend = backend_of(tiny, parallel=64)
    n, heat, top_p = 600, 40.0, 0.8
    params = {"max_tokens": 1, "temperature": heat, "top_p": top_p}

    async def go():
        calls = (backend.complete(Call("router", params=params), question(k)) for k in range(n))
        await asyncio.gather(*calls)
        tokens = [backend.session(f"q{k}") for k in range(n)]
        await backend.close()
        return tokens

    drawn = asyncio.run(go())
    prompt = torch.tensor([drawn[0].prompt_ids])
    with torch.no_grad():
        p = (tiny.model(prompt).logits[0, -1] / heat).softmax(-1).tolist()
    kept, mass = [], 0.0
    for token in sorted(range(len(p)), key=lambda t: -p[t]):
        if mass >= top_p:
            break
        kept.append(token)
        mass += p[token]
    counts = dict.fromkeys(kept, 0)
    for tokens in drawn:
        [token] = tokens.completion_ids
        counts[token] += 1
        assert tokens.logprobs[0] == pytest.approx(float(torch.log(torch.tensor(p[token] / mass))))
    for token in kept:
        share = p[token] / mass
        assert abs(counts[token] / n - share) < 5 * (share * (1 - share) / n) ** 0.5


def test_what_does_not_fit_is_refused(tiny):
    backend = backend_of(tiny)

    async def go(call, trace):
        return await backend.complete(call, trace)

    with pytest.raises(BackendError, match="window") as caught:
        asyncio.run(go(Call("router"), question(1, "red " * 2000)))
    assert caught.value.failure_kind == "context"
    with pytest.raises(BackendError, match="temperature") as caught:
        asyncio.run(go(Call("router", params={"temperature": -1}), question(1)))
    assert caught.value.failure_kind == "bad_request"
    asyncio.run(backend.close())
    asyncio.run(backend.close())
    with pytest.raises(BackendError, match="closed"):
        asyncio.run(go(Call("router"), question(1)))


class Spelled:
    """A tokenizer of single characters and of ``>`` with a line end, as a BPE has it."""

    eos_token_id = 0
    chat_template = None
    tokens = ("", *"abcdefghijklmnopqrstuvwxyz</> \n", ">\n")

    def __call__(self, text, add_special_tokens=True):
        del add_special_tokens
        ids = []
        while text:
            piece = ">\n" if text.startswith(">\n") else text[0]
            ids.append(self.tokens.index(piece))
            text = text[len(piece) :]
        return {"input_ids": ids}

    def decode(self, ids, **_):
        return "".join(self.tokens[k] for k in ids)


def test_a_stop_string_of_many_tokens_ends_the_turn_and_its_tokens_stay():
    """The model recites, so that the tokens of every turn are known."""
    spelled = Spelled()
    said = "say</end>\n<x>\nmore</end>\n"
    model = _reciting(spelled, "q\n" + said)
    backend = Transformers.of(model, spelled)
    trace = Trace(Request.of("q"), POOL)

    async def go():
        params = {"stop": "</end>", "max_tokens": 20}
        first = await backend.complete(Call("router", params=params), trace)
        prefix = f"{first.text}</end>\n<x>\n"
        second = await backend.complete(Call("router", prefix=prefix, params=params), trace)
        tokens = backend.session("q")
        await backend.close()
        return first, second, tokens

    first, second, tokens = asyncio.run(go())
    assert (first.text, first.fields) == ("say", {"stop": "</end>"})
    assert (second.text, second.fields) == ("more", {"stop": "</end>"})
    assert list(tokens.completion_ids) == spelled(said)["input_ids"]
    own = [i for i, mine in zip(tokens.completion_ids, tokens.mask, strict=True) if mine]
    assert spelled.decode(own) == "say</end>\nmore</end>\n"  # with the line end that came along


def _reciting(spelled, text):
    """Return a small Llama whose logits are overruled by what `text` has at the position."""
    ids = spelled(text)["input_ids"]

    class Reciting(hub.LlamaForCausalLM):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            position = int(kwargs["position_ids"][0, -1])
            out.logits[:] = 0
            out.logits[0, -1, ids[position + 1]] = 50.0
            return out

    config = hub.LlamaConfig(
        vocab_size=len(spelled.tokens), hidden_size=16, intermediate_size=16,
        num_hidden_layers=1, num_attention_heads=2, eos_token_id=0,
    )  # fmt: skip
    return Reciting(config).eval()
