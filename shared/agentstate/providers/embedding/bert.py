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
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from agentstate.errors import ConfigurationError
from agentstate.providers.embedding.blas import np
from agentstate.providers.embedding.safetensors import Tensors

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

    def apply(self, x: Floats) -> None:
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

    def apply(self, x: Floats, out: Floats) -> Floats:
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
    """Work space of one call, reused by each layer and batch; never shared between threads."""

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
            self._embedded_norm = _norm(tensors, "embeddings.LayerNorm")
            self._layers = _layers(tensors)
        except KeyError as error:
            raise ConfigurationError(f"the model file lacks the tensor {error}: it is not a BERT encoder.") from None
        self.width = int(self._words.shape[1])
        self.max_tokens = int(self._positions.shape[0])

    def encode(self, token_ids: Sequence[Sequence[int]]) -> Floats:
        """Unit vectors `[n, width]` of `n` texts given as piece ids, each 1 to `max_tokens` long."""
        vectors = np.empty((len(token_ids), self.width), np.float32)
        if not token_ids:
            return vectors
        order = sorted(range(len(token_ids)), key=lambda index: len(token_ids[index]))
        batches = _batches([len(token_ids[index]) for index in order])
        scratch = self._scratch(max(sum(lengths) for _, lengths in batches))
        for begin, lengths in batches:
            rows = order[begin : begin + len(lengths)]
            vectors[rows] = self._encode_batch([token_ids[row] for row in rows], lengths, scratch)
        return vectors

    def _scratch(self, tokens: int) -> _Scratch:
        return _Scratch(tokens, self.width, int(self._layers[0].widen.bias.size))

    def _encode_batch(self, token_ids: list[Sequence[int]], lengths: list[int], scratch: _Scratch) -> Floats:
        x = self._embedded(token_ids, lengths)
        for layer in self._layers:
            x = self._through(layer, x, lengths, scratch)
        starts = np.cumsum([0, *lengths[:-1]])
        # The sum stands for the mean: the divisor falls away with the unit length.
        pooled: Floats = np.add.reduceat(x, starts, axis=0)
        unit: Floats = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return unit

    def _embedded(self, token_ids: list[Sequence[int]], lengths: list[int]) -> Floats:
        x: Floats = self._words[np.concatenate([np.asarray(ids, np.intp) for ids in token_ids])]
        x += np.concatenate([self._positions[:length] for length in lengths])
        self._embedded_norm.apply(x)
        return x

    def _through(self, layer: _Layer, x: Floats, lengths: list[int], scratch: _Scratch) -> Floats:
        tokens = x.shape[0]
        qkv = layer.qkv.apply(x, scratch.qkv[:tokens])
        context = _attend(qkv, lengths, scratch.context[:tokens])
        x += layer.attended.apply(context, scratch.narrow[:tokens])
        layer.attended_norm.apply(x)
        wide = layer.widen.apply(x, scratch.wide[:tokens])
        _gelu(wide, scratch.wide_too[:tokens])
        x += layer.narrow.apply(wide, scratch.narrow[:tokens])
        layer.narrow_norm.apply(x)
        return x


def _attend(qkv: Floats, lengths: list[int], out: Floats) -> Floats:
    width = out.shape[1]
    heads = width // HEAD_WIDTH
    begin = 0
    for length, group in groupby(lengths):
        count = len(list(group))
        end = begin + count * length
        parts = qkv[begin:end].reshape(count, length, 3, heads, HEAD_WIDTH).transpose(2, 0, 3, 1, 4)
        query, key, value = parts
        weights = np.matmul(query, key.transpose(0, 1, 3, 2))
        _softmax(weights)
        context = np.matmul(weights, value).transpose(0, 2, 1, 3)
        out[begin:end].reshape(count, length, heads, HEAD_WIDTH)[...] = context
        begin = end
    return out


def _softmax(x: Floats) -> None:
    """Softmax over the last axis, in place."""
    x -= x.max(axis=-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=-1, keepdims=True)


def _gelu(x: Floats, work: Floats) -> None:
    """GELU in place; `work` has the shape of `x`."""
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


def _batches(lengths: list[int]) -> list[tuple[int, list[int]]]:
    """Cut sorted lengths into runs of `BATCH_TOKENS` tokens at most: (first index, lengths) each."""
    batches: list[tuple[int, list[int]]] = []
    total = 0
    for index, length in enumerate(lengths):
        if not batches or total + length > BATCH_TOKENS:
            batches.append((index, []))
            total = 0
        batches[-1][1].append(length)
        total += length
    return batches


def _layers(tensors: Tensors) -> list[_Layer]:
    layers: list[_Layer] = []
    while f"encoder.layer.{len(layers)}.output.dense.weight" in tensors:
        layers.append(_layer(tensors, f"encoder.layer.{len(layers)}"))
    if not layers:
        raise KeyError("encoder.layer.0.output.dense.weight")
    return layers


def _layer(tensors: Tensors, name: str) -> _Layer:
    return _Layer(
        qkv=_fused(tensors, f"{name}.attention.self"),
        attended=_linear(tensors, f"{name}.attention.output.dense"),
        attended_norm=_norm(tensors, f"{name}.attention.output.LayerNorm"),
        widen=_linear(tensors, f"{name}.intermediate.dense"),
        narrow=_linear(tensors, f"{name}.output.dense"),
        narrow_norm=_norm(tensors, f"{name}.output.LayerNorm"),
    )


def _fused(tensors: Tensors, name: str) -> _Linear:
    query, key, value = (_linear(tensors, f"{name}.{part}") for part in ("query", "key", "value"))
    scale = np.float32(HEAD_WIDTH**-0.5)
    weight = np.concatenate([query.weight * scale, key.weight, value.weight])
    return _Linear(weight, np.concatenate([query.bias * scale, key.bias, value.bias]))


def _linear(tensors: Tensors, name: str) -> _Linear:
    return _Linear(tensors[f"{name}.weight"], _array(tensors[f"{name}.bias"]))


def _norm(tensors: Tensors, name: str) -> _Norm:
    return _Norm(_array(tensors[f"{name}.weight"]), _array(tensors[f"{name}.bias"]))


def _array(tensor: np.ndarray[Any, Any]) -> Floats:
    return np.array(tensor, np.float32)
