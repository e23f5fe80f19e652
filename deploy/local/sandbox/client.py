"""A client of the sandbox's own routes, for demonstrations and tests: make things go wrong, and learn the truth."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

import httpx

TIMEOUT_S = 10.0


class SandboxClient:
    """Control and truth of one running sandbox.

    Args:
        base_url: such as `http://127.0.0.1:18001`, without a path.
    """

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(base_url=base_url, timeout=TIMEOUT_S, trust_env=False, verify=False)  # noqa: S501  plain HTTP on loopback

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def set_faults(self, *rules: dict[str, Any], seed: int = 0) -> None:
        """Let faults strike from now on; each rule is `{fault, probability?, service?, operation?, agent_id?, times?}`.

        Without rules nothing goes wrong any more.
        """
        self._client.post("/__control/faults", json={"seed": seed, "plan": list(rules)}).raise_for_status()

    def read_faults(self) -> dict[str, Any]:
        """The standing plan and how often each fault struck since it was set."""
        return self._get_json("/__control/faults")

    def set_switches(self, **values: bool) -> None:
        """Turn `idempotency_keys`, `rate_limits` or `kelly_cap` on or off."""
        self._client.post("/__control/switches", json=values).raise_for_status()

    def run_clock(self, *names: str) -> dict[str, Any]:
        """Run periodic work now: `poll`, `empty`, `sweep`, `monitor`."""
        return self._post_json("/__control/chain", {"run": list(names)})

    def deposit_on_chain(self, agent_id: str, dollars: str) -> None:
        """Let money reach the agent's deposit address; a poll finds it."""
        self._post_json("/__control/chain", {"agent_id": agent_id, "deposit": dollars})

    def fund_account(
        self, agent_id: str, service: str, dollars: str, reference: str, address: str | None = None
    ) -> None:
        """Put test money on an account of either dialect, once for a reference."""
        body = {"agent_id": agent_id, "service": service, "amount": dollars, "reference": reference}
        self._post_json("/__control/fund", body if address is None else {**body, "address": address})

    def read_truth(self, agent_id: str | None = None) -> dict[str, Any]:
        """Exact balances, effects counted by reference, and ledger rows, of one agent or of all."""
        return self._get_json("/__truth", {} if agent_id is None else {"agent_id": agent_id})

    def read_request(self, request_key: str) -> dict[str, Any]:
        """Return the `effects`, `ledger` rows and `injected` faults of one request key."""
        return self._get_json("/__truth", {"request_key": request_key})

    def count_effects(self, agent_id: str, operation: str) -> dict[str, int]:
        """Return the number of effects by reference (`client_seed`, description, name, id), for a `casino.bet`."""
        service, _, name = operation.partition(".")
        rows = self.read_truth(agent_id)["effects"]
        ours = (row for row in rows if (row["service"], row["operation"]) == (service, name))
        return _sum_counts((row["reference"], row["count"]) for row in ours)

    def count_effects_by_key(self, agent_id: str) -> dict[str, int]:
        """Return the number of effects by request key (the tag that came as `Idempotency-Key`)."""
        rows = self.read_truth(agent_id)["effects"]
        return _sum_counts((row["request_key"], row["count"]) for row in rows if row["request_key"])

    def read_balance(self, agent_id: str, account: str = "casino") -> int:
        """Micro-dollars on an account: `casino`, `trading`, `domains`, `wallet:<address>`."""
        accounts = self.read_truth(agent_id)["agents"][agent_id]["accounts"]
        return int(accounts.get(account, {"micros": 0})["micros"])

    def _post_json(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        response = self._client.post(path, json=body)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def _get_json(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        response = self._client.get(path, params=params)
        response.raise_for_status()
        body: dict[str, Any] = response.json()
        return body


def _sum_counts(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for name, count in pairs:
        sums[name] = sums.get(name, 0) + count
    return sums
