"""How well `decompose` splits and answers questions of several hops on the embedded pool.

    python benchmarks/decompose.py

Prints, for each way to split, how many plans cut the question rightly and name the right
candidates; then how many questions are answered rightly from start to end. The questions are few
and plain: this is a check of the machinery, not a benchmark of routers.
"""

import asyncio

from msgspec.structs import replace

from polyroute import Budget, Policy, Request, Trace, config, run_episode
from polyroute.backends.by_card import ByCard
from polyroute.policies.decompose import Decompose, read_plan

# question, first sub-question without "What is", candidates, what the answer must hold (populations
# are those of the data that the geography specialist reads)
QUESTIONS = [
    ("What is the population of the capital of Peru?", "the capital of Peru", "gg", "7737002"),
    ("What is the currency of the country whose capital is Nairobi?",
     "the country whose capital is Nairobi", "gg", "Kenyan"),
    ("What is 15 plus the atomic number of oxygen?", "the atomic number of oxygen", "ec", "23"),
    ("What is the population of the capital of Mongolia?",
     "the capital of Mongolia", "gg", "844818"),
    ("On which continent is the country whose capital is Lima?",
     "the country whose capital is Lima", "gg", "South America"),
    ("What is the square root of the atomic number of iron?",
     "the atomic number of iron", "ec", "5.09"),
    ("Which language is spoken in the country where Oslo is?",
     "the country where Oslo is", "gg", "Norwegian"),
    ("What is the area of the largest country in Africa?",
     "the largest country in Africa", "gg", "2381"),
    ("What is twice the population of Iceland?", "the population of Iceland", "gc", "707148"),
    ("What is 100 minus the atomic number of silver?", "the atomic number of silver", "ec", "53"),
    ("How many people live in the largest city of Brazil?",
     "the largest city of Brazil", "gg", "12400232"),
    ("Which currency is used in the country whose capital is Tokyo?",
     "the country whose capital is Tokyo", "gg", "Yen"),
    ("What is half of the population of Norway?", "the population of Norway", "gc", "2657"),
    ("What is the capital of the country whose currency is the baht?",
     "the country whose currency is the baht", "gg", "Bangkok"),
    ("How many people live in the capital of the country whose currency is the yen?",
     "the country whose currency is the yen", "ggg", "8336599"),
    ("What is twice the atomic number of gold?", "the atomic number of gold", "ec", "158"),
]  # fmt: skip
NAMES = {"g": "geography", "c": "calculator", "e": "elements"}

WAYS: dict[str, Policy] = {
    "free, no grammar": Decompose(router="smollm2", merge="last"),
    "free, grammar": Decompose(router="smollm2", merge="last", grammar=True),
    "spans, merge last": Decompose(router="smollm2", merge="last", split="spans"),
    "spans, merge chair": Decompose(router="smollm2", split="spans"),
}


async def main() -> None:
    """Run every way over every question and print the counts."""
    settings = config.read().model_copy(update={"records": config.RecordSettings(store="none")})
    setup = config.build(settings)
    backend = ByCard(setup.backends)
    try:
        for way, policy in WAYS.items():
            traces = [
                await run_episode(policy, backend, _request(question), setup.pool)
                for question, *_ in QUESTIONS
            ]
            cut = sum(
                _is_cut(t, piece) for t, (_, piece, _, _) in zip(traces, QUESTIONS, strict=True)
            )
            named = sum(
                _is_named(t, who) for t, (_, _, who, _) in zip(traces, QUESTIONS, strict=True)
            )
            right = sum(
                gold in (t.answer or "")
                for t, (_, _, _, gold) in zip(traces, QUESTIONS, strict=True)
            )
            print(f"{way:20} cut {cut:2} named {named:2} answered {right:2} of {len(QUESTIONS)}")
            for trace in traces:
                print(f"    {trace.request.prompt}  ->  {(trace.answer or '')[:60]!r}")
    finally:
        await backend.close()


def _request(question: str) -> Request:
    return replace(Request.of(question), budget=Budget(rounds=4))


def _is_cut(trace: Trace, piece: str) -> bool:
    plan = read_plan(trace.replies[0].text, trace.pool)
    return len(plan.parts) > 1 and plan.parts[0].question == f"What is {piece}?"


def _is_named(trace: Trace, who: str) -> bool:
    plan = read_plan(trace.replies[0].text, trace.pool)
    return [part.model for part in plan.parts] == [NAMES[letter] for letter in who]


if __name__ == "__main__":
    asyncio.run(main())
