"""The minimum of J: by TSVD's modes, by outer loops, or by a network where its analysis is trusted."""

from dataclasses import dataclass, replace
from typing import Any

from mpi4py import MPI

from coupling.geometry.mesh import State
from da.analysis import Analysis, analyse, prepare
from da.background.biased_transform import BiasedTransform
from da.minimisation.hessian import ObservationHessian
from da.minimisation.minimise import METHODS
from da.outer_loops import analyse_outer
from plugin.case.configuration import MinimiserSection
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.analysis_inputs import AnalysisInputs
from plugin.window.background.latent import LatentAnalysis, analyse_latent
from plugin.window.background.observation_encoding import row_positions
from plugin.window.background.of_case import Background


@dataclass(frozen=True)
class Minimum:
    """Where J is least.

    analysis : Analysis
    inputs : AnalysisInputs that it was made of: the Hessian is there, or the transform is the network's
    network : LatentAnalysis, trusted or not; None where the case has no network
    """

    analysis: Analysis
    inputs: AnalysisInputs
    network: LatentAnalysis | None


def find_minimum(
    inputs: AnalysisInputs,
    background: Background,
    state: State,
    minimiser: MinimiserSection,
    outer_loops: int,
    cache: AnalysisCache,
    comm: MPI.Comm,
) -> Minimum:
    """The analysis in control space. Collective.

    Raises
    ------
    MinimisationError
        if the minimum is not found
    """
    # a network's own method means nothing to TSVD
    method = minimiser.method if minimiser.method in METHODS else METHODS[0]
    search: dict[str, Any] = {"method": method, "max_iterations": minimiser.max_iterations}
    if inputs.huber is not None or not inputs.operator.linear:
        terms = inputs.transform, inputs.operator, inputs.error, inputs.innovation
        analysis = analyse_outer(*terms, comm, huber=inputs.huber, loops=outer_loops, **search)
    else:
        hessian = _hessian(inputs, background, cache, comm)
        inputs = replace(
            inputs,
            transform=hessian.transform,
            operator=hessian.operator,
            error=hessian.error,
            hessian=hessian,
        )
        terms = inputs.transform, inputs.operator, inputs.error, inputs.innovation
        analysis = analyse(*terms, comm, hessian=hessian, **search)
    if background.latent is None:
        return Minimum(analysis, inputs, None)
    network = analyse_latent(
        background.latent,
        background.transfer.to_grid(state),
        inputs.operator,
        inputs.error,
        inputs.innovation,
        comm,
        first=analysis.increment,
        positions=row_positions(inputs.reading_operator, inputs.readings, background.transfer.variables),
        cached=cache.encoding,
        method=minimiser.method,
        max_iterations=minimiser.max_iterations,
    )
    if network.analysis is None:
        return Minimum(analysis, inputs, network)
    assert network.transform is not None  # an analysis has one
    return Minimum(network.analysis, replace(inputs, transform=network.transform, hessian=None), network)


def _hessian(
    inputs: AnalysisInputs, background: Background, cache: AnalysisCache, comm: MPI.Comm
) -> ObservationHessian:
    """The Hessian of the last analysis if its sensors and errors are those of now. Collective."""
    content = (*inputs.operator.content, *inputs.error.content, *background.content, inputs.lag)
    if isinstance(inputs.transform, BiasedTransform):
        # the modes within stay those of the background
        content = (*content, inputs.transform.std)
    return cache.hessian.result_for(
        content, lambda: prepare(inputs.transform, inputs.operator, inputs.error, comm), comm
    )
