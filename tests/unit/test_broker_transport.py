"""What is taken from a queue is a message when Celery sees it, whatever the bytes were."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from agentstate.jobs.transport import SHOWN_BYTES, SUBMIT_TASK, check_message

QUEUE = "housekeeping.0"


def message(body: Any = None, **changes: Any) -> dict[str, Any]:
    """A message of Celery's protocol 2 with some parts changed."""
    content = [[], {"key": "k", "kind": "cache.refresh"}, {}] if body is None else body
    return {
        "body": base64.b64encode(json.dumps(content).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"task": SUBMIT_TASK, "id": "one", "lang": "js"},
        "properties": {
            "delivery_tag": "t",
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "body_encoding": "base64",
        },
        **changes,
    }


def read_back(item: bytes) -> tuple[str, list[Any], dict[str, Any], dict[str, Any]]:
    """The task, arguments, keywords and headers of the message that Celery would see."""
    seen = json.loads(check_message(QUEUE, item))
    assert seen["properties"]["delivery_info"] == {"exchange": "", "routing_key": QUEUE}
    assert isinstance(seen["properties"]["delivery_tag"], str)
    arguments, keywords, embedded = json.loads(base64.b64decode(seen["body"]))
    assert embedded == {}
    return seen["headers"]["task"], arguments, keywords, seen["headers"]


def test_a_message_is_read_as_it_was_sent() -> None:
    task, arguments, keywords, headers = read_back(json.dumps(message()).encode())
    assert (task, arguments, keywords) == (SUBMIT_TASK, [], {"key": "k", "kind": "cache.refresh"})
    assert headers["id"] == "one"


def test_a_message_of_celerys_first_protocol_is_read_too() -> None:
    first = message({"task": SUBMIT_TASK, "id": "two", "args": [], "kwargs": {"key": "k"}}, headers={})
    assert read_back(json.dumps(first).encode())[:3] == (SUBMIT_TASK, [], {"key": "k"})


def test_two_messages_with_one_tag_are_told_apart() -> None:
    tags = {
        json.loads(check_message(QUEUE, json.dumps(message()).encode()))["properties"]["delivery_tag"] for _ in "ab"
    }
    assert len(tags) == 2


def test_headers_that_we_do_not_use_never_reach_celery() -> None:
    hostile = {
        "task": SUBMIT_TASK,
        "id": "x",
        "retries": "many",
        "timelimit": 7,
        "eta": None,
        "shadow": [1],
        "group": {},
    }
    _, _, _, headers = read_back(json.dumps(message(headers=hostile)).encode())
    assert not {"retries", "timelimit", "shadow"} & headers.keys()
    assert headers["group"] is None


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        (b"x", "it is no JSON"),
        (b"", "it is no JSON"),
        (b"\x00\xff\xfe\x80", "it is no JSON"),
        (b"[1, 2]", "the message is a list"),
        (b"7", "the message is a int"),
        (b"null", "the message is missing"),
        (b"[" * 100_000, "cannot be parsed (RecursionError)"),
        (b"{}", "its body is missing"),
        (json.dumps(message(headers=[1])).encode(), "its headers is a list"),
        (json.dumps(message(properties="x")).encode(), "its properties is a str"),
        (json.dumps(message(**{"content-type": "application/x-python-serialize"})).encode(), "only JSON is read"),
        (json.dumps(message(body={"no": "list"})).encode(), "its body is a dict"),
        (json.dumps(message(body=[])).encode(), "does not hold arguments and keywords"),
        (json.dumps({**message(), "body": "%%%"}).encode(), "not base64"),
        (json.dumps({**message(), "body": "AAAA"}).encode(), "its body is no JSON"),
        (json.dumps({**message(), "body": 7}).encode(), "its body is a int"),
        (json.dumps(message(body=[{}, {}, {}])).encode(), "its arguments is a dict"),
        (json.dumps(message(body=[[], [], {}])).encode(), "its keywords is a list"),
        (json.dumps(message(headers={"task": "other.task", "id": "x"})).encode(), "there is no task 'other.task'"),
        (json.dumps(message(headers={"task": {}, "id": "x"})).encode(), "there is no task"),
        (json.dumps(message(headers={"task": SUBMIT_TASK, "id": "x", "eta": "soon"})).encode(), "its eta is no time"),
        (b"y" * 3_000_000, "it is no JSON"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bytes_that_are_no_message_become_a_submission_with_their_beginning(item: bytes, reason: str) -> None:
    task, arguments, keywords, _ = read_back(item)
    assert (task, arguments) == (SUBMIT_TASK, [])
    assert reason in keywords["unreadable"]
    kept = keywords["payload"]
    assert (kept["queue"], kept["bytes"]) == (QUEUE, len(item))
    assert kept["beginning"] == item[:SHOWN_BYTES].decode("utf-8", "backslashreplace")


def test_messages_of_queues_that_are_not_ours_are_left_alone() -> None:
    assert check_message("8f3a.reply.celery.pidbox", b'{"any": "thing"}') == b'{"any": "thing"}'
