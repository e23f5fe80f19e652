"""The provider's files and batches, in memory: a batch ends when it is looked at for the second time."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from typing import Any

_CONTENT = re.compile(rb"filename=.*?\r\n\r\n(.*?)\r\n--", re.DOTALL)

Embed = Callable[[dict[str, Any]], dict[str, Any]]


class BatchApi:
    """`/v1/files` and `/v1/batches`."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._numbers = itertools.count(1)
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.looks: dict[str, int] = {}
        self.ends_as = "completed"
        self.spoils: Callable[[str], bool] = lambda _text: False
        """Texts whose answer is an error."""

    def get(self, path: str) -> tuple[bytes, str] | None:
        """(body, content type) of an answer to a GET."""
        path = path.partition("?")[0]
        if path == "/v1/batches":
            page = {"object": "list", "data": list(self.batches.values()), "has_more": False}
            return json.dumps(page).encode(), "application/json"
        if path.startswith("/v1/batches/"):
            return json.dumps(self._look(path.rsplit("/", 1)[1])).encode(), "application/json"
        if path.endswith("/content"):
            return self.files[path.split("/")[3]], "application/jsonl"
        return None

    def post(self, path: str, body: bytes) -> dict[str, Any] | None:
        """The answer to a POST."""
        if path == "/v1/files":
            found = _CONTENT.search(body)
            assert found is not None
            name = f"file-{next(self._numbers)}"
            self.files[name] = found[1]
            told = {"filename": "texts.jsonl", "purpose": "batch", "status": "processed", "created_at": 1}
            return {"id": name, "object": "file", "bytes": len(found[1]), **told}
        return self._create(json.loads(body)) if path == "/v1/batches" else None

    def _create(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"batch_{next(self._numbers)}"
        self.batches[name] = {"id": name, "object": "batch", "created_at": 1, "status": "in_progress", **asked}
        return self.batches[name]

    def _look(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        self.looks[name] = self.looks.get(name, 0) + 1
        if self.looks[name] > 1 and batch["status"] == "in_progress":
            batch["status"] = self.ends_as
            if self.ends_as == "completed":
                batch["output_file_id"] = self._write(batch["input_file_id"])
        return batch

    def _write(self, source: str) -> str:
        lines = [self._answer(json.loads(line)) for line in self.files[source].splitlines()]
        name = f"file-{next(self._numbers)}"
        self.files[name] = "\n".join(json.dumps(line) for line in reversed(lines)).encode()
        return name

    def _answer(self, line: dict[str, Any]) -> dict[str, Any]:
        if self.spoils(line["body"]["input"]):
            return {"custom_id": line["custom_id"], "response": {"status_code": 400, "body": {}}}
        body = self._embed({**line["body"], "input": [line["body"]["input"]]})
        return {"custom_id": line["custom_id"], "response": {"status_code": 200, "body": body}}
