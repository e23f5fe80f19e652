"""The broker's transport: kombu's for Redis, with every message checked before Celery sees it.

Kombu decodes what it takes from a queue in the worker's main loop, so bytes that are no message end the worker, and the
next one, and a message that Celery cannot use is dropped with a line in a log. Here such bytes are turned into a
submission, which the worker keeps as a dead one with the reason and their beginning; until its row is written it is a
message like any other. A message is rebuilt from the fields that we use, so no other header reaches Celery.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import re
import uuid
from collections.abc import Sequence
from datetime import datetime
from queue import Empty
from typing import Any

from kombu.transport import redis

from agentstate.jobs.kinds import BULK, KINDS
from agentstate.jobs.spec import QUEUES

SHOWN_BYTES = 500
"""Length of the beginning of unreadable bytes that is kept."""
SUBMIT_TASK = BULK["jobs.submit"].task_name

_log = logging.getLogger(__name__)

_OUR_QUEUE = re.compile(rf"(?:{'|'.join(QUEUES)})\.\d+")
_TASKS = frozenset({spec.task_name for spec in KINDS.values()} | {spec.task_name for spec in BULK.values()})
_TIMES = ("eta", "expires")
_KEPT_HEADERS = ("root_id", "parent_id", "group", "origin", "argsrepr", "kwargsrepr", "usable_until", *_TIMES)


class Unreadable(ValueError):
    """The bytes are no message for our tasks; the text says why."""


def check_message(queue: str, item: bytes) -> bytes:
    """Return the message in `item` with our own envelope, or the submission that keeps `item` when it is none.

    Args:
        queue: its queue; messages of queues that are not ours, such as answers to `inspect`, are returned unchanged.
        item: the bytes.
    """
    if not _OUR_QUEUE.fullmatch(queue):
        return item
    try:
        name, arguments, keywords, headers = _parse_message(item)
    except Exception as error:  # noqa: BLE001 whatever the bytes do to a parser, the worker lives
        reason = str(error) if isinstance(error, Unreadable) else f"it cannot be parsed ({type(error).__name__})"
        beginning = item[:SHOWN_BYTES].decode("utf-8", "backslashreplace")
        submission = {
            "key": str(uuid.uuid4()),
            "kind": "unreadable",
            "payload": {"queue": queue, "bytes": len(item), "beginning": beginning},
            "unreadable": reason,
        }
        name, arguments, keywords, headers = SUBMIT_TASK, [], submission, {}
    identifier = headers.get("id") or str(uuid.uuid4())
    body = base64.b64encode(json.dumps([arguments, keywords, {}]).encode()).decode()
    message = {
        "body": body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "root_id": identifier, "parent_id": None, "group": None, **headers}
        | {"task": name, "id": identifier},
        "properties": {
            "correlation_id": identifier,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            # A fresh one: two messages with one tag would take each other's place while they are worked on.
            "delivery_tag": str(uuid.uuid4()),
        },
    }
    return json.dumps(message).encode()


def _parse_message(item: bytes) -> tuple[str, list[Any], dict[str, Any], dict[str, Any]]:
    """Return the task, its arguments and keywords, and the headers that are kept.

    Raises:
        Unreadable: it is no message of Celery's protocol 1 or 2 for one of our tasks.
    """
    envelope = _require(_parse_json(item, "it"), dict, "the message")
    content_type = envelope.get("content-type", "application/json")
    if content_type != "application/json":
        raise Unreadable(f"its content type is {str(content_type)[:80]!r}, and only JSON is read")
    body: Any = envelope.get("body")
    properties = _require(envelope.get("properties", {}), dict, "its properties")
    if properties.get("body_encoding") == "base64":
        text = _require(body, str, "its body")
        try:
            body = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise Unreadable("its body is not base64, as its properties say") from None
    body = _parse_json(_require(body, str | bytes, "its body"), "its body")
    given = _require(envelope.get("headers") or {}, dict, "its headers")
    if "task" in given:
        parts = _require(body, list, "its body")
        if len(parts) < 2:  # noqa: PLR2004 arguments and keywords
            raise Unreadable("its body does not hold arguments and keywords")
        arguments, keywords = parts[:2]
    else:
        given = _require(body, dict, "its body")
        arguments, keywords = given.get("args") or [], given.get("kwargs") or {}
    name = given.get("task")
    if not isinstance(name, str) or name not in _TASKS:
        raise Unreadable(f"there is no task {str(name)[:80]!r}")
    headers = {key: given[key] for key in _KEPT_HEADERS if isinstance(given.get(key), str)}
    if not re.fullmatch(r"\d{1,12}(?:\.\d{1,6})?", headers.get("usable_until", "")):
        headers.pop("usable_until", None)
    if isinstance(given.get("id"), str):
        headers["id"] = given["id"]
    for key in _TIMES:
        try:
            datetime.fromisoformat(headers.get(key, "2000-01-01T00:00:00+00:00"))
        except ValueError:
            raise Unreadable(f"its {key} is no time: {headers[key][:80]!r}") from None
    return name, _require(arguments, list, "its arguments"), _require(keywords, dict, "its keywords"), headers


def _parse_json(text: str | bytes, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise Unreadable(f"{what} is no JSON") from None


def _require(value: Any, kind: Any, what: str) -> Any:
    if not isinstance(value, kind):
        raise Unreadable(f"{what} is {'missing' if value is None else f'a {type(value).__name__}'}")
    return value


class Channel(redis.Channel):
    """A channel that reads only messages."""

    def _create_client(self, asynchronous: bool = False) -> Any:  # noqa: FBT001, FBT002 the signature is kombu's
        client = super()._create_client(asynchronous)  # type: ignore[misc] # the types of kombu leave it out
        client.set_response_callback("BRPOP", self._check_popped)
        return client

    def _check_popped(self, answer: Sequence[bytes] | None, **_: Any) -> tuple[bytes, bytes] | None:
        if not answer:
            return None
        key, item = answer
        return key, check_message(key.decode().rsplit(self.sep, 1)[0], item)

    def _receive_one(self, subscriber: Any) -> Any:
        # Commands to workers and events come by PUBLISH. One that cannot be read is lost, which breaks no promise.
        try:
            return super()._receive_one(subscriber)  # type: ignore[misc] # as above
        except (Empty, *self.connection_errors):  # type: ignore[attr-defined] # as above
            raise
        except Exception as error:  # noqa: BLE001 whatever the bytes do to a parser, the worker lives
            _log.warning("could not read a published message, ignored: %s: %s", type(error).__name__, str(error)[:200])
            raise Empty from None


class Transport(redis.Transport):
    """Kombu's transport for Redis with our channel."""

    Channel = Channel
