import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyroute.policies.router_r1.turns import transcript
from polyroute.rewards.format import Case, answer_in, code_case, in_code, in_paper, own_turns

THINK, SEARCH = "<think>easy</think>", "<search>gemma: who?</search>"
INFO, ANSWER = "\n\n<information>her</information>\n\n", "<answer>her</answer>"
KNOWN = {"gemma", "llama"}.__contains__

MALFORMED = [
    (Case.NO_PAIR, "her"),
    (Case.NO_PAIR, "<think>easy <answer>her"),
    (Case.UNBALANCED, f"{THINK}{ANSWER}</answer>"),
    (Case.UNBALANCED, f"{THINK}<think>{ANSWER}"),
    (Case.UNBALANCED, f"{THINK}{SEARCH}<search>{INFO}{ANSWER}"),
    (Case.UNBALANCED, f"{THINK}{SEARCH}{INFO}</information>{ANSWER}"),
    (Case.EMPTY_THOUGHT, f"<think> </think>{ANSWER}"),
    (Case.EMPTY_THOUGHT, f"<think>...</think>{ANSWER}"),
    (Case.EMPTY_THOUGHT, f"{THINK}{SEARCH}{INFO}<think>\n</think>{ANSWER}"),
    (Case.NESTED, f"{THINK}<answer><search>gemma: who?</search></answer>"),
    (Case.NESTED, "<think>so <answer>her</answer></think>"),
    (Case.COUNTS, f"{THINK}{ANSWER}{ANSWER}"),
    (Case.COUNTS, f"{THINK}{SEARCH}{INFO}"),
    (Case.COUNTS, ANSWER),
    (Case.COUNTS, f"{THINK}{SEARCH}{ANSWER}"),
    (Case.COUNTS, f"{THINK}{INFO}{ANSWER}"),
    (Case.START, f"Well. {THINK}{ANSWER}"),
    (Case.END, f"{THINK}{ANSWER} indeed"),
    (Case.COLONS, f"{THINK}<search>gemma who?</search>{INFO}{ANSWER}"),
    (Case.COLONS, f"{THINK}<search>gemma: who: what?</search>{INFO}{ANSWER}"),
    (Case.QUERY, f"{THINK}<search>gemma: </search>{INFO}{ANSWER}"),
    (Case.QUERY, f"{THINK}<search>LLM-Name: who?</search>{INFO}{ANSWER}"),
    (Case.QUERY, f"{THINK}<search>gemma: Your-Query</search>{INFO}{ANSWER}"),
    (Case.NAME_IN_QUERY, f"{THINK}<search>Gemma: who founded gemma?</search>{INFO}{ANSWER}"),
    (Case.UNKNOWN_NAME, f"{THINK}<search>gpt: who?</search>{INFO}{ANSWER}"),
]


@pytest.mark.parametrize(("case", "response"), MALFORMED)
def test_each_of_the_eleven_cases_is_found_in_the_whole_response(case, response):
    assert code_case(response, KNOWN) is case


def test_all_eleven_cases_are_tried():
    assert {case for case, _ in MALFORMED} == set(Case)


@pytest.mark.parametrize("response", [
    THINK + SEARCH + INFO + ANSWER,                               # no thought before the answer
    f"{THINK} free text {SEARCH} and more {INFO} and {ANSWER}",   # text between the tags
    f"{THINK}<answer></answer>",                                  # an empty answer
    f"{THINK}<answer>{'word ' * 400}</answer>",                   # a long answer
    THINK + ANSWER,                                               # nobody was asked
    f"\n{THINK}{ANSWER}\n",                                       # white space around it
])  # fmt: skip
def test_what_the_reference_does_not_punish_is_not_punished(response):
    assert code_case(response, KNOWN) is None


pieces = st.lists(
    st.sampled_from([
        THINK, SEARCH, INFO, ANSWER, "<think>", "</think>", "<search>", "</search>", "<answer>",
        "</answer>", "<information>", "</information>", "gemma: who?", ":", "...", " ", "gpt: x",
        "gemma: gemma", "llm-name: x",
    ]),
    max_size=8,
).map("".join)  # fmt: skip


TAGS = ("search", "answer", "think", "information")


def by_the_list(text):
    """Return the cases of the published list that hold, each read alone and without any order."""
    blocks = re.findall(r"<(search|answer|think|information)>(.*?)</\1>", text, re.DOTALL)
    said = {tag: [b.strip() for t, b in blocks if t == tag] for tag in TAGS}
    holds = {
        1: not blocks,
        2: any(text.count(f"<{tag}>") - text.count(f"</{tag}>") for tag in TAGS),
        3: bool({"", "..."} & set(said["think"])),
        4: any(re.search(r"</?(search|answer|think|information)>", b) for _, b in blocks),
        5: (len(said["answer"]), bool(said["think"])) != (1, True)
        or len(said["search"]) != len(said["information"]),
        6: not re.match(r"\s*<think>", text),
        7: not re.search(r"</answer>\s*\Z", text),
    }
    found = {case for case, held in holds.items() if held}
    return found.union(*(of_a_search(search) for search in said["search"]))


def of_a_search(search):
    name, *rest = (part.strip().lower() for part in search.split(":"))
    if len(rest) != 1:
        return {8}
    holds = {
        9: not rest[0] or re.search("llm-name|your-query", search.lower()),
        10: name in rest[0],
        11: not KNOWN(name),
    }
    return {case for case, held in holds.items() if held}


@given(pieces)
def test_a_response_is_refused_exactly_when_a_case_of_the_list_holds(text):
    case = code_case(text, KNOWN)
    holds = by_the_list(text)
    assert (case is None) == (not holds)
    assert case is None or case in holds


def test_own_text_is_judged_as_a_response_with_harmless_observations(script):
    episode = script().own(f"{THINK}<search>llama: who?").asked("llama-70b").own(THINK + ANSWER)
    assert in_code(episode.answers("her")) is None
    assert in_paper(episode.answers("her")) is None


@pytest.mark.parametrize(("turns", "code", "paper"), [
    ([ANSWER], "counts", None),
    ([f"{THINK}hm {ANSWER}"], None, "turn 1 is not thoughts and then one action"),
    (["<think></think>" + ANSWER], "empty thought", "turn 1 has an empty thought"),
    ([f"{THINK}<search>gpt: who?</search>", ANSWER], "unknown name",
     "turn 1 searches for a model that is not in the pool"),
    ([f"{THINK}<search>gemma: when: 8:00?</search>", ANSWER], "colons", None),
    ([f"{THINK}<search>gemma:</search>", ANSWER], "query",
     "turn 1 searches without a name and a query"),
    ([THINK + SEARCH], "counts", "turn 1: search is out of place"),
    ([THINK + ANSWER, ANSWER], "counts", "turn 1: answer is out of place"),
    ([f"{THINK}{SEARCH}", f"{THINK}<info>her</info>{ANSWER}"], None,
     "turn 2 writes an observation itself"),
    ([], "no pair", "no turn"),
])  # fmt: skip
def test_paper_and_code_disagree_where_the_spec_says_so(script, turns, code, paper):
    episode = script()
    for turn in turns:
        episode = episode.own(turn)
    assert in_code(episode.trace) == code
    assert in_paper(episode.trace) == paper


@pytest.mark.parametrize(("text", "fields"), [
    (f"{THINK}<search>gemma: who?", {"fields": {"stop": "</search>"}}),
    (f"{THINK}<search>gemma: who?</search>", {"fields": {"stop": "</search>"}}),
    (f"{THINK}<answer>her", {}),
    (f"{THINK}{SEARCH} and I guess", {}),
    ("no tag at all", {}),
    (f"{THINK}<answer>her", {"fields": {"stop": None}}),
])  # fmt: skip
def test_own_turns_are_the_own_spans_of_the_transcript(script, text, fields):
    trace = script().own(text, **fields).trace
    assert list(own_turns(trace)) == [span.text for span in transcript(trace) if span.own]


def test_the_last_answer_counts():
    assert answer_in(["<answer>a</answer>", "<answer>b\n</answer>"]) == "b"
    assert answer_in(["<answer>open"]) is None
