"""Degrees of freedom for signal where A is too large to be made, or where there is none: by random probes.

The exact number is :attr:`da.diagnostics.posterior.Posterior.degrees_of_freedom`. Estimates come with their standard
error and with the seed that gives them again, on any number of ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from da.diagnostics.posterior import posterior
from da.minimisation.hessian import ObservationHessian

_SMALL = 2048  # controls of which A is made and its eigenvalues are found


@dataclass(frozen=True)
class Degrees:
    """Degrees of freedom for signal.

    value : tr A (a I + A)⁻¹, between 0 and the smaller of s and M, or an estimate of it
    standard_error : of the estimate, from its probes' spread; 0 where the value is exact
    probes : how many, 0 where the value is exact; seed : of their random numbers
    """

    value: float
    standard_error: float
    probes: int
    seed: int | None


def degrees_of_freedom(
    hessian: ObservationHessian, weight: float = 1.0, *, small: int = _SMALL, probes: int = 32, seed: int = 0
) -> Degrees:
    """Exact for controls of at most `small` numbers, by `estimated` beyond. Collective.

    hessian : ObservationHessian
    weight : a, factor of ½ wᵀw in J
    probes, seed : as in `estimated`
    """
    n = hessian.transform.n_control
    if n <= small:
        return Degrees(posterior(hessian.information, weight).degrees_of_freedom, 0.0, 0, None)
    return estimated(lambda w: information_product(hessian, w), n, weight, probes=probes, seed=seed)


def information_product(hessian: ObservationHessian, control: np.ndarray) -> np.ndarray:
    """A w without A: (s,) → (s,), one pass each of U and Uᵀ. Collective."""
    increment = hessian.transform.apply(control)
    weighted = hessian.error.solve(hessian.operator.observe(increment))
    return hessian.transform.adjoint(hessian.operator.adjoint(weighted))


def estimated(
    product: Callable[[np.ndarray], np.ndarray],
    n_control: int,
    weight: float = 1.0,
    *,
    probes: int = 32,
    seed: int = 0,
    tolerance: float = 1e-8,
    max_iterations: int = 500,
) -> Degrees:
    """Mean of zᵀ A (a I + A)⁻¹ z over random signs z (Hutchinson 1989), each by conjugate gradients.

    Parameters
    ----------
    product : function A w of a control, (s,) → (s,), the same on every rank
    n_control : s
    weight : a
    probes : at least 2, so that there is a spread
    seed : of the random signs; equal seeds, equal probes
    tolerance : on the residual of the conjugate gradients, relative
    max_iterations : of them, for one probe

    Returns
    -------
    Degrees

    Raises
    ------
    ValueError
        if there are fewer than two probes
    RuntimeError
        if the conjugate gradients do not converge
    """
    _check_probes(probes)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(probes):
        signs = rng.choice([-1.0, 1.0], n_control)
        solved = _conjugate_gradients(lambda w: weight * w + product(w), signs, tolerance, max_iterations)
        # A (a I + A)⁻¹ = I − a (a I + A)⁻¹: no further product, and exact where A is zero
        found.append(n_control - weight * float(signs @ solved))
    return _told(found, probes, seed)


def girard(
    analysed: Callable[[np.ndarray], np.ndarray],
    innovation: np.ndarray,
    std: np.ndarray,
    comm: MPI.Comm,
    rows: slice,
    *,
    probes: int = 8,
    seed: int = 0,
    size: float = 1.0,
) -> Degrees:
    """By analyses of perturbed readings, also where U or H is not linear. Collective.

    tr H K is the mean of Σ z_i (h_i(d + σ z) − h_i(d)) / σ_i over random signs z, h(d) being what the analysis of d
    makes at the sensors (Girard 1987; Desroziers et al. 2009, Mon. Weather Rev. 137, 3420). Each probe costs an
    analysis.

    Parameters
    ----------
    analysed : function of an innovation, (M_local,) → (M_local,) H U(w) of its analysis. Collective.
    innovation : (M_local,) d
    std : (M_local,) σ, standard deviations of the readings
    comm : MPI communicator; rows : slice of the readings on this rank
    probes : at least 2; seed : of the random signs
    size : factor of the perturbations; a small one asks for the derivative at d

    Returns
    -------
    Degrees

    Raises
    ------
    ValueError
        if there are fewer than two probes
    """
    _check_probes(probes)
    m = comm.allreduce(rows.stop - rows.start)
    rng, base, found = np.random.default_rng(seed), analysed(innovation), []
    for _ in range(probes):
        # all readings' signs on every rank, so that they do not depend on the number of ranks
        signs = rng.choice([-1.0, 1.0], m)[rows]
        moved = analysed(innovation + size * std * signs) - base
        found.append(comm.allreduce(float(np.sum(signs * moved / (size * std)))))
    return _told(found, probes, seed)


def _told(found: list[float], probes: int, seed: int) -> Degrees:
    return Degrees(float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(probes)), probes, seed)


def _check_probes(probes: int) -> None:
    if probes < 2:
        raise ValueError(f"{probes} probes, expected two or more: one has no spread")


def _conjugate_gradients(
    product: Callable[[np.ndarray], np.ndarray], right: np.ndarray, tolerance: float, limit: int
) -> np.ndarray:
    """Solve H x = b; every rank does the same on the same numbers."""
    solution, residual = np.zeros_like(right), right.copy()
    direction, squared = residual.copy(), float(residual @ residual)
    goal = tolerance**2 * squared
    for _ in range(limit):
        if squared <= goal:
            return solution
        bent = product(direction)
        step = squared / float(direction @ bent)
        solution += step * direction
        residual -= step * bent
        before, squared = squared, float(residual @ residual)
        direction = residual + (squared / before) * direction
    if squared <= goal:
        return solution
    raise RuntimeError(
        f"conjugate gradients came to {np.sqrt(squared / goal) * tolerance:.2g} of the first residual in {limit} "
        f"iterations, {tolerance:.2g} was asked; allow more iterations or a larger tolerance"
    )
