"""MessagePack for state: as exact as the JSON codec, smaller, and a changed bit is refused instead of read.

One byte of version and four of CRC-32 stand before the MessagePack. Types that MessagePack lacks are extensions, so
no user data can look like one. Integers beyond 64 bits, such as wei, are extensions too.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from agentstate.errors import InvalidInput
from agentstate.money.amounts import Money
from agentstate.state import codec

VERSION = 1
_HEAD = 5
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_DECIMAL, _UUID, _MONEY, _INT, _TUPLE = 1, 2, 3, 4, 5
_SHOWN = 40

_encoder = msgspec.msgpack.Encoder(order="deterministic")


def pack(value: Any) -> bytes:
    """Encode `value` as bytes; equal values give equal bytes.

    Raises:
        InvalidInput: as `codec.dumps`.
    """
    try:
        body = _encoder.encode(_make_plain(value))
    except RecursionError:
        raise InvalidInput("the value is nested too deeply, or contains itself. Nothing was stored.") from None
    except UnicodeEncodeError:
        codec.refuse_surrogate()
    head = bytes([VERSION])
    return head + _compute_checksum(head, body) + body


def unpack(data: bytes) -> Any:
    """Decode the bytes of `pack`.

    Raises:
        InvalidInput: the bytes were changed or cut, are of another version, or hold an unknown extension.
    """
    head, checksum, body = data[:1], data[1:_HEAD], data[_HEAD:]
    if head != bytes([VERSION]):
        raise InvalidInput(f"these bytes are not packed state of version {VERSION}; they were left as they are.")
    if _compute_checksum(head, body) != checksum:
        raise InvalidInput("packed state does not match its checksum: bytes were changed or lost. Nothing was read.")
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"packed state cannot be read: {str(error)[:200]}. It was left as it is.") from None


def _compute_checksum(head: bytes, body: bytes) -> bytes:
    return zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "big")


def _pack_decimal(value: Decimal) -> msgspec.msgpack.Ext:
    return _text_extension(_DECIMAL, codec.decimal_text(value))


def _pack_other(value: Any) -> Any:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return str.__str__(codec.check_text(value))
    if isinstance(value, int):
        number = int(codec.check_int(value))
        return number if _INT_MIN <= number <= _INT_MAX else _text_extension(_INT, str(number))
    if isinstance(value, dict):
        return _make_plain(dict(value))
    if isinstance(value, list):
        return _make_plain(list(value))
    return _pack_extension(value)


def _pack_extension(value: Any) -> Any:
    if isinstance(value, Decimal):
        return _pack_decimal(value)
    if isinstance(value, datetime):
        return codec.to_utc(value)
    if isinstance(value, UUID):
        return msgspec.msgpack.Ext(_UUID, value.bytes)
    if isinstance(value, tuple):
        return msgspec.msgpack.Ext(_TUPLE, _encoder.encode(_make_plain(list(value))))
    return _text_extension(_MONEY, codec.money_text(value)) if isinstance(value, Money) else codec.refuse_value(value)


# Types that MessagePack lacks are extensions, so no dict of the user's looks like one and none is escaped.
_make_plain = codec.plain_converter(
    low=_INT_MIN, high=_INT_MAX, decimal=_pack_decimal, other=_pack_other, escaped=lambda value: value, takes_nul=False
)


def _text_extension(code: int, text: str) -> msgspec.msgpack.Ext:
    return msgspec.msgpack.Ext(code, text.encode())


_READERS: dict[int, Callable[[bytes], Any]] = {
    _UUID: lambda data: UUID(bytes=data),
    _MONEY: lambda data: codec.money_from(data.decode()),
    _INT: lambda data: codec.int_from(data.decode()),
    _TUPLE: lambda data: tuple(_decoder.decode(data)),
}


def _read_extension(code: int, data: memoryview) -> Any:
    if code == _DECIMAL:
        return codec.decimal_from(str(data, "ascii"))
    reader = _READERS.get(code)
    if reader is None:
        raise InvalidInput(f"packed state holds the unknown extension {code}; it was written by a newer version.")
    return reader(bytes(data))


_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_read_extension)
