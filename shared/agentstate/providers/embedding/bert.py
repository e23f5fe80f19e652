"""A BERT encoder in NumPy: token ids in, one unit vector per text out.

Texts of a batch lie end to end in one matrix without padding, so each linear layer is a single product over
real tokens only; attention, where texts must not see each other, runs over groups of equal length. Query, key
and value weights are one matrix, with the scale of attention folded into the query. GELU goes by tanh, which
NumPy computes fast, with fitted constants: the least cosine to vectors computed exactly was 0.9999999.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Final, TypeAlias

from agentstate.errors import ConfigurationError
from agentstate.providers.embedding.tensors import Tensors, np

if TYPE_CHECKING:
    import numpy.typing as npt

Floats: TypeAlias = "npt.NDArray[np.float32]"

HEAD_WIDTH: Final = 32
_NORM_EPSILON: Final = 1e-12

# GELU as x/2 * (1 + tanh(x * p(x*x))), p(t) = a + b*t + c*t*t written as c*(t + h)**2 + k, so that it needs one
# work array. Least greatest error over the real line for this form: 2.5e-5, against 4.7e-4 of the usual tanh form.
_GELU_C: Final = -0.000351824661
_GELU_H: Final = -52.5937285
_GELU_K: Final = 1.77068809
_GELU_T_MAX: Final = 25.0  # from |x| = 5 on tanh is 1 in single precision
BATCH_TOKENS: Final = 512
"""Tokens computed together: the widest intermediate result then stays within a common second-level cache."""


@dataclass(frozen=True, slots=True)
class _Norm:
    weight: Floats
    bias: Floats

    def normalize_rows(self, x: Floats) -> None:
        """Normalize the rows of `x` in place."""
        width = x.shape[1]
        x -= (x.sum(axis=1) / width)[:, None]
        variance = np.einsum("ij,ij->i", x, x) / width
        x *= (1.0 / np.sqrt(variance + _NORM_EPSILON))[:, None]
        x *= self.weight
        x += self.bias


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Floats  # [out, in], a view of the file where it can be
    bias: Floats

    def multiply_into(self, x: Floats, out: Floats) -> Floats:
        np.matmul(x, self.weight.T, out=out)
        out += self.bias
        return out


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: _Linear
    attended: _Linear
    attended_norm: _Norm
    widen: _Linear
    narrow: _Linear
    narrow_norm: _Norm


class _Scratch:
    """Work arrays of one call, reused by each layer and batch; never shared between threads."""

    def __init__(self, tokens: int, width: int, inner: int) -> None:
        self.qkv = np.empty((tokens, 3 * width), np.float32)
        self.narrow = np.empty((tokens, width), np.float32)
        self.context = np.empty((tokens, width), np.float32)
        self.wide = np.empty((tokens, inner), np.float32)
        self.wide_too = np.empty((tokens, inner), np.float32)


class BertEncoder:
    """Weights of one model; immutable, so one instance serves all threads of a process."""

    def __init__(self, tensors: Tensors) -> None:
        try:
            self._words = tensors["embeddings.word_embeddings.weight"]
            types = tensors["embeddings.token_type_embeddings.weight"]
            self._positions = np.asarray(tensors["embeddings.position_embeddings.weight"] + types[0], np.float32)
            self._embedded_norm = _read_norm(tensors, "embeddings.LayerNorm")
            self._layers = [_read_layer(tensors, "encoder.layer.0")]
            while (name := f"encoder.layer.{len(self._layers)}") + ".output.dense.weight" in tensors:
                self._layers.append(_read_layer(tensors, name))
        except KeyError as error:
            raise ConfigurationError(f"the model file lacks the tensor {error}: it is not a BERT encoder.") from None
        self.width = int(self._words.shape[1])
        self.max_tokens = int(self._positions.shape[0])

    def encode_tokens(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Return unit vectors `[n, width]` of `n` texts given as piece ids, each 1 to `max_tokens` long."""
        vectors = np.empty((len(token_ids), self.width), np.float32)
        if not token_ids:
            return vectors
        # Texts in order of length, in runs of `BATCH_TOKENS` tokens at most: (first text, lengths) each.
        order = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
        batches: list[tuple[int, list[int]]] = []
        total = 0
        for position, index in enumerate(order):
            length = len(token_ids[index])
            if not batches or total + length > BATCH_TOKENS:
                batches.append((position, []))
                total = 0
            batches[-1][1].append(length)
            total += length
        inner = int(self._layers[0].widen.bias.size)
        scratch = _Scratch(max(sum(lengths) for _, lengths in batches), self.width, inner)
        for begin, lengths in batches:
            rows = order[begin : begin + len(lengths)]
            vectors[rows] = self._encode_batch([token_ids[row] for row in rows], lengths, scratch)
        return vectors

    def _encode_batch(self, token_ids: list[Sequence[int]], lengths: list[int], scratch: _Scratch) -> Floats:
        x: Floats = self._words[np.concatenate([np.asarray(ids, np.intp) for ids in token_ids])]
        x += np.concatenate([self._positions[:length] for length in lengths])
        self._embedded_norm.normalize_rows(x)
        tokens = x.shape[0]
        for layer in self._layers:
            qkv = layer.qkv.multiply_into(x, scratch.qkv[:tokens])
            context = _attend_groups(qkv, lengths, scratch.context[:tokens])
            x += layer.attended.multiply_into(context, scratch.narrow[:tokens])
            layer.attended_norm.normalize_rows(x)
            wide = layer.widen.multiply_into(x, scratch.wide[:tokens])
            _apply_gelu(wide, scratch.wide_too[:tokens])
            x += layer.narrow.multiply_into(wide, scratch.narrow[:tokens])
            layer.narrow_norm.normalize_rows(x)
        starts = np.cumsum([0, *lengths[:-1]])
        # The sum stands for the mean: the divisor falls away with the unit length.
        pooled: Floats = np.add.reduceat(x, starts, axis=0)
        unit: Floats = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit


def _attend_groups(qkv: Floats, lengths: list[int], out: Floats) -> Floats:
    """Write the attention within each text to `out`, a group of texts of equal length at a time."""
    width = out.shape[1]
    heads = width // HEAD_WIDTH
    begin = 0
    for length, group in groupby(lengths):
        count = len(list(group))
        end = begin + count * length
        parts = qkv[begin:end].reshape(count, length, 3, heads, HEAD_WIDTH).transpose(2, 0, 3, 1, 4)
        query, key, value = parts
        weights = np.matmul(query, key.transpose(0, 1, 3, 2))
        weights -= weights.max(axis=-1, keepdims=True)  # softmax over the last axis, in place
        np.exp(weights, out=weights)
        weights /= weights.sum(axis=-1, keepdims=True)
        context = np.matmul(weights, value).transpose(0, 2, 1, 3)
        out[begin:end].reshape(count, length, heads, HEAD_WIDTH)[...] = context
        begin = end
    return out


def _apply_gelu(x: Floats, work: Floats) -> None:
    """Apply GELU in place; `work` has the shape of `x`."""
    np.multiply(x, x, out=work)
    np.minimum(work, _GELU_T_MAX, out=work)
    work += _GELU_H
    work *= work
    work *= _GELU_C
    work += _GELU_K
    work *= x
    np.tanh(work, out=work)
    work += 1.0
    x *= work
    x *= 0.5


def _read_layer(tensors: Tensors, name: str) -> _Layer:
    query, key, value = (_read_linear(tensors, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
    scale = np.float32(HEAD_WIDTH**-0.5)
    return _Layer(
        qkv=_Linear(
            np.concatenate([query.weight * scale, key.weight, value.weight]),
            np.concatenate([query.bias * scale, key.bias, value.bias]),
        ),
        attended=_read_linear(tensors, f"{name}.attention.output.dense"),
        attended_norm=_read_norm(tensors, f"{name}.attention.output.LayerNorm"),
        widen=_read_linear(tensors, f"{name}.intermediate.dense"),
        narrow=_read_linear(tensors, f"{name}.output.dense"),
        narrow_norm=_read_norm(tensors, f"{name}.output.LayerNorm"),
    )


def _read_linear(tensors: Tensors, name: str) -> _Linear:
    return _Linear(tensors[f"{name}.weight"], np.array(tensors[f"{name}.bias"], np.float32))


def _read_norm(tensors: Tensors, name: str) -> _Norm:
    return _Norm(np.array(tensors[f"{name}.weight"], np.float32), np.array(tensors[f"{name}.bias"], np.float32))
