"""Everything that was measured in one mode, and how a line of Python measures a pair of it again.

Dimensions: n token.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Int64
from torch import Tensor

from .evidence import Evidence


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything measured in one mode.

    Attributes:
        declared: The mask of one layer.
        expected: What end to end may have an influence.
        rows: Whose outputs were read.
        gradient, perturbation: End to end; None if not measured.
        layer_gradients, layer_perturbations: Each layer alone; empty if not measured.
        first: After how many layers column first changed row, 0 where it did not.
        arrived: By layer, the mask that reached attention; empty if it could not be read.
        soft: By layer, pairs kept apart by a finite constant only.
        exact: Zero means no influence, and underflow is excluded as far as float64 goes. False under autocast and with
            dropout, where an allowed pair without influence is UNDECIDED.
        sampled: Some pairs of a cell stand for all that it allows.
    """

    declared: Bool[Tensor, "n n"]
    expected: Bool[Tensor, "n n"]
    rows: Bool[Tensor, " n"]
    gradient: Evidence | None = None
    perturbation: Evidence | None = None
    layer_gradients: tuple[Evidence, ...] = ()
    layer_perturbations: tuple[Evidence, ...] = ()
    first: Int64[Tensor, "n n"] | None = None
    arrived: tuple[Bool[Tensor, "n n"], ...] = ()
    soft: tuple[Bool[Tensor, "n n"], ...] = ()
    exact: bool = True
    sampled: bool = False

    @property
    def layer_count(self) -> int:
        """Layers about which anything is known."""
        return max(len(self.layer_gradients), len(self.layer_perturbations), len(self.soft), len(self.arrived))

    @property
    def ways(self) -> list[Bool[Tensor, "n n"]]:
        """By layer, everything declared, seen to arrive or measured to act: along which influence can flow."""
        ways: list[Tensor] = []
        for index in range(max(self.layer_count, 1)):
            mask = self.arrived[index] if self.arrived else self.declared
            for evidence in (self.layer_gradients, self.layer_perturbations):
                if evidence:
                    mask = mask | (evidence[index].active & evidence[index].alone)
            ways.append(mask)
        return ways


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a line of Python runs the subject again.

    Attributes:
        expression: Makes the subject.
        function: Of `workbench.proof.reproduce`.
        mode: It ran in.
        seed: Of the tokens.
    """

    expression: str
    mode: str
    seed: int
    function: str = "pair_influence"

    def line(self, row: int, column: int, layer: int | None, what: str) -> str:
        """The line for one pair."""
        where = "" if layer is None else f", layer={layer}"
        return (
            "from workbench.proof.reproduce import *; "
            f'print({self.function}({self.expression}, "{self.mode}", {row}, {column}{where}, seed={self.seed}))'
            f"  # {what}"
        )
