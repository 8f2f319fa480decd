"""LangChain's `ChatOpenAI` and `OpenAIEmbeddings`, at the address that is given."""

import sys

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

url = f"{sys.argv[1]}/v1"


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return city


for responses in (False, True):
    chat = ChatOpenAI(
        base_url=url, api_key="a-key", model="polyroute", max_retries=0, use_responses_api=responses
    )
    said = chat.invoke([HumanMessage("hello")])
    assert said.text == "[1] Hello world", said
    assert said.usage_metadata["total_tokens"] == 12, said
    pieces = list(chat.stream("hello"))
    assert "".join(piece.text for piece in pieces).strip() == "[1] Hello world", pieces
    called = chat.with_config().bind_tools([weather])
    called.bound.model_name = "tools"
    calls = called.invoke("weather?").tool_calls
    assert [(call["name"], call["args"]) for call in calls] == [("weather", {"city": "Lima"})]

vectors = OpenAIEmbeddings(
    base_url=url, api_key="a-key", model="small-vectors", check_embedding_ctx_length=False
)
assert len(vectors.embed_documents(["a", "bc"])) == 2
