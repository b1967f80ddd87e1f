"""Decision rules, one per file of this folder, with fields, borders, decision and words.

The set is closed: only this folder is searched, so a plugin cannot add a rule.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from vjepa_stress.closed_sets import find_members
from vjepa_stress.rules.base import Combination, Decision, LeafRule, Outcome, Rule

__all__ = ["RULES", "AnyRule", "Combination", "Decision", "LeafRule", "Outcome", "Rule"]


RULES = find_members(__name__, __path__, Rule, "kind")
"""Every rule, by its `kind` in documents."""

if TYPE_CHECKING:
    AnyRule = Rule
else:
    AnyRule = Annotated[functools.reduce(operator.or_, RULES.values()), Field(discriminator="kind")]
    for _rule in RULES.values():
        if issubclass(_rule, Combination):
            _rule.model_rebuild(force=True, _types_namespace={"AnyRule": AnyRule})
