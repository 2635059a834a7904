"""What a primitive is: its name, parameters, type rule and the static facts that give default
rules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from .errors import MissingRule, TypeRuleError, did_you_mean
from .types import TensorType

if TYPE_CHECKING:
    from .builder import Builder
    from .graph import Atom, Equation, Graph

Types = tuple[TensorType, ...]
TypeRule = Callable[[Types, dict[str, Any]], TensorType | Types]
FoldRule = Callable[["Builder", tuple["Atom", ...], dict[str, Any]], "tuple[Atom, ...] | None"]

REQUIRED: Final = object()
"""Stands for the default of a parameter that has none."""

NO_EFFECTS: Final[frozenset[str]] = frozenset()


@dataclass(eq=False, slots=True)
class Primitive:
    """An operation of the program.

    Attributes:
      name: as in the text; JAX's own name wherever JAX has the primitive.
      infer: the type rule, (input types, params) -> output type, or a tuple of them.
      defaults: parameters in their printing order, with their defaults (or REQUIRED).
      elementwise: each output element depends on the same element of each input (scalars and
        axes of length 1 broadcast).
      linear_in: the inputs in which the primitive is linear.
      jointly_linear: linear in all of `linear_in` together (add), rather than in each separately
        (mul, dot_general).
      commutative: two operands may be swapped without any change of the result.
      not_differentiable: why outputs carry no tangent (comparisons, rounding, index arithmetic).
      effects: why an equation must not be dropped, repeated or reordered; may depend on it.
      has_regions: whether parameters hold graphs.
      runs: the graphs that run when the equation does; all that it holds, by default. Rules that
        wait for a derivative do not.
      user_rules: whether it is differentiated by rules that a user wrote. What these make of two
        calls need not add up (a backward rule may clip), so that no call stands for another.
      float_params: whether a parameter may hold a float, for which == is not identity.
      unnamed: the parameters where none is given; None if one has to be.
    """

    name: str
    infer: TypeRule
    defaults: Mapping[str, Any] = field(default_factory=dict)
    elementwise: bool = False
    linear_in: tuple[int, ...] = ()
    jointly_linear: bool = False
    commutative: bool = False
    not_differentiable: str | None = None
    effects: frozenset[str] | Callable[[Equation], frozenset[str]] = NO_EFFECTS
    has_regions: bool = False
    runs: Callable[[Equation], Iterable[Graph]] | None = None
    user_rules: bool = False
    float_params: bool = False
    family: str = ""
    fold: FoldRule | None = None
    param_names: tuple[str, ...] = ()
    may_have_effects: bool = False
    _inferred: dict[Any, TensorType | Types] = field(default_factory=dict)
    unnamed: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        self.param_names = tuple(self.defaults)
        self.may_have_effects = self.has_regions or bool(self.effects)
        if all(value is not REQUIRED for value in self.defaults.values()):
            self.unnamed = dict(self.defaults)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Callable[[str], Primitive], tuple[str]]:
        return primitive_named, (self.name,)

    def output_types(self, types: Types, params: dict[str, Any]) -> TensorType | Types:
        """`infer`, remembered where parameters are small: not those that hold graphs or arrays."""
        if self.has_regions or self.name == "constant":
            return self.infer(types, params)
        key = (types, *params.values()) if params else types
        found = self._inferred.get(key)
        if found is None:
            if len(self._inferred) > _MOST_INFERRED:
                self._inferred.clear()
            found = self._inferred[key] = self.infer(types, params)
        return found

    def effects_of(self, eqn: Equation) -> frozenset[str]:
        return self.effects(eqn) if callable(self.effects) else self.effects

    def complete(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters in declared order, defaults filled in. Raises TypeRuleError."""
        if not params and self.unnamed is not None:
            return self.unnamed
        unknown = [name for name in params if name not in self.defaults]
        if unknown:
            raise TypeRuleError(
                f"{self.name} has no parameter {unknown[0]!r}",
                hint=did_you_mean(unknown[0], self.defaults)
                or f"its parameters: {', '.join(self.defaults) or 'none'}",
            )
        complete = {name: params.get(name, default) for name, default in self.defaults.items()}
        missing = [name for name, value in complete.items() if value is REQUIRED]
        if missing:
            raise TypeRuleError(f"{self.name} needs the parameter {', '.join(missing)}")
        return complete


_MOST_INFERRED: Final = 10_000

PRIMITIVES: Final[dict[str, Primitive]] = {}
"""Every primitive by name."""


def define(name: str, infer: TypeRule, **fields: Any) -> Primitive:
    """Make a primitive and enter it in `PRIMITIVES`; its family is the file that defines it."""
    if name in PRIMITIVES:
        raise ValueError(f"primitive {name} is defined twice")
    module = str(getattr(infer, "__module__", ""))
    fields.setdefault("family", module.rpartition(".")[2])
    primitive = PRIMITIVES[name] = Primitive(name, infer, **fields)
    return primitive


def primitive_named(name: str) -> Primitive:
    """The primitive of that name. Raises MissingRule with near misses."""
    try:
        return PRIMITIVES[name]
    except KeyError:
        raise MissingRule(
            f"there is no primitive {name!r}", hint=did_you_mean(name, PRIMITIVES)
        ) from None


Rule = TypeVar("Rule", bound=Callable[..., Any])


_FORGET: Final[list[Callable[[], None]]] = []


def forget_on_change(forget: Callable[[], None]) -> None:
    """Have this called when a rule is replaced: what was made by rules may then be another."""
    _FORGET.append(forget)


class _Rules(dict[Primitive, Rule]):
    """Rules by primitive, that may be replaced while a program runs."""

    def __setitem__(self, primitive: Primitive, rule: Rule) -> None:
        super().__setitem__(primitive, rule)
        _forget()

    def __delitem__(self, primitive: Primitive) -> None:
        super().__delitem__(primitive)
        _forget()

    def pop(self, *args: Any) -> Any:
        found = super().pop(*args)
        _forget()
        return found

    def update(self, *rules: Any, **named: Any) -> None:
        super().update(*rules, **named)
        _forget()

    def clear(self) -> None:
        super().clear()
        _forget()


def _forget() -> None:
    for forget in _FORGET:
        forget()


class RuleTable(Generic[Rule]):
    """The rules of one transformation: `@table.rule(primitive)` enters, `table[primitive]` finds.

    `default` derives a rule from a primitive's traits, or returns None; `advice` ends the error
    that a missing rule gives; `load` enters the rules of a primitive that is first asked for.
    """

    def __init__(
        self,
        name: str,
        default: Callable[[Primitive], Rule | None] = lambda primitive: None,
        advice: str | None = None,
        load: Callable[[Primitive], None] = lambda primitive: None,
    ) -> None:
        self.name = name
        self.default = default
        self.advice = advice
        self.load = load
        self.rules: dict[Primitive, Rule] = _Rules()
        self._derived: dict[Primitive, Rule | None] = {}

    def rule(self, *primitives: Primitive) -> Callable[[Rule], Rule]:
        """Enter the decorated function as the rule of these primitives."""

        def enter(rule: Rule) -> Rule:
            for primitive in primitives:
                self.define(primitive, rule)
            return rule

        return enter

    def define(self, primitive: Primitive, rule: Rule) -> None:
        if primitive in self.rules:
            raise ValueError(f"{primitive.name} has two {self.name} rules")
        if primitive in self._derived:
            self.rules[primitive] = rule
        else:  # it was not asked for before: nothing is to be forgotten
            dict.__setitem__(self.rules, primitive, rule)

    def get(self, primitive: Primitive) -> Rule | None:
        """The primitive's own rule, else the one its traits give, else None."""
        found = self.rules.get(primitive)
        if found is not None:
            return found
        if primitive not in self._derived:
            self.load(primitive)
            if primitive in self.rules:
                return self.rules[primitive]
            self._derived[primitive] = self.default(primitive)
        return self._derived[primitive]

    def find(self, eqn: Equation) -> Rule:
        """The rule for an equation. Raises MissingRule that names it and its line."""
        found = self.get(eqn.primitive)
        if found is None:
            claim = f"{eqn.primitive.name} has no {self.name} rule"
            raise MissingRule(claim, eqn, hint=self.advice)
        return found
