"""Episodes on a server of tokens: what was sampled is what is trained on."""

import asyncio
import math

import pytest

from polyroute.backends.transformers.wording import Wording
from polyroute.errors import BackendError, ConfigError
from polyroute.train.r1.setting import Setting
from polyroute.train.r1.verl.played import Scene, play
from polyroute.train.r1.verl.rows import problem_of, rows
from polyroute.train.r1.verl.served import Generated

END = 0


class Characters:
    """One token per character, and an end."""

    chat_template = None
    eos_token_id = END

    def __call__(self, text, add_special_tokens=True):
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, ids, skip_special_tokens=True, clean_up_tokenization_spaces=False):
        return "".join(chr(each) for each in ids if each != END)


class Says:
    """Answers each turn with the next text, and an end unless a stop string ended it."""

    def __init__(self, *texts, end=False):
        self.texts = list(texts)
        self.end = end
        self.asked = []

    async def generate(self, ids, params):
        self.asked.append((list(ids), dict(params)))
        said = [ord(letter) for letter in self.texts.pop(0)] + [END] * self.end
        said = said[: params["max_tokens"]]
        return Generated(ids=said, logprobs=[-each / 1000 for each in said])


SETTING = Setting(
    task="atlas-small",
    model="unused",
    policy={"layout": "brief", "max_turns": 3, "router_params": {"max_tokens": 60}},
    judged=4,
    prompt_tokens=2000,
    reply_tokens=1000,
)


def played(server, *, setting=SETTING, place=0, **options):
    row = rows(setting, "val")[place]["extra_info"]
    scene = Scene(setting, setting.game())
    options = {"params": {"temperature": 1.0, "logprobs": True}, "sample": "a", **options}
    return asyncio.run(play(scene, row, server, Wording(Characters()), **options))


def expert():
    return problem_of(SETTING, rows(SETTING, "val")[0]["extra_info"]).pool.ids[0]


def test_the_tokens_are_the_prompts_then_turns_and_observations_in_order():
    turns = (f"<search> {expert()}: x </search>", "<answer> y </answer>")
    server = Says(*turns)
    tokens = played(server).tokens
    own = [[ord(letter) for letter in turn] for turn in turns]
    whole = [*tokens.prompt_ids, *tokens.completion_ids]
    assert server.asked[0][0] == list(tokens.prompt_ids)
    shown = server.asked[1][0][len(tokens.prompt_ids) + len(own[0]) :]
    assert whole == [*tokens.prompt_ids, *own[0], *shown, *own[1]]
    assert list(tokens.mask) == [True] * len(own[0]) + [False] * len(shown) + [True] * len(own[1])
    assert all(
        logprob == (-id / 1000 if mine else 0.0)
        for id, logprob, mine in zip(
            tokens.completion_ids, tokens.logprobs, tokens.mask, strict=True
        )
    )


def test_what_comes_with_the_stop_string_is_kept_once_and_not_read():
    with_more = f"<search> {expert()}: x </search>\n"
    server = Says(with_more, "<answer> y </answer>")
    played(server)
    first, second = (ids for ids, _ in server.asked)
    text = Characters().decode(second[len(first) :])
    assert text.startswith(with_more)
    assert not text.startswith(f"{with_more}\n")


def test_the_trainer_decides_how_and_the_policy_where_a_turn_ends():
    server = Says("<answer> y </answer>")
    played(server, params={"temperature": 0.7, "top_p": 0.95, "top_k": -1, "logprobs": True})
    assert server.asked[0][1] == {
        "temperature": 0.7,
        "top_p": 0.95,
        "top_k": -1,
        "logprobs": True,
        "max_tokens": 60,
        "stop": ["</search>", "</answer>"],
        "include_stop_str_in_output": True,
    }


def test_a_right_answer_is_rewarded_and_broken_turns_cost_one():
    gold = problem_of(SETTING, rows(SETTING, "val")[0]["extra_info"]).golds[0]
    right = played(Says(f"<answer> {gold} </answer>"))
    assert right.terms.total == pytest.approx(1.0)
    broken = played(Says("no tags", "none", "none", "none", end=True))
    assert broken.terms.total == -1.0
    assert broken.tokens.completion_ids[-1] == END
    assert right.figures.keys() == broken.figures.keys()
    assert broken.figures["well_formed"] == 0.0


def test_a_turn_that_is_cut_has_no_closing_tag():
    cut = played(Says("<answer> " + "y" * 100, *("x" * 99,) * 3))
    assert cut.terms.malformed is not None
    assert cut.terms.total == -1.0


def test_an_episode_without_room_ends_at_its_last_sampled_token():
    setting = Setting(
        task="atlas-small",
        model="unused",
        policy=dict(SETTING.policy),
        judged=4,
        prompt_tokens=2000,
        reply_tokens=80,
    )
    turn = f"<search> {expert()}: {'x' * 20} </search>"
    found = played(Says(turn, *("y" * 99,) * 3), setting=setting)
    assert len(found.tokens.completion_ids) <= 80
    assert found.tokens.mask[-1]
    assert found.terms.total == -1.0


def test_a_prompt_that_is_too_long_is_an_error_and_no_episode():
    setting = Setting(task="atlas-small", model="unused", judged=4, prompt_tokens=10)
    with pytest.raises(BackendError, match="prompt_tokens"):
        played(Says(), setting=setting)


def test_samples_of_a_row_have_seeds_of_their_own_and_the_same_sample_the_same():
    class Remembers(Says):
        pass

    seeds = {}
    for sample in ("a", "b", "a"):
        setting = SETTING
        row = rows(setting, "val")[1]["extra_info"]
        game = setting.game()
        traces = []
        plain = game.reward.malformed
        game.reward.malformed = lambda trace, kept=traces, plain=plain: (
            kept.append(trace) or plain(trace)
        )
        server = Remembers("<answer> y </answer>")
        scene = Scene(setting, game)
        asyncio.run(play(scene, row, server, Wording(Characters()), params={}, sample=sample))
        seeds.setdefault(sample, set()).add((traces[0].request.seed, traces[0].request.id))
    assert len(seeds["a"]) == len(seeds["b"]) == 1
    assert seeds["a"] != seeds["b"]


def test_a_row_of_another_task_is_refused():
    row = {**rows(SETTING, "val")[0]["extra_info"], "problem": "somebody else's"}
    with pytest.raises(ConfigError, match="write the rows again"):
        problem_of(SETTING, row)


def test_an_unknown_bill_is_logged_as_not_a_number():
    assert not math.isnan(played(Says("<answer> y </answer>")).figures["usd"])
