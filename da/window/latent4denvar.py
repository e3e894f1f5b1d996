"""`latent4denvar`: 4DEnVar among codes, in the subspace of an ensemble of paths and of its parameters.

Members are codes z_i and parameters θ_i; F carries each over the window, g decodes it where there are readings:

    y_i = H_k[g(z_i^k) − g(F^k(z_b))],   J(w) = ½ wᵀw + ½ ‖d − ȳ − Y w‖²_{R⁻¹}

with Y the anomalies of y_i over √(N − 1). Neither F, g nor H is differentiated. The weights that this gives
(`da.ensemble.envar`) do not depend on what they multiply, so codes of every step follow, and parameters. With linear F
and g, and members without noise, it is `latent4dvar` with the members' codes as V_l.

The method in a learned latent space, states and parameters together: LEVDA, 2026, arXiv:2602.19406.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.ensemble.ensemble import EnsembleReadings, anomalies_of, mean_of
from da.ensemble.envar import EnVarUpdate, envar
from da.observation.diagonal_error import DiagonalError
from da.window.cost import WindowReadings, refuse_readings
from da.window.path import LatentWindow

Forecast = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class MemberPaths:
    """N members' codes over a window; the same on every rank.

    codes : (K + 1, m, N)
    parameters : (P, N), standard normal under the prior; P may be 0
    """

    codes: np.ndarray
    parameters: np.ndarray


@dataclass(frozen=True)
class EnsembleWindow:
    """What an analysis of members over a window found.

    members : MemberPaths after the analysis
    step : of the increment
    increment : (n_local,) g of the members' mean code less g(F^k(z_b)), in the state's units
    update : EnVarUpdate, for anything else that goes with the members
    """

    members: MemberPaths
    step: int
    increment: np.ndarray
    update: EnVarUpdate


def member_paths(
    forecast: Forecast,
    codes: np.ndarray,
    parameters: np.ndarray,
    n_steps: int,
    noise: np.ndarray | None = None,
    seed: int = 0,
) -> MemberPaths:
    """Members carried over a window.

    Parameters
    ----------
    forecast : F(z, θ): (m,), (P,) → (m,), the same on every rank
    codes : (m, N) at the window's start
    parameters : (P, N)
    n_steps : K
    noise : (m, q) root of the covariance of F's errors in a step, drawn for each member and step; None for none
    seed : of these draws

    Raises
    ------
    ValueError
        if there are fewer than two members, parameters are of another number, or F leaves the finite numbers
    """
    if codes.ndim != 2 or codes.shape[1] < 2 or parameters.shape[1:] != codes.shape[1:]:
        raise ValueError(
            f"codes of shape {codes.shape} and parameters of shape {parameters.shape}, expected (m, N) and (P, N) of "
            "two members or more"
        )
    rng = np.random.default_rng(seed)
    path = np.empty((n_steps + 1, *codes.shape))
    path[0] = codes
    for k in range(n_steps):
        path[k + 1] = np.stack([forecast(z, own) for z, own in zip(path[k].T, parameters.T, strict=True)], axis=1)
        if noise is not None:
            path[k + 1] += noise @ rng.normal(size=(noise.shape[1], codes.shape[1]))
        if not np.isfinite(path[k + 1]).all():
            raise ValueError(f"the forecast of a member's codes is not finite after {k + 1} steps")
    return MemberPaths(path, parameters)


def latent4denvar(
    window: LatentWindow,
    members: MemberPaths,
    readings: Sequence[WindowReadings],
    comm: MPI.Comm,
    *,
    step: int | None = None,
    **minimiser: Any,
) -> EnsembleWindow:
    """Members' paths after the readings of a window. Collective; a decode of each member for each step with readings.

    Parameters
    ----------
    window : LatentWindow, for its decoder and the background's path; its modes and its noise do not count
    members : MemberPaths about that path
    readings : WindowReadings in any order, one for a step
    comm : MPI communicator
    step : whose increment is wanted; None is the window's end
    minimiser : keyword arguments of `da.minimisation.minimise.minimise`

    Returns
    -------
    EnsembleWindow

    Raises
    ------
    MinimisationError, ValueError
        as `da.ensemble.envar.envar` and `da.window.cost.window_cost`; if members or the step are not of the window
    """
    step = window.check_step(step)
    if members.codes.shape[:2] != window.base.shape:
        problem = (
            f"members' paths of shape {members.codes.shape}, expected ({', '.join(map(str, window.base.shape))}, N)"
        )
        refuse_together(problem, comm)
    refuse_readings(window, readings, comm)
    update = envar(_observed(window, members, readings, comm), comm, **minimiser)
    analysed = MemberPaths(
        np.stack([update.state(codes) for codes in members.codes]), update.parameters(members.parameters)
    )
    return EnsembleWindow(analysed, step, window.increment(analysed.codes.mean(axis=2), step), update)


def _observed(
    window: LatentWindow, members: MemberPaths, readings: Sequence[WindowReadings], comm: MPI.Comm
) -> EnsembleReadings:
    """What members say at the readings, whitened, so that errors may be correlated; complete on every rank."""
    decoder, innovation, said = window.transform.decoder, [], []
    for of in sorted(readings, key=lambda one: one.step):
        offset = decoder.apply(window.base[of.step])
        values = [of.operator.observe(decoder.apply(code) - offset) for code in members.codes[of.step].T]
        own = of.error.whiten(np.stack([of.innovation, *values], axis=1))
        whole = np.concatenate(comm.allgather(own))
        innovation.append(whole[:, 0] - mean_of(whole[:, 1:]))
        said.append(anomalies_of(whole[:, 1:]))
    count = sum(map(len, innovation))
    nowhere = np.zeros((count, 3)), np.full(count, "")  # no localisation asks for places
    return EnsembleReadings(np.concatenate(innovation), np.concatenate(said), DiagonalError(np.ones(count)), *nowhere)
