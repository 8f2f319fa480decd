"""LlamaIndex's `OpenAILike`, at the address that is given."""

import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike

url = f"{sys.argv[1]}/v1"
chat = OpenAILike(model="polyroute", api_base=url, api_key="a-key", is_chat_model=True)
hello = [ChatMessage(role="user", content="hello")]
assert chat.chat(hello).message.content == "[1] Hello world"
pieces = [piece.delta or "" for piece in chat.stream_chat(hello)]
assert "".join(pieces).strip() == "[1] Hello world", pieces
text = OpenAILike(model="echo", api_base=url, api_key="a-key", is_chat_model=False)
assert text.complete("one two").text == "one two"
assert "".join(piece.delta or "" for piece in text.stream_complete("one two")).strip() == "one two"
