"""`decoded`: the analysis with the true H on the decoded field, J_o = ½ ‖d − H g(V_l w)‖²_{R⁻¹}.

Any sensors will do, few or many, and H may be other than linear. Each evaluation of J and ∇J is one
decode, one H, one Hᵀ and one VJP; by Gauss–Newton one decode for a step or a try of one, and a JVP and a
VJP for each product.

A network of PReLU and the like bends J in kinks, and its minimum may lie in one: no step lowers J there
though ∇J is not zero. A search that ends so is no failure if it has lowered J; its reason is KINK.
"""

import time
from dataclasses import replace

import numpy as np

from da.analysis import analysis_of
from da.background.latent import warm_start
from da.minimisation.cost import CostFunction
from da.minimisation.gauss_newton import gauss_newton
from da.minimisation.minimise import AT_ROUNDING, Iteration, MinimisationError, Minimum, minimise

KINK = "STOPPED_AT_KINK"
MINIMISERS = ("lmvm", "blmvm", "bqnls", "gauss_newton")
# a network in float32 rounds J by 1e-7 of its terms; a search that asks for more wanders in its noise
_SINGLE = {"gradient_tolerance": 1e-3, "max_iterations": 100, "rounding": 1e-7}
_LEVEL = {np.dtype(np.float64): 1e-7, np.dtype(np.float32): 1e-2}  # of ∇J, below which rounding may stop a search


def analyse_decoded(
    transform,
    operator,
    error,
    innovation,
    comm,
    *,
    background_weight=1.0,
    first_increment=None,
    method="lmvm",
    **minimiser,
):
    """The increment of least cost for a transform by a decoder. Collective.

    Parameters
    ----------
    transform : DecodedTransform
    operator : observation operator, linear or with `adjoint(y, at)` and, for Gauss–Newton, `linearised(increment)`
    error : ObservationError, R
    innovation : (M_local,) d = y − H(x_b), in the observations' units
    comm : MPI communicator
    background_weight : factor of ½ wᵀw
    first_increment : (n_local,) of another analysis, as TSVD's; the search begins there if J is lower than at no
        control. None begins at no control
    method : one of MINIMISERS
    minimiser : keyword arguments of `da.minimisation.minimise.minimise` or `da.minimisation.gauss_newton.gauss_newton`; their tolerances are
        wider by default where the network is in float32

    Returns
    -------
    Analysis; the trace begins where the search did

    Raises
    ------
    MinimisationError, ValueError
        as the minimisers and `CostFunction`; if the search ended before J was lower; if the method is none of them
    """
    if method not in MINIMISERS:
        raise ValueError(f"minimisation method {method!r}, expected one of {', '.join(MINIMISERS)}")
    began = time.perf_counter()
    innovation = np.asarray(innovation, dtype=np.float64)
    cost = CostFunction(transform, operator, error, innovation, comm, background_weight)
    start = None if first_increment is None else warm_start(cost, first_increment).control
    prepared = time.perf_counter()
    minimum = _minimum(cost, comm, method, {"start": start, **minimiser})
    seconds = {"prepare": prepared - began, "minimise": time.perf_counter() - prepared}

    def increment_of(control):
        increment = transform.apply(control, keep=False)
        transform.decoder.release()
        return increment

    return analysis_of(minimum, increment_of, operator, error, innovation, comm, seconds)


def _minimum(cost, comm, method, settings):
    dtype = cost.transform.decoder.dtype
    single, level = dtype == np.float32, _LEVEL[dtype]
    settings = {"rounding_tolerance": np.inf, **(_SINGLE if single else {}), **settings}
    if method == "gauss_newton":
        return _told(gauss_newton(cost, comm, **settings), level)
    remembered = _Remembered(cost)
    try:
        return _told(minimise(remembered, comm, method=method, **settings), level)
    except MinimisationError:
        trace = remembered.first, remembered.least
        # a search that wandered in rounding until its iterations were used up has been at the minimum
        if trace[1].gradient_norm <= level * trace[0].gradient_norm:
            return Minimum(remembered.control, trace, AT_ROUNDING, remembered.evaluations)
        raise


class _Remembered:
    """A cost that keeps the first and the least J it gave."""

    linear = False

    def __init__(self, cost):
        self.cost, self.n_control, self.background = cost, cost.n_control, cost.background
        self.first = self.least = self.control = None
        self.evaluations = 0

    def value_and_gradient(self, control):
        value, gradient = self.cost.value_and_gradient(control)
        if self.least is None or value < self.least.cost:
            background, norm = self.background(control), float(np.linalg.norm(gradient))
            self.control = control.copy()
            self.least = Iteration(self.evaluations, value, background, value - background, norm)
            self.first = self.first or self.least
        self.evaluations += 1
        return value, gradient


def _told(minimum, level):
    """With KINK for a reason where it was one. MinimisationError if the search had not even begun."""
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
