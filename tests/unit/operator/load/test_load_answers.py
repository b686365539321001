import json
from array import array

import pytest

from adapter_operator.load.answers import Answer, Record, refusal

COMPLETION = b'data: {"choices":[{"index":0,"text":"%b","finish_reason":%b}]}\n\n'
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":12,"completion_tokens":3,"total_tokens":15}}\n\n'


def token(reason=None, text=b"x"):
    return COMPLETION % (text, b"null" if reason is None else json.dumps(reason).encode())


def answer(*pieces, status=200, end=True):
    """Reads pieces that come at 1, 2, 3 … seconds."""
    record, gaps = Record(0, 0.0, status=status), array("f")
    reading = Answer(record, gaps)
    for now_s, piece in enumerate(pieces, start=1):
        reading.body(piece, float(now_s))
    if end:
        reading.end(float(len(pieces)))
    return record, list(gaps)


def test_tokens_gaps_and_usage():
    record, gaps = answer(token(), token(), token("length") + USAGE + DONE)
    assert (record.first_s, record.last_s, record.gaps) == (1.0, 3.0, 2)
    assert gaps == [1.0, 1.0]
    assert (record.prompt_tokens, record.output_tokens) == (12, 3)
    assert record.completed
    assert not record.failure


def test_the_end_of_a_stream_is_not_a_token():
    record, _ = answer(token(), token("stop"), USAGE, DONE)
    assert (record.last_s, record.finish_s) == (2.0, 4.0)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_wherever_the_stream_is_cut_into_pieces(size):
    whole = token() + token() + token("length") + USAGE + DONE
    record, _ = answer(*(whole[i : i + size] for i in range(0, len(whole), size)))
    assert (record.gaps, record.output_tokens, record.prompt_tokens, record.completed) == (2, 3, 12, True)


def test_carriage_returns_and_comments():
    stream = (b": ping\n\n" + token() + token("length") + DONE).replace(b"\n", b"\r\n")
    record, _ = answer(*(stream[i : i + 5] for i in range(0, len(stream), 5)))
    assert record.completed
    assert record.output_tokens == 2


def test_a_text_that_looks_like_an_end_is_none():
    record, _ = answer(token(), token(text=rb"\"finish_reason\":\"stop\""), token("length"), DONE)
    assert record.completed
    assert record.output_tokens == 3


def test_several_tokens_in_one_event_are_one_piece():
    record, gaps = answer(token(text=b"a"), token("length", text=b"b c d"), USAGE, DONE)
    assert gaps == [1.0]
    assert (record.gaps, record.output_tokens) == (1, 3)


def test_the_role_of_chat_is_no_token():
    def chat(delta, reason=None):
        document = {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
        return b"data: " + json.dumps(document).encode() + b"\n\n"

    record, _ = answer(
        chat({"role": "assistant", "content": ""}),
        chat({"content": ""}),
        chat({"content": "y"}, "stop"),
        DONE,
    )
    assert (record.first_s, record.output_tokens, record.completed) == (2.0, 2, True)
    record, _ = answer(chat({"role": "assistant", "content": "x"}), chat({}, "stop"), DONE)
    assert (record.first_s, record.output_tokens, record.completed) == (1.0, 1, True)


@pytest.mark.parametrize(
    ("pieces", "failure"),
    [
        ([token()], "stream ended early"),
        ([], "stream ended early"),
        ([token(), token("abort", b""), DONE], "finish_reason abort"),
        ([token("abort", b""), DONE], "finish_reason abort"),
        (
            [token(), b'data: {"error":{"message":"out of memory","code":500}}\n\n', DONE],
            "error in the stream",
        ),
        ([b"data: hello\n\n", DONE], "not an OpenAI stream"),
        ([b'data: {"choices":[],"usage":null}\n\n', DONE], "stream ended early"),
    ],
)
def test_what_is_no_complete_answer_has_failed(pieces, failure):
    record, _ = answer(*pieces)
    assert record.failure == failure
    assert not record.completed


def test_a_broken_stream_keeps_what_came():
    record, gaps = answer(token(), token(), end=False)
    Answer(record, array("f")).broken("connection lost", 9.0)
    assert (record.failure, record.finish_s, len(gaps)) == ("connection lost", 9.0, 1)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (
            404,
            b'{"error":{"message":"no model x","type":"NotFoundError","code":404}}',
            ("NotFoundError", "no model x"),
        ),
        (401, b'{"error":"Unauthorized"}', ("", "Unauthorized")),
        (503, b"upstream connect error", ("", "upstream connect error")),
        (502, b"", ("", "")),
        (400, b"[1]", ("", "[1]")),
    ],
)
def test_refusals_are_told_apart_by_status_and_type(status, body, expected):
    kind, message = expected
    assert refusal(status, body) == (f"HTTP {status} {kind}".strip(), message)
    record, _ = answer(body[:3], body[3:], status=status)
    assert record.failure == refusal(status, body)[0]
