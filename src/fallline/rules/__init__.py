"""Update rules: hyperparameters, and one elementwise formula each."""

from __future__ import annotations

from .._arrays import _checks
from .._arrays._pairs import modulus, sign
from ._adabelief import AdaBelief
from ._adadelta import Adadelta
from ._adafactor import Adafactor
from ._adagrad import Adagrad
from ._adam import Adam, AdamW
from ._adamax import Adamax
from ._adan import Adan
from ._asgd import ASGD
from ._base import (
    Hyperparameter,
    Read,
    Rule,
    Slot,
    State,
    abs2,
    bias_correction,
    hyper,
    option,
    weighted_abs2,
)
from ._ftrl import FTRL
from ._lookahead import Lookahead
from ._muon import Muon
from ._nadam import NAdam
from ._radam import RAdam
from ._rmsprop import RMSprop
from ._rprop import Rprop
from ._schedule_free import ScheduleFreeAdamW, ScheduleFreeSGD
from ._sgd import SGD, GradientDescent
from ._sign import Lion, SignSGD
from ._trust import LAMB, LARS
from ._yogi import Yogi

__all__ = [
    "ASGD",
    "FTRL",
    "LAMB",
    "LARS",
    "SGD",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "GradientDescent",
    "Hyperparameter",
    "Lion",
    "Lookahead",
    "Muon",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Read",
    "Rprop",
    "Rule",
    "ScheduleFreeAdamW",
    "ScheduleFreeSGD",
    "SignSGD",
    "Slot",
    "State",
    "Yogi",
    "abs2",
    "bias_correction",
    "get",
    "hyper",
    "modulus",
    "option",
    "sign",
    "weighted_abs2",
]

_RULES: tuple[type[Rule], ...] = (
    GradientDescent, SGD, Adagrad, Adadelta, RMSprop, Adam, AdamW,
    LAMB, LARS, Adafactor, Muon,
    Adamax, NAdam, RAdam, AdaBelief, Yogi, Lion, SignSGD, Adan, Rprop, ASGD, FTRL,
    ScheduleFreeSGD, ScheduleFreeAdamW,
)  # fmt: skip


def get(name: str | Rule, **hyperparameters: object) -> Rule:
    """Return the rule with the given name.

    Parameters
    ----------
    name : str or Rule
        Name of a class in any case, such as ``"adam"``. A rule is returned unchanged.
    **hyperparameters
        Fields of the rule.

    Returns
    -------
    Rule
        A new rule.

    Raises
    ------
    ValueError
        If no rule has this name.

    Examples
    --------
    >>> import fallline as fl
    >>> fl.rules.get("adam", learning_rate=0.1)
    Adam(learning_rate=0.1)
    """
    if isinstance(name, Rule):
        return name
    table = {rule.__name__.lower(): rule for rule in _RULES}
    key = str(name).replace("_", "").lower()
    if key not in table:
        raise _checks.unknown_name("rule", str(name), (rule.__name__ for rule in _RULES))
    return table[key](**hyperparameters)


def names() -> list[str]:
    """Return the names of all rules.

    Returns
    -------
    list of str
        Names that `get` accepts.
    """
    return [rule.__name__.lower() for rule in _RULES]
