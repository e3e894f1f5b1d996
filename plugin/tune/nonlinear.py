"""Analyses of many withheld states at once whose readings are of transformed variables.

With z the increments of the transformed values at the sensors, C their covariance, h(z) = ψ(a_b + z) − ψ(a_b),

    J(z) = ½ zᵀ C⁻¹ z + ½ ‖d − h(z)‖²_{R⁻¹},   z = C u

is minimised by Gauss–Newton as the cycle's outer loops do it: with S = ψ' at the latest z,

    u = S (S C S + R)⁻¹ (d − h(z) + S z)

A step that raises J is halved. It begins with the slopes of chords, from the background to the readings. ψ is taken at
the sensors, while the cycle takes it at the nodes about them (`da.observation.anamorphosed`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from da.background.anamorphosis import Anamorphosis

_LOOPS, _HALVINGS = 10, 10
_TOLERANCE = 1e-6  # on ‖Δz‖ / ‖z‖
_APART = 1e-9  # of φ: nearer values have the slope there


@dataclass(frozen=True)
class RowFunctions:
    """φ and ψ of rows of (k, n) values, each of one variable.

    forms : Anamorphosis of each of v variables, None for none
    variable : (k,) number of each row's variable
    """

    forms: Sequence[Anamorphosis | None]
    variable: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        """(k, n) φ."""
        return self._each("forward", values, np.array(values, float))

    def values(self, transformed: np.ndarray) -> np.ndarray:
        """(k, n) ψ, continued below bounds."""
        return self._each("continued", transformed, np.array(transformed, float))

    def within_bounds(self, transformed: np.ndarray) -> np.ndarray:
        """(k, n) ψ, never below a bound."""
        return self._each("inverse", transformed, np.array(transformed, float))

    def slopes(self, transformed: np.ndarray) -> np.ndarray:
        """(k, n) derivative of `values`; one of a variable without an anamorphosis."""
        return self._each("slope", transformed, np.ones(np.shape(transformed)))

    def _each(self, function: str, values: np.ndarray, result: np.ndarray) -> np.ndarray:
        for number, form in enumerate(self.forms):
            mine = self.variable == number
            if form is not None and mine.any():
                result[mine] = getattr(form, function)(values[mine])
        return result


def minima(
    covariance: np.ndarray, error: np.ndarray, background: np.ndarray, innovation: np.ndarray, functions: RowFunctions
) -> np.ndarray:
    """Weights u of the covariances with the sensors in the analysis of each state: δa = C_x u.

    Parameters
    ----------
    covariance : (M, M) C, of transformed values; error : (M, M) R, of the variables
    background : (M, n) of the variables; innovation : (M, n) d
    functions : RowFunctions of the sensors

    Returns
    -------
    (M, n) u
    """
    transformed = functions.forward(background)
    model = functions.values(transformed)
    innovation = innovation + background - model  # a background below its bound counts as at it
    precision = np.linalg.inv(error)

    def cost(u: np.ndarray, z: np.ndarray) -> np.ndarray:
        left = innovation - functions.values(transformed + z) + model
        return np.sum(u * z, axis=0) + np.sum(left * (precision @ left), axis=0)

    def solved(slope: np.ndarray, right: np.ndarray) -> np.ndarray:
        of = slope.T[:, :, None] * covariance * slope.T[:, None, :] + error
        return slope * np.linalg.solve(of, right.T[:, :, None])[:, :, 0].T

    u = solved(_chords(functions, transformed, model, innovation), innovation)
    z = covariance @ u
    value = cost(u, z)
    for _ in range(_LOOPS):
        slope = functions.slopes(transformed + z)
        right = innovation - functions.values(transformed + z) + model + slope * z
        step, moved = solved(slope, right) - u, np.zeros_like(z)
        for _ in range(_HALVINGS):
            moved = covariance @ step
            after = cost(u + step, z + moved)
            raised = ~(after <= value * (1.0 + 1e-12))
            if not raised.any():
                break
            step[:, raised] *= 0.5
        else:
            step[:, raised], moved[:, raised], after = 0.0, 0.0, np.where(raised, value, after)
        u, z, value = u + step, z + moved, after
        if np.all(np.linalg.norm(moved, axis=0) <= _TOLERANCE * np.linalg.norm(z, axis=0)):
            break
    return u


def _chords(functions: RowFunctions, transformed: np.ndarray, model: np.ndarray, innovation: np.ndarray) -> np.ndarray:
    """(M, n) slopes of ψ from the background to the readings."""
    to = functions.forward(model + innovation)
    apart = to - transformed
    far = np.abs(apart) > _APART
    rise = functions.values(to) - model
    return np.where(far, rise / np.where(far, apart, 1.0), functions.slopes(transformed))
