"""`decoded`: the analysis with the true H on the decoded field, J_o = ½ ‖d − H g(V_l w)‖²_{R⁻¹}.

The observations may be few or many, and H need not be linear. Each evaluation of J and ∇J is one decode, one H, one Hᵀ
and one VJP; by Gauss–Newton one decode for each trial step, and a JVP and a VJP for each product.

Activations such as PReLU give J kinks, and its minimum may lie in one: no step lowers J there although ∇J is not zero.
A search that ends so is not a failure if it has lowered J; its reason is KINK.
"""

import time
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from da.analysis import Analysis, analysis_of
from da.background.latent import DecodedTransform
from da.minimisation.cost import CostFunction
from da.minimisation.gauss_newton import LeastSquares, gauss_newton
from da.minimisation.minimise import AT_ROUNDING, Iteration, MinimisationError, Minimum, minimise
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator

KINK = "STOPPED_AT_KINK"
MINIMISERS = ("lmvm", "blmvm", "bqnls", "gauss_newton")
# a network in float32 rounds J by 1e-7 of its terms; a search for more precision wanders in the noise
_SINGLE = {"gradient_tolerance": 1e-3, "max_iterations": 100, "rounding": 1e-7}
# of ∇J, relative to its largest: below this part rounding may stop a search
_LEVEL = {np.dtype(np.float64): 1e-7, np.dtype(np.float32): 1e-2}


class Invertible(Protocol):
    """What finds the control of an increment: a `DecodedTransform`, or a window of codes that starts with one."""

    def control_of(self, increment: np.ndarray) -> np.ndarray:
        """(n_local,) → (n_control,) on every rank. Collective."""


def warm_start(cost: LeastSquares, transform: Invertible, increment: np.ndarray) -> np.ndarray:
    """The control of another analysis' increment, such as TSVD's, where its J is lower than at zero. Collective.

    It costs two decodes and an encode.

    Parameters
    ----------
    cost : J with this transform
    transform : of that J
    increment : (n_local,) in the state's units

    Returns
    -------
    (s,), the same on every rank; zeros where J at zero is lower, or J at the other control is no number
    """
    zero = np.zeros(cost.n_control)
    control = transform.control_of(increment)
    return control if cost.value(control) < cost.value(zero) else zero


def analyse_decoded(
    transform: DecodedTransform,
    operator: ObservationOperator,
    error: ObservationError,
    innovation: np.ndarray,
    comm: MPI.Comm,
    *,
    background_weight: float = 1.0,
    first_increment: np.ndarray | None = None,
    method: str = "lmvm",
    **minimiser: Any,
) -> Analysis:
    """The increment of least cost for a transform by a decoder. Collective.

    Parameters
    ----------
    transform : DecodedTransform
    operator : observation operator, linear or with `adjoint(y, at)` and, for Gauss–Newton, `linearised(increment)`
    error : ObservationError, R
    innovation : (M_local,) d = y − H(x_b), in the observations' units
    comm : MPI communicator
    background_weight : factor of ½ wᵀw
    first_increment : (n_local,) of another analysis, such as TSVD's; the search starts there if J is lower than at zero
        control. None starts at zero control
    method : one of MINIMISERS
    minimiser : keyword arguments of `da.minimisation.minimise.minimise` or
        `da.minimisation.gauss_newton.gauss_newton`; their tolerances are wider by default for a network in float32

    Returns
    -------
    Analysis; its trace starts where the search did

    Raises
    ------
    MinimisationError, ValueError
        as the minimisers and `CostFunction`; if the search ended before J was lower; if the method is unknown
    """
    check_search(method, transform.decoder.dtype)
    began = time.perf_counter()
    innovation = np.asarray(innovation, dtype=np.float64)
    cost = CostFunction(transform, operator, error, innovation, comm, background_weight)
    start = None if first_increment is None else warm_start(cost, transform, first_increment)
    prepared = time.perf_counter()
    minimum = search(cost, transform.decoder.dtype, comm, method, {"start": start, **minimiser})
    seconds = {"prepare": prepared - began, "minimise": time.perf_counter() - prepared}

    def increment_of(control: np.ndarray) -> np.ndarray:
        increment = transform.apply(control, keep=False)
        transform.decoder.release()
        return increment

    return analysis_of(minimum, increment_of, operator, error, innovation, comm, seconds)


def check_search(method: str, dtype: np.dtype) -> None:
    """ValueError if `search` has no such method, or no tolerances for a network's precision."""
    if method not in MINIMISERS:
        raise ValueError(f"minimisation method {method!r}, expected one of {', '.join(MINIMISERS)}")
    if dtype not in _LEVEL:
        expected = " or ".join(map(str, _LEVEL))
        raise ValueError(f"the decoder computes in {dtype}, expected {expected}; convert the network")


def search(cost: LeastSquares, dtype: np.dtype, comm: MPI.Comm, method: str, settings: dict[str, Any]) -> Minimum:
    """The minimum of a cost through a network, with tolerances for its precision. Collective.

    Parameters
    ----------
    cost : J
    dtype : of the network, float64 or float32
    comm : MPI communicator
    method : one of MINIMISERS
    settings : keyword arguments of the minimiser, which win over the defaults for the precision

    Returns
    -------
    Minimum, with KINK as the reason if it ended in one

    Raises
    ------
    MinimisationError
        as the minimisers; if the search ended before J was lower
    """
    single, level = dtype == np.float32, _LEVEL[dtype]
    settings = {"rounding_tolerance": np.inf, **(_SINGLE if single else {}), **settings}
    if method == "gauss_newton":
        return _with_reason(gauss_newton(cost, comm, **settings), level)
    remembering = _Remembering(cost)
    try:
        return _with_reason(minimise(remembering, comm, method=method, **settings), level)
    except MinimisationError:
        first, least = remembering.first, remembering.least
        # a search that used up its iterations in J's rounding has been at the minimum
        if first is None or least is None or least.gradient_norm > level * first.gradient_norm:
            raise
        return Minimum(remembering.control, (first, least), AT_ROUNDING, remembering.evaluations)


class _Remembering:
    """A cost that keeps the first and the least J it gave."""

    linear = False

    def __init__(self, cost: LeastSquares) -> None:
        self.cost, self.n_control = cost, cost.n_control
        self.first: Iteration | None = None
        self.least: Iteration | None = None
        self.control = np.zeros(cost.n_control)
        self.evaluations = 0

    def background(self, control: np.ndarray) -> float:
        return self.cost.background(control)

    def value_and_gradient(self, control: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.cost.value_and_gradient(control)
        if self.least is None or value < self.least.cost:
            background, norm = self.background(control), float(np.linalg.norm(gradient))
            self.control = control.copy()
            self.least = Iteration(self.evaluations, value, background, value - background, norm)
            self.first = self.first or self.least
        self.evaluations += 1
        return value, gradient


def _with_reason(minimum: Minimum, level: float) -> Minimum:
    """With KINK as the reason if it ended in one. MinimisationError if J was never lowered."""
    first, last = minimum.trace[0], minimum.trace[-1]
    steepest = max(step.gradient_norm for step in minimum.trace)
    if minimum.reason != AT_ROUNDING or last.gradient_norm <= level * steepest:
        return minimum
    if last.cost < first.cost:
        return replace(minimum, reason=KINK)
    raise MinimisationError(
        f"no step from the start lowers J = {first.cost:.6g} along its gradient, of norm {first.gradient_norm:.3g}; "
        "check that the network's derivatives are those of its values"
    )
