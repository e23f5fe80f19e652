"""Detection of secrets in free JSON: a likely secret is refused, and the error names its place, never its value.

Two signs are looked for: a value with the shape of a key (a known prefix and a long token, a private key's block, an
address with a password), and a field whose name says that it holds one. A reference (`env:NAME`, `vault:path`) is what
such a field may hold. The time is linear in the size of the value, whatever it holds and however deep it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from agentstate.errors import InvalidInput

# A run of token characters is read once: from its begin, or for a bounded number of characters.
_SHAPES = re.compile(
    r"(?:pf|sk|pk|rk)[_-](?:live|test)[_-][A-Za-z0-9_-]{6,}"
    r"|(?<![A-Za-z0-9])(?:pf|sk|pk|rk)[_-](?=[A-Za-z_-]{0,200}[0-9])[A-Za-z0-9_-]{20,}"
    r"|(?<![A-Za-z0-9])(?:gh[pousr]_|npm_)[A-Za-z0-9]{30}"
    r"|(?<![A-Za-z0-9])(?:github_pat_|glpat-|whsec_|AIza)[A-Za-z0-9_-]{20}"
    r"|(?<![A-Za-z0-9])xox[abprs]-[A-Za-z0-9-]{10}"
    r"|(?<![A-Z0-9])A(?:KIA|SIA)[0-9A-Z]{16}(?![0-9A-Z])"
    r"|(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}+\.eyJ[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]"
    r"|(?<![A-Za-z])[Bb]earer[ \t]{1,8}(?=[A-Za-z._~+/=-]{0,200}[0-9])[A-Za-z0-9._~+/=-]{20}"
    r"|-----BEGIN [A-Z ]{0,40}PRIVATE KEY"
    r"|://[^\s/:@]{0,100}:[^\s/:@]{1,200}@"
)
_NAMES = re.compile(
    r"(?:^|_)(?:api_?key|secret(?:_key)?|(?:access|refresh|auth|bearer|session|api)_?token|token|passw(?:or)?d"
    r"|pass_?phrase|priv(?:ate)?_?key|signing_?key|credentials?|authorization|mnemonic|seed_?phrase"
    r"|recovery_?phrase)$"
    # A client's, a server's or a generator's seed is no secret: provably fair games show theirs.
    r"|^(?:(?:wallet|master|hd|bip_?39|recovery|mnemonic|private|root)_)*seed$"
)
_PHRASE_NAMES = re.compile(r"seed|mnemonic|phrase|recovery|backup|wallet|words|key|secret")
_HEX_KEY_NAMES = re.compile(r"priv|secret|(?<!client_)(?<!server_)(?<!random_)seed|mnemonic|signer|signing|wallet_?key")
_ONE_WAY_NAMES = re.compile(r"(?:hash|digest|checksum|fingerprint|sha_?\d+|address|public_?key|commitment|root|id)$")
_HEX_KEY = re.compile(r"(?<![0-9A-Za-z])(?:0x)?[0-9A-Fa-f]{64}(?![0-9A-Za-z])")
_REFERENCE = re.compile(r"(?:env|vault|file|secret|keyring|ref):\S+\Z|\$\{\w+\}\Z")
# In this trade a token is a coin more often than a key.
_COIN = re.compile(r"[A-Z][A-Z0-9]{1,15}\Z|0x[0-9a-fA-F]{40}\Z")
_WORDS = re.compile(r"[a-z]{3,8}\Z")
_PHRASE_LENGTHS = frozenset({12, 15, 18, 21, 24})
_LONGEST_PHRASE: Final = 24 * 9
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_LONGEST_NAME: Final = 60


class _Node(NamedTuple):
    """A value, its place as a chain of parts, and the signs that the names of the fields around it give."""

    value: Any
    part: str
    above: _Node | None
    signs: frozenset[str]


def refuse_secrets(value: Any, where: str = "state") -> None:
    """Raise InvalidInput when something in `value` looks like a key, a password or a wallet's words.

    The error names the place (`state.preferences.api_key`), not the value. Use it for every JSON that callers choose
    freely, before it is written or sent anywhere.
    """
    waiting = [_Node(value, where, None, frozenset())]
    while waiting:
        node = waiting.pop()
        inner = node.value
        if isinstance(inner, Mapping):
            nodes = []
            for number, (key, item) in enumerate(inner.items()):
                text = str(key)
                if _SHAPES.search(text):
                    _refuse(_Node(None, f"key {number} of {_place_of(node)}", None, node.signs))
                nodes.append(_Node(item, f".{text}", node, _add_signs(node.signs, text)))
            waiting += reversed(nodes)
        elif isinstance(inner, list | tuple):
            if inner and all(isinstance(item, str) for item in inner) and _is_secret(" ".join(inner), node.signs):
                _refuse(node)
            waiting += [_Node(inner[i], f"[{i}]", node, node.signs) for i in range(len(inner) - 1, -1, -1)]
        elif _is_secret(inner, node.signs):
            _refuse(node)


def _refuse(node: _Node) -> None:
    raise InvalidInput(
        f"{_place_of(node)} looks like a secret. Keep it in the environment or a secrets manager, and in state at most "
        "a reference such as env:NAME. Nothing was stored."
    )


def _place_of(node: _Node | None) -> str:
    parts = []
    while node is not None:
        parts.append(node.part[:_LONGEST_NAME])
        node = node.above
    return "".join(reversed(parts))


def _add_signs(above: frozenset[str], name: str) -> frozenset[str]:
    """Return the signs of the fields above with those of `name`.

    `key`, `token` and `seed` name a secret, `phrase` and `hex` raise a suspicion of one. The name of something that is
    derived one way (`seed_hash`) lifts the suspicion of hexadecimal.
    """
    plain = _CAMEL.sub("_", name[-_LONGEST_NAME:]).replace("-", "_").replace(" ", "_").lower()
    signs = set(above)
    if _NAMES.search(plain):
        signs.add("token" if plain.endswith("token") else "seed" if plain.endswith("seed") else "key")
    if _PHRASE_NAMES.search(plain):
        signs.add("phrase")
    if _ONE_WAY_NAMES.search(plain):
        signs.discard("hex")
    elif _HEX_KEY_NAMES.search(plain):
        signs.add("hex")
    return frozenset(signs)


def _is_secret(value: Any, signs: frozenset[str]) -> bool:
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    named = signs & {"key", "token", "seed"}
    if not isinstance(text, str):
        # A field of a secret's name may hold nothing, and a token or seed a count.
        return bool(named) and not (text is None or isinstance(text, bool) or "key" not in named)
    if _SHAPES.search(text) or ("hex" in signs and _HEX_KEY.search(text)):
        return True
    if "phrase" in signs and len(text) <= _LONGEST_PHRASE:
        words = text.split()
        if len(words) in _PHRASE_LENGTHS and all(map(_WORDS.match, words)):
            return True
    if not named or text == "" or _REFERENCE.match(text):
        return False
    return not (named == {"token"} and _COIN.match(text))
