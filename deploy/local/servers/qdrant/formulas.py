"""Score formulas: from the REST expression tree to the engine's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import qdrant_edge as edge
from qdrant_client.http import models

from agentstate.errors import InvalidInput
from deploy.local.servers.qdrant.filters import edge_condition

_Expression = edge.Expression
_LISTS: dict[type, tuple[str, Callable[[list[Any]], Any]]] = {
    models.MultExpression: ("mult", _Expression.Mult),
    models.SumExpression: ("sum", _Expression.Sum),
    models.MaxExpression: ("max", _Expression.Max),
    models.MinExpression: ("min", _Expression.Min),
}
_SINGLES: dict[type, tuple[str, Callable[[Any], Any]]] = {
    models.NegExpression: ("neg", _Expression.Neg),
    models.AbsExpression: ("abs", _Expression.Abs),
    models.SqrtExpression: ("sqrt", _Expression.Sqrt),
    models.ExpExpression: ("exp", _Expression.Exp),
    models.Log10Expression: ("log10", _Expression.Log10),
    models.LnExpression: ("ln", _Expression.Ln),
    models.AcoshExpression: ("acosh", _Expression.Acosh),
}
_DECAYS: dict[type, tuple[str, edge.DecayKind]] = {
    models.LinDecayExpression: ("lin_decay", edge.DecayKind.Lin),
    models.ExpDecayExpression: ("exp_decay", edge.DecayKind.Exp),
    models.GaussDecayExpression: ("gauss_decay", edge.DecayKind.Gauss),
}
_CONDITIONS = get_args(models.Condition)


def edge_formula(query: models.FormulaQuery) -> edge.Formula:
    """The engine's formula for a REST formula.

    Raises:
        InvalidInput: An expression is not supported.
    """
    return edge.Formula(edge_expression(query.formula), query.defaults or None)


def edge_expression(expression: models.Expression) -> Any:
    """The engine's expression for one REST expression.

    Raises:
        InvalidInput: It is not supported.
    """
    kind = type(expression)
    if kind in _LISTS:
        field, make_list = _LISTS[kind]
        return make_list([edge_expression(each) for each in getattr(expression, field)])
    if kind in _SINGLES:
        field, make = _SINGLES[kind]
        return make(edge_expression(getattr(expression, field)))
    if kind in _DECAYS:
        field, decay = _DECAYS[kind]
        return _decay_expression(decay, getattr(expression, field))
    return _leaf_expression(expression)


def _leaf_expression(expression: models.Expression) -> Any:
    if isinstance(expression, int | float):
        return _Expression.Constant(float(expression))
    if isinstance(expression, str):
        return _Expression.Variable(expression)
    if isinstance(expression, _CONDITIONS):
        return _Expression.Condition(edge_condition(expression))
    convert = _OTHERS.get(type(expression))
    if convert is None:
        raise InvalidInput(f"The one-machine engine has no {type(expression).__name__}; write the formula without it.")
    return convert(expression)


def _power_expression(params: models.PowParams) -> Any:
    return _Expression.Pow(edge_expression(params.base), edge_expression(params.exponent))


def _division_expression(params: models.DivParams) -> Any:
    return _Expression.Div(edge_expression(params.left), edge_expression(params.right), params.by_zero_default)


def _decay_expression(kind: edge.DecayKind, params: models.DecayParamsExpression) -> Any:
    target = None if params.target is None else edge_expression(params.target)
    return _Expression.Decay(kind, edge_expression(params.x), target, params.midpoint, params.scale)


_OTHERS: dict[type, Callable[[Any], Any]] = {
    models.DatetimeExpression: lambda expression: _Expression.Datetime(expression.datetime),
    models.DatetimeKeyExpression: lambda expression: _Expression.DatetimeKey(expression.datetime_key),
    models.DivExpression: lambda expression: _division_expression(expression.div),
    models.PowExpression: lambda expression: _power_expression(expression.pow),
}
