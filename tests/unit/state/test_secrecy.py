"""What looks like a secret is refused by its place; what only sounds like one is not."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money
from agentstate.state.secrecy import refuse_secrets

# Put together here, so that no file holds anything that looks like a key.
PF = "_".join(("pf", "test", "abc123xyz"))
SK = "_".join(("sk", "a1" * 12))
BLOCK = "-----BEGIN EC " + "PRIVATE" + " KEY-----\nMHc"
JWT = ".".join(("eyJ" + "h" * 12, "eyJ" + "p" * 12, "s" * 10))
PHRASE = "abandon ability able about above absent absorb abstract absurd abuse access accident"


@pytest.mark.parametrize("value", [PF, SK, BLOCK, JWT, f"use {PF} now", "ghp_" + "a1" * 18, "AKIA" + "A1" * 8])
def test_a_key_is_refused_wherever_it_is(value: str) -> None:
    for blob in ({"preferences": {"note": [1, value]}}, {"blob": value.encode()}, {"t": (value,)}, value):
        with pytest.raises(InvalidInput) as caught:
            refuse_secrets(blob)
        assert value not in str(caught.value)


def test_a_key_as_a_dicts_key_is_refused_without_being_shown() -> None:
    with pytest.raises(InvalidInput, match=r"key 0 of state\.preferences") as caught:
        refuse_secrets({"preferences": {PF: 1}})
    assert PF not in str(caught.value)


@pytest.mark.parametrize(
    ("blob", "place"),
    [
        ({"api_key": "abc"}, "state.api_key"),
        ({"preferences": {"apiKey": "abc"}}, "state.preferences.apiKey"),
        ({"casino": [{"password": "hunter2"}]}, "state.casino[0].password"),  # pragma: allowlist secret
        ({"password": 1234}, "state.password"),
        ({"client-secret": "x"}, "state.client-secret"),
        ({"secret": {"value": "x"}}, "state.secret.value"),
        ({"access_token": "ABC"[::-1].lower()}, "state.access_token"),
        ({"private_key": b"\x01\x02"}, "state.private_key"),
        ({"wallet": {"seed_phrase": "x"}}, "state.wallet.seed_phrase"),
        ({"wallet": {"seed": "x"}}, "state.wallet.seed"),
        ({"walletSeed": "x"}, "state.walletSeed"),
        ({"hd_seed": "x"}, "state.hd_seed"),
        ({"wallet_backup": PHRASE}, "state.wallet_backup"),
        ({"recovery": PHRASE.split()}, "state.recovery"),
        ({"recovery_words": f"{PHRASE} {PHRASE}"}, "state.recovery_words"),
    ],
)
def test_a_field_that_says_what_it_holds_is_refused_by_name(blob: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        refuse_secrets(blob)
    assert str(caught.value).startswith(f"{place} looks like a secret")


@pytest.mark.parametrize(
    "blob",
    [
        {"api_key": "env:PURPLE_KEY"},  # pragma: allowlist secret
        {"secret": "vault:casino/main"},  # pragma: allowlist secret
        {"password": "${CASINO_PASSWORD}"},
        {"password": None, "token": ""},
        {"token": "USDC", "max_tokens": 4096},
        {"token": Decimal(5)},
        {"base_token": "0x" + "a" * 40},
        {"tokens": ["USDC", "ETH"]},
        {"tx_hash": "0x" + "ab" * 32},
        {"seed": 7},
        {"client_seed": "bet:981", "server_seed": "ab" * 32},
        {"proof": {"server_seed_hash": "ab" * 32, "clientSeed": "lucky", "result_hash": "0x" + "cd" * 32}},
        {"secrets_manager": {"audit_digest": "ab" * 32}},
        {"random_seed": "42", "rng": {"server_seed": "0x" + "12" * 32}},
        {"note": PHRASE},
        {"sk_skills_of_the_agent_by_name": True, "note": "pk_columns-of-the-table-named-so"},
        {"portfolio": {"usdc": Money("2"), "keys": 3}, "secretary": "bob", "monkey": "yes"},
        {"wallet_note": "send the rest to bob on friday when the market opens again please thanks"},
    ],
)
def test_what_only_sounds_like_one_is_taken(blob: dict[str, Any]) -> None:
    refuse_secrets(blob)


def test_a_reference_does_not_cover_a_key() -> None:
    with pytest.raises(InvalidInput):
        refuse_secrets({"api_key": f"env:{PF}"})


HEX = "0x" + "a1" * 32


@pytest.mark.parametrize(
    "value",
    ["Bearer " + "a1B2" * 8, "postgresql://ann:" + "hunter2" + "@db/x", "AIza" + "a1" * 15, "glpat-" + "a1" * 12],
)
def test_further_shapes_are_refused(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        refuse_secrets({"note": value})
    assert value not in str(caught.value)


def test_a_private_key_in_hexadecimal_is_refused_where_the_field_says_so() -> None:
    for name in ("privkey_of_hot_wallet", "signer", "walletKey", "private"):
        with pytest.raises(InvalidInput):
            refuse_secrets({name: HEX})
    refuse_secrets({"tx_hash": HEX, "fingerprint": HEX, "url": "https://a.example:8080/x@y", "mail": "ann@a.example"})


def test_what_is_nested_too_deeply_for_python_is_looked_through() -> None:
    deep: Any = PF
    for _ in range(20_000):
        deep = [deep]
    with pytest.raises(InvalidInput):
        refuse_secrets(deep)
