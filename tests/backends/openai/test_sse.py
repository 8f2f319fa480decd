"""Server-sent events: the pieces in which the bytes come make no difference."""

from hypothesis import given
from hypothesis import strategies as st

from polyroute.backends.openai.sse import Event, EventReader


def read(pieces):
    reader = EventReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.close()


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
LINE_END = st.sampled_from(["\n", "\r\n", "\r"])


FIELD = st.sampled_from(
    ["data: x", "data:é😀", "data", "", ": note", "event: error", "\ufeffdata: z", "id: 1"]
)


@given(st.lists(st.tuples(FIELD, LINE_END), max_size=12), st.data())
def test_any_split_of_the_bytes_gives_the_same_events(text, data):
    written = "".join(line + end for line, end in text).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=12)))
    pieces = [written[a:b] for a, b in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    assert read(pieces) == read([written]) == read([bytes([b]) for b in written])


@given(st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=4), LINE_END)
def test_events_come_out_as_they_were_written(written, end):
    text = "".join("".join(f"data: {line}{end}" for line in lines) + end for lines in written)
    assert read([text.encode()]) == [Event("\n".join(lines)) for lines in written]


def test_comments_and_unknown_fields_are_skipped():
    assert read([b": hi\nid: 1\nretry: 3\nfoo\n\ndata: x\n\n: bye\n\n"]) == [Event("x")]


def test_only_one_space_after_the_colon_belongs_to_the_syntax():
    assert read([b"data:  x\ndata:y\n\n"]) == [Event(" x\ny")]


def test_an_event_without_its_empty_line_is_kept_at_the_end():
    assert read([b"data: [DONE]"]) == [Event("[DONE]")]


def test_a_byte_order_mark_is_skipped():
    assert read([b"\xef\xbb\xbfdata: x\n\n"]) == [Event("x")]


def test_bytes_that_are_no_utf8_do_not_end_the_stream():
    assert read([b"data: \xff\n\ndata: y\n\n"]) == [Event("\ufffd"), Event("y")]


def test_a_long_line_in_small_pieces_is_one_event():
    pieces = [b"data: ", *[b"x" * 16] * 50_000, b"\n\n"]
    assert read(pieces) == [Event("x" * 800_000)]
