"""A process that makes one bet once: `bettor.py DATABASE_URL AGENT REMOTE_PORT GUARANTEE PHASE`.

The phase says when it dies: `remote` (the remote kills it after applying), `before` (just before sending), `after`
(just after the answer), or `none`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.client import HTTPConnection
from typing import Any

from agentstate.money import Absent, AgentEffects, Applied, EffectRules, Effects, Guarantee, Money, call
from agentstate.store.store import Store


def main(database_url: str, agent_id: str, port: str, guarantee: str, phase: str) -> None:
    """Make the bet; print its result."""
    effects = AgentEffects(
        Effects(Store.open(database_url), secret=b"test", rules=EffectRules(lease_margin_s=0.1)), agent_id
    )

    def request(method: str, path: str) -> Any:
        connection = HTTPConnection("127.0.0.1", int(port), timeout=5)
        connection.request(method, path)
        return json.loads(connection.getresponse().read())

    def send(key: str) -> Any:
        if phase == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        dies = f"&pid={os.getpid()}" if phase == "remote" else ""
        dedupe = "&dedupe=1" if guarantee == "keyed" else ""
        answer = request("POST", f"/apply?key={key}{dies}{dedupe}")
        if phase == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    def verify(intent: Any) -> Any:
        there = request("GET", f"/effects?key={intent.remote_key}")["count"]
        return Applied({"key": intent.remote_key}) if there else Absent()

    result = effects.execute_once(
        "bet:1",
        call(
            send,
            service="casino",
            name="bet",
            guarantee=Guarantee(guarantee),
            verify=None if guarantee == "blind" else verify,
            hold=Money(5),
            deadline_s=5.0,
            settle_s=0.0,
        ),
    )
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
