"""What a model wrote when it went on with a text, with the tag that ended its turn.

The one decision here: a stop string belongs to the turn that it ended, whether the server took it
off or left it there. Policies and rewards so read the same turn off a reply.
"""

from collections.abc import Sequence

from polyroute.trace import Reply

__all__ = ["with_end"]


def with_end(reply: Reply, tags: Sequence[str]) -> str:
    """Return the text of `reply`, with the closing tag that ended it.

    A server takes the stop string off (llama.cpp) or leaves it (vLLM, when told to). Where it says
    which string ended the turn (``fields["stop"]``) that one is put back; where it says nothing,
    the tag that is open. A turn that was cut by its token limit stays cut, and a text that has a
    closing tag stays as it is.

    Parameters
    ----------
    reply : Reply
    tags : sequence of str
        The closing tags that end a turn: ``</search>``, say. The earlier one is preferred.

    Examples
    --------
    >>> with_end(Reply(model="m", text="<a>Lima", finish_reason="stop"), ["</a>"])
    '<a>Lima</a>'
    >>> with_end(Reply(model="m", text="<a>Lima", finish_reason="length"), ["</a>"])
    '<a>Lima'
    """
    text = reply.text
    if any(tag in text for tag in tags) or reply.finish_reason != "stop":
        return text
    if "stop" in reply.fields:
        stop = reply.fields["stop"]
        return text + stop if stop in tags else text
    return text + next((tag for tag in tags if tag.replace("/", "") in text), "")
