import asyncio
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from polyroute import Reply, Trace
from polyroute.decision import Answer, Route
from polyroute.errors import ConfigError, UnknownModelError
from polyroute.policies.router_r1 import RouterR1, prompt_of, transcript, turns
from polyroute.records.jsonl import JsonlStore
from polyroute.records.record import Record
from polyroute.records.replay import replay

ASK_TWO = "<think>Both.</think>\n<search>geo: capital of Peru?\ncalc: 2 + 2</search>"
ASK = "<think>Peru.</think>\n<search>geo: capital of Peru?</search>"
ANSWER = "<think>Known.</think>\n<answer>Lima</answer>"
SAYS = {"geo": "It is Lima.", "calc": "4", "llama3:8b": "Lima, I think."}


def text_of(trace):
    return "".join(span.text for span in transcript(trace))


def own_calls(trace):
    return [
        s.decision.calls[0] for s in trace.steps if isinstance(s.decision, Route) and s.decision.own
    ]


def test_the_searches_of_a_turn_are_asked_at_once_and_read_together(written):
    writer = written.Writer([ASK_TWO, ANSWER], SAYS)
    trace = written.run(writer)
    assert trace.answer == "Lima"
    assert writer.at_once == 2
    assert [call.prompt for call in trace.steps[1].decision.calls] == ["capital of Peru?", "2 + 2"]
    assert text_of(trace) == (
        f"{ASK_TWO}\n<information>\ngeo: It is Lima.\ncalc: 4\nLeft: 3 rounds.\n</information>\n"
        f"{ANSWER}"
    )
    assert all(turn.well_formed for turn in turns(trace))


@pytest.mark.parametrize("server", ["tells", "keeps", "ignores"])
def test_the_transcript_is_the_same_whatever_the_server_does_with_stop_strings(written, server):
    said = [ASK_TWO, "<search>gee: x</search>", ANSWER]
    expected = written.run(written.Writer(said, SAYS, server="strips"))
    trace = written.run(written.Writer(said, SAYS, server=server))
    assert transcript(trace) == transcript(expected)
    assert trace.answer == expected.answer == "Lima"


def test_a_server_without_stop_strings_cannot_let_the_model_invent_the_reply(written):
    invented = f"{ASK}\n<information>\ngeo: Quito\n</information>\n<answer>Quito</answer>"
    trace = written.run(written.Writer([invented, ANSWER], SAYS, server="ignores"))
    assert trace.answer == "Lima"
    assert "Quito" not in text_of(trace)


def test_a_turn_cut_by_its_token_limit_is_not_closed_for_the_model(written):
    cut = Reply(model="router", text="<search>geo: capital of", finish_reason="length")
    trace = written.run(written.Writer([cut, ANSWER], SAYS))
    assert turns(trace)[0].invalid == "<search> is never closed"
    assert text_of(trace).startswith("<search>geo: capital of\n<information>\nInvalid:")


def test_a_turn_that_the_model_ended_itself_is_not_closed_where_the_server_tells(written):
    trace = written.run(written.Writer(["<search>geo: capital of", ANSWER], SAYS, server="tells"))
    assert turns(trace)[0].invalid == "<search> is never closed"


def test_an_invalid_turn_is_told_why_and_may_be_mended(written):
    trace = written.run(written.Writer(["<search>goe: x</search>", ANSWER], SAYS))
    assert "\n<information>\nInvalid: 'goe' is not one of geo, calc, llama3:8b.\n" in text_of(trace)
    assert trace.answer == "Lima"
    assert trace.steps[1].decision.reason.startswith("turn 2; the turn before was invalid: 'goe'")
    assert [turn.well_formed for turn in turns(trace)] == [False, True]


def test_every_turn_is_shown_what_is_left_and_what_an_answer_is_worth(written):
    request = written.ask(usd=Decimal("0.01"), rounds=2, usd_per_quality=0.002)
    trace = written.run(written.Writer([ASK, ASK, ANSWER], SAYS), request=request)
    calls = own_calls(trace)
    assert "Left: $0.01 and 2 rounds. A right answer is worth $0.002." in calls[0].prompt
    spent = [sum(r.usd for r in trace.replies[: 2 * k]) for k in (1, 2)]
    left = [f"${(Decimal('0.01') - usd).quantize(Decimal('0.000001'))}" for usd in spent]
    assert f"Left: {left[0]} and 1 round. A right answer is worth $0.002.\n" in calls[1].prefix
    assert (
        f"Left: {left[1]} and 0 rounds. A right answer is worth $0.002. Nobody" in calls[2].prefix
    )


def test_the_cards_say_price_latency_context_skills_and_other_names(written):
    prompt = prompt_of(written.run(written.Writer([ANSWER])))
    assert "geo (model; $0.00003 a call; 0.4 s; capitals 0.95)" in prompt
    assert "Also called geography." in prompt
    assert "llama3:8b (model; $1 in / $2 out per million tokens; 8000 tokens of context)" in prompt
    assert "router (" not in prompt


def test_the_brief_layout_has_a_short_line_for_each_card(written):
    request = written.ask(usd=Decimal("0.01"), usd_per_quality=0.002)
    trace = written.run(written.Writer([ASK, ANSWER], SAYS), request=request, layout="brief")
    assert prompt_of(trace).splitlines()[1:] == [
        "geo 30 capitals 95",
        "calc 1",
        "llama3:8b 200",
        "rounds 4 budget 10000 worth 2000",
        "Question: Capital of Peru?",
    ]
    assert "\ngeo: It is Lima.\nrounds 3 budget 9967 worth 2000\n</information>" in text_of(trace)


def test_after_the_last_round_a_search_is_invalid_and_the_fallback_speaks(written):
    request = written.ask(rounds=1)
    trace = written.run(written.Writer([ASK], SAYS), request=request)
    first, *others = turns(trace)
    assert first.well_formed
    assert len(others) == 4
    assert all("must answer" in turn.invalid for turn in others)
    assert trace.answer == "It is Lima."
    assert "no valid answer in 5 turns" in trace.steps[-1].decision.fields["fallback"]


def test_the_declared_fallback_is_asked_the_whole_question_and_marked(written):
    writer = written.Writer(["Lima, of course."], SAYS)
    trace = written.run(writer, fallback="llama3:8b")
    assert trace.answer == "Lima, I think."
    last = trace.steps[-1].decision
    assert last.final
    assert last.reason.startswith("fallback to 'llama3:8b': no valid answer in 5 turns")
    assert writer.asked[-1].prompt is None


def test_without_a_declared_fallback_the_commonest_reply_is_the_answer(written):
    says = {"geo": "Lima.", "calc": "4", "llama3:8b": "lima"}
    everybody = "<search>geo: x\ncalc: x\nllama3:8b: x</search>"
    trace = written.run(written.Writer([everybody, "hm"], says))
    assert trace.answer == "lima"
    assert trace.steps[-1].decision.reason.startswith("fallback to the commonest reply")


def test_a_fallback_that_fails_leaves_the_commonest_reply(written):
    says = {**SAYS, "llama3:8b": written.down}
    trace = written.run(written.Writer([ASK, "hm"], says), fallback="llama3:8b")
    assert trace.answer == "It is Lima."
    assert "failed too" in trace.steps[-1].decision.reason


def test_without_any_reply_it_says_that_there_is_none(written):
    trace = written.run(written.Writer(["hm"]))
    assert trace.answer is None
    assert "no reply to fall back on" in trace.steps[-1].decision.reason


def test_a_router_model_that_is_down_leaves_the_fallback(written):
    trace = written.run(written.Writer([written.down], SAYS), fallback="geo")
    assert trace.answer == "It is Lima."
    assert "the router model failed: down" in trace.steps[-1].decision.reason
    assert turns(trace) == []


def test_a_candidate_that_fails_is_an_observation(written):
    trace = written.run(written.Writer([ASK, ANSWER], {"geo": written.down}))
    assert "\ngeo: (no reply: down)\n" in text_of(trace)
    assert trace.answer == "Lima"


def test_the_brief_layout_says_none_for_a_candidate_that_gives_no_reply(written):
    trace = written.run(written.Writer([ASK, ANSWER], {"geo": written.down}), layout="brief")
    assert "\ngeo: none\n" in text_of(trace)


def test_a_call_that_the_budget_refuses_is_an_observation_and_no_round(written):
    request = written.ask(usd=Decimal("0.0003"))
    dear = "<search>llama3:8b: capital of Peru?</search>"
    trace = written.run(written.Writer([dear, ANSWER], SAYS), request=request)
    assert "\nllama3:8b: (no reply: the worst case of a call" in text_of(trace)
    assert trace.rounds == 0
    assert trace.bill.usd <= Decimal("0.0003")


def test_only_specialists_may_be_named_when_they_are_declared(written):
    trace = written.run(written.Writer([ASK, ANSWER], SAYS), specialists=("calc",))
    offered = written.POOL.only(["calc"])
    assert "'geo' is not one of calc" in turns(trace, offered=offered)[0].invalid
    assert "geo (" not in prompt_of(trace)


def test_a_card_that_is_not_in_the_pool_is_an_error(written):
    with pytest.raises(UnknownModelError):
        asyncio.run(RouterR1(router="gpt").decide(Trace(written.ask(), written.POOL)))


def test_the_reference_limits_are_the_dialects_own(written):
    for dialect in ("paper", "code"):
        trace = written.run(written.Writer([ASK], SAYS), dialect=dialect)
        first, *_ = own_calls(trace)
        assert first.params == {
            "max_tokens": 1024, "temperature": 1.0, "top_p": 0.95, "seed": 0,
            "stop": ["</search>", "</answer>"],
        }  # fmt: skip
        assert len(own_calls(trace)) == 5
        assert trace.rounds == 4
        params = trace.steps[1].decision.calls[0].params
        assert params == {"max_tokens": 512, "temperature": 0, "top_p": 1, "seed": 42}


def test_each_sampled_turn_has_a_seed_of_its_own(written):
    request = replace(written.ask(), seed=7)
    trace = written.run(written.Writer([ASK], SAYS), request=request, dialect="code")
    assert [call.params["seed"] for call in own_calls(trace)] == [7, 8, 9, 10, 11]


@pytest.mark.parametrize(("dialect", "tag"), [("paper", "info"), ("code", "information")])
def test_the_reference_wraps_replies_as_it_was_trained_with(written, dialect, tag):
    unknown = "<think>t</think><search>gee: x</search>"
    empty = "<think>t</think> and nothing more"
    writer = written.Writer([ASK, unknown, empty, ANSWER], SAYS)
    trace = written.run(writer, dialect=dialect)
    assert text_of(trace) == (
        f"{ASK}\n\n<{tag}>It is Lima.</{tag}>\n\n{unknown}\n\n<{tag}>None</{tag}>\n\n"
        f"{empty}{ANSWER}"
    )
    assert f"<{tag}>" in prompt_of(trace)


def test_a_reply_is_cut_to_its_limit_and_its_tag_still_closes(written):
    says = {"geo": "word " * 5000}
    for policy in ({}, {"dialect": "code"}, {"observation_chars": 40}):
        trace = written.run(written.Writer([ASK, ANSWER], says), **policy)
        shown = next(span.text for span in transcript(trace) if not span.own)
        limit = policy.get("observation_chars", 2400 if policy else 600)
        assert shown.count("[…]") == 1
        assert shown.rstrip().endswith("</information>")
        assert limit - 10 <= len(shown) <= limit + 80


def test_files_take_the_place_of_the_prompt_and_of_the_advice(written, tmp_path):
    (tmp_path / "prompt.txt").write_text("Who? {candidates}\nQ: {question} END", "utf-8")
    (tmp_path / "advice.txt").write_text("Help: {query}", "utf-8")
    files = {name: str(tmp_path / f"{name[:-5]}.txt") for name in ("prompt_file", "advice_file")}
    request = written.ask("What is {candidates}?")
    trace = written.run(
        written.Writer([ASK, ANSWER], SAYS), request=request, dialect="code", **files
    )
    prompt = prompt_of(trace)
    assert prompt.startswith("Who? geo: Countries and their capitals.")
    assert prompt.endswith("Q: What is {candidates}? END")
    assert trace.steps[1].decision.calls[0].prompt == "Help: capital of Peru?"


def test_a_file_without_its_place_is_refused(tmp_path):
    (tmp_path / "prompt.txt").write_text("Answer!", "utf-8")
    with pytest.raises(ConfigError, match=r"must hold \{question\}"):
        RouterR1(router="router", prompt_file=str(tmp_path / "prompt.txt"))


def test_a_record_without_texts_holds_no_transcript(written):
    trace = written.run(written.Writer([ASK, ANSWER], SAYS))
    assert b"Lima" in Record.of(trace, policy=None).line()
    for content in ("hash", "none"):
        line = Record.of(trace, policy=None, content=content).line()
        assert b"Lima" not in line
        assert b"<search>" not in line


def test_generation_may_be_constrained_to_the_grammar(written):
    llama = own_calls(written.run(written.Writer([ANSWER]), constrained="llama.cpp"))[0]
    vllm = own_calls(written.run(written.Writer([ANSWER]), constrained="vllm"))[0]
    assert 'name ::= "geo" | "calc" | "llama3:8b"' in llama.params["grammar"]
    assert vllm.params["structured_outputs"] == {"grammar": llama.params["grammar"]}
    no_rounds = written.run(
        written.Writer([ASK, ANSWER], SAYS), request=written.ask(rounds=1), constrained="llama.cpp"
    )
    assert "search ::=" not in own_calls(no_rounds)[1].params["grammar"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_turns": 0},
        {"observation_chars": 3},
        {"dialect": "code", "constrained": "llama.cpp"},
        {"faithful": True},
        {"dialect": "paper", "layout": "brief"},
        {"prompt_file": "/no/such/file"},
    ],
)
def test_options_that_do_not_fit_are_refused(wrong):
    with pytest.raises(ConfigError):
        RouterR1(router="router", **wrong)


@pytest.mark.parametrize("dialect", ["polyroute", "paper", "code"])
def test_a_recorded_episode_replays_to_the_same_decisions(written, tmp_path, dialect):
    policy = RouterR1(router="router", dialect=dialect, fallback="llama3:8b")
    said = [ASK, "<search>gee: x</search>", ASK, "junk", "junk"]
    trace = written.run(written.Writer(said, SAYS), dialect=dialect, fallback="llama3:8b")
    store = JsonlStore(tmp_path / "traces.jsonl")
    record = store.append(Record.of(trace, policy=None))
    stored = store.get(record.id).trace()
    assert transcript(stored) == transcript(trace)
    assert prompt_of(stored) == prompt_of(trace)
    again = asyncio.run(replay(stored, policy))
    assert again.same, again.difference


said = st.lists(
    st.sampled_from(
        [ASK, ASK_TWO, ANSWER, "", "junk", "<search>gee: x</search>", "<search>geo: open",
         "<think>t</think><answer></answer>", "<search>geo: <b></search> tail", "<information>"]
    ),
    min_size=1,
    max_size=6,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(said=said, server=st.sampled_from(["strips", "tells", "keeps", "ignores"]),
       dialect=st.sampled_from(["polyroute", "paper", "code"]))  # fmt: skip
def test_the_transcript_only_ever_grows(written, said, server, dialect):
    trace = written.run(written.Writer(said, SAYS, server=server), dialect=dialect)
    whole = text_of(trace)
    before = ""
    for k in range(len(trace.steps) + 1):
        now = text_of(Trace(trace.request, trace.pool, trace.steps[:k]))
        assert now.startswith(before)
        before = now
    for call in own_calls(trace):
        assert whole.startswith(call.prefix)
    own = [span.text for span in transcript(trace) if span.own]
    for text, reply in zip(
        own, [r for r in trace.replies if r.model == "router" and r.text], strict=True
    ):
        assert text.startswith(reply.text) or reply.text.startswith(text)


def test_it_never_asks_twice_for_what_it_was_told(written):
    trace = written.run(written.Writer([ANSWER]))
    assert len(trace.steps) == 2
    assert isinstance(trace.steps[-1].decision, Answer)
