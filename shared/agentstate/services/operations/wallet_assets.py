"""Assets of the wallet: what an amount means on a chain, and the signing key that a wallet's words stand for.

The wallet sends a chain's native coin unless the request names a token's contract, and takes an amount of any token to
have six decimals. So each asset that can be sent has its contract and its decimals here; anything else is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from agentstate.errors import AmountInvalid, InvalidInput
from agentstate.money.amounts import Money, is_registered

Chain: TypeAlias = Literal["base", "ethereum", "solana"]
Asset: TypeAlias = Literal["USDC", "USDT", "native"]
"""A token, or the chain's own coin, which is never sent unless it is asked for."""

TOKEN_DECIMALS: Final = 6
"""Decimals that the wallet takes every token to have."""

TOKENS: Final[Mapping[tuple[str, str], str]] = MappingProxyType(
    {
        ("base", "USDC"): "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913",
        ("ethereum", "USDC"): "0xA0b86991c6218b36c1d19D4a2e9Eb0cE3606eB48",
        ("ethereum", "USDT"): "0xdAC17F958D2ee523a2206206994597C13D831ec7",
    }
)
"""Contracts of the tokens with six decimals, by chain and symbol."""

SWAP_TOKENS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "base": TOKENS["base", "USDC"],
        "ethereum": TOKENS["ethereum", "USDC"],
        "solana": "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v",  # pragma: allowlist secret
    }
)
"""Addresses of USDC, by chain."""

NATIVE: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {"base": ("ETH", 18), "ethereum": ("ETH", 18), "solana": ("SOL", 9)}
)
"""The chains' own coins, with their decimals."""


@dataclass(frozen=True, slots=True)
class SentAsset:
    """An asset that can be sent: its currency in our books, its decimals, and its contract; None for a coin."""

    currency: str
    decimals: int
    contract: str | None


def find_asset(chain: str, asset: str, contract: str | None = None) -> SentAsset:
    """Return what `asset` is on `chain`; `contract` is the one that the services file names for USDC there.

    Raises:
        InvalidInput: the wallet cannot send it there, or our books do not know its currency.
    """
    if asset == "native":
        currency, decimals = NATIVE[chain]
        if not is_registered(currency):
            raise InvalidInput(
                f"{currency} is not registered as a currency; add it to AGENTSTATE_CURRENCIES before it is sent."
            )
        return SentAsset(currency, decimals, None)
    known = (contract if asset == "USDC" else None) or TOKENS.get((chain, asset))
    if known is None:
        offered = [f"{symbol} on {name}" for name, symbol in TOKENS]
        raise InvalidInput(
            f"the wallet cannot send {asset} on {chain}; it sends {', '.join(offered)}, and native coins."
        )
    return SentAsset(asset, TOKEN_DECIMALS, known)


def check_amount(amount: Money | Decimal, asset: SentAsset) -> Money:
    """Return an amount as Money of the asset; raises AmountInvalid for another currency, or too many digits."""
    money = amount if isinstance(amount, Money) else Money(amount, asset.currency)
    if money.currency != asset.currency:
        raise AmountInvalid(f"{money} is no amount of {asset.currency}.")
    if -int(money.amount.normalize().as_tuple().exponent) > asset.decimals:
        raise AmountInvalid(f"{money} has more than the {asset.decimals} decimals of {asset.currency} on its chain.")
    return money


def to_base_units(amount: Money, decimals: int) -> str:
    """Return an amount in the smallest units of its token: `5000000` for 5 USDC."""
    return str(int(amount.amount.scaleb(decimals)))


# The wallet gives 24 words and no keys: the key of an EVM address is at m/44'/60'/0'/0/0 (BIP-39, BIP-32).

_ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_PRIME: Final = 2**256 - 2**32 - 977
_BASE: Final = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
_HARDENED: Final = 0x80000000
_PATH: Final = (44 | _HARDENED, 60 | _HARDENED, 0 | _HARDENED, 0, 0)


def derive_evm_key(words: str) -> str:
    """Return the private key, `0x` and 64 hex digits, of the EVM address that a mnemonic stands for."""
    seed = hashlib.pbkdf2_hmac("sha512", unicodedata.normalize("NFKD", words).encode(), b"mnemonic", 2_048)
    node = hmac.digest(b"Bitcoin seed", seed, "sha512")
    for index in _PATH:
        key, chain = int.from_bytes(node[:32], "big"), node[32:]
        parent = b"\x00" + key.to_bytes(32, "big") if index & _HARDENED else _compress_point(key)
        child = hmac.digest(chain, parent + index.to_bytes(4, "big"), "sha512")
        node = ((int.from_bytes(child[:32], "big") + key) % _ORDER).to_bytes(32, "big") + child[32:]
    return "0x" + node[:32].hex()


def _compress_point(key: int) -> bytes:
    """Return the compressed public key of a private one, on secp256k1."""
    point: tuple[int, int] | None = None
    addend, rest = _BASE, key
    while rest:
        if rest & 1:
            point = addend if point is None else _add_points(point, addend)
        addend, rest = _add_points(addend, addend), rest >> 1
    if point is None:
        raise InvalidInput("a private key of 0 has no public key.")
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


def _add_points(one: tuple[int, int], two: tuple[int, int]) -> tuple[int, int]:
    if one == two:
        slope = 3 * one[0] ** 2 * pow(2 * one[1], -1, _PRIME)
    else:
        slope = (two[1] - one[1]) * pow(two[0] - one[0], -1, _PRIME)
    x = (slope**2 - one[0] - two[0]) % _PRIME
    return x, (slope * (one[0] - x) - one[1]) % _PRIME
