"""One network by several objectives of training: errors of its analyses, their small scales, and when trust refuses.

All are trained for the same time of the processor. Errors are by the paper's protocol, all values observed, and of
`decoded` with few sensors. Spectra are of the former analyses. Trust is asked as a cycle asks it: the background is an
earlier state of the run, the analysis has the centred form, and its three checks are those of `da.diagnostics.trust`.
A variational network has two more rows: B_l = I is its prior, and no states make it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.figure import Figure

from da.background.latent import decoded_transform, latent_modes, unit_modes
from da.bireduced import bireduced, latent_error, latent_minimum
from da.diagnostics.trust import COST, DISTANCE, ROUND_TRIP, check_background, check_cost, trust_limits
from models import files
from models.decoder import parallel_decoder
from models.inference import fast_passes
from plugin.case.configuration import ConfigurationError
from plugin.experiment.experiments.rows import Row
from plugin.experiment.networks import RECIPE, Network, trained_autoencoder, trained_networks
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import score, spread
from plugin.experiment.spectra import band_energies, lines_in_the_air
from plugin.experiment.states import COMM, ExperimentInputs
from plugin.experiment.systems import System, autoencoder, decoded

_CHECKS = {"refused_trip": ROUND_TRIP, "refused_distance": DISTANCE, "refused_cost": COST}


@dataclass(frozen=True)
class _Compared:
    """Trainings of a network by one objective, and where their background errors come from.

    prior : N(0, I) in place of the training states' codes
    """

    system: str
    networks: list[Network]
    prior: bool = False


def objectives(inputs: ExperimentInputs) -> Result:
    """A row for each objective."""
    settings = inputs.settings.objectives
    if settings.lag >= inputs.states.n_training:
        raise ConfigurationError(f"experiment.objectives.lag: {settings.lag} states, expected fewer than train")
    rows = [_row(compared, inputs) for compared in _all_compared(inputs)]
    bands = {f"band_{k}": f"energy, {words}" for k, words in enumerate(_bands(settings.wavelengths))}
    columns = {
        "system": "objective", "error": "error", "sparse": f"error, M = {settings.sensors}", "round_trip": "round trip",
        **bands, "refused": "refused", "refused_trip": "round trip", "refused_distance": "distance",
        "refused_cost": "cost", "epochs": "epochs", "minutes": "min",
    }  # fmt: skip
    table = ScoreTable("Objectives of training", columns, rows)
    return Result("objectives", (table,), lambda figure: _draw(figure, rows, list(bands.values()), settings.sensors))


def _all_compared(inputs: ExperimentInputs) -> Iterable[_Compared]:
    settings, name = inputs.settings.objectives, inputs.settings.networks.beside
    if name is None:
        raise ConfigurationError("experiment.networks.beside: null, expected the network that is trained")
    for objective in dict.fromkeys(settings.names):
        teacher = trained_networks(name, inputs)[0] if objective == "distilled" else None
        networks = [
            trained_autoencoder(
                f"{name}-{objective}", name, settings.options, seed, inputs, key="experiment.objectives.options",
                recipe=replace(RECIPE, objective=objective), teacher=teacher,
            )
            for seed in range(inputs.settings.networks.seeds)
        ]  # fmt: skip
        yield _Compared(objective, networks)
        if objective == "vae":
            yield _Compared("vae, B_l = I", networks, prior=True)


def _row(compared: _Compared, inputs: ExperimentInputs) -> Row:
    states, protocol, settings = inputs.states, inputs.protocol, inputs.settings.objectives
    full, few = (
        [of(compared.system, states, protocol, network, compared.prior) for network in compared.networks]
        for of in (autoencoder, decoded)
    )
    scores = score(full, states, protocol, len(states.used))
    sparse = score(few, states, protocol.model_copy(update={"seeds": 1}), settings.sensors, settings.every)
    energies = np.array([_energies(system, inputs) for system in full])
    trust = np.array([_refused(network, compared.prior, inputs) for network in compared.networks])
    row: Row = {
        "system": compared.system,
        **compared.networks[0].figures(),
        **scores.figures(),
        **spread("sparse", sparse.errors.mean(axis=1)),
        **spread("round_trip", np.array([network.round_trip for network in compared.networks])),
        "sparse_failed": sparse.failed,
    }
    for k, ratios in enumerate(energies.T):
        row |= spread(f"band_{k}", ratios)
    for name, parts in zip(("refused", *_CHECKS), trust.T, strict=True):
        row |= spread(name, parts)
    inputs.progress.say(f"{compared.system}: error {row['error']:.4g}, trust refuses {row['refused']:.3g}")
    return row


def _energies(system: System, inputs: ExperimentInputs) -> np.ndarray:
    """Energy of the analyses in each band, over that of the truths: departures from the training mean."""
    states, settings = inputs.states, inputs.settings.objectives
    (along, lines), sums = lines_in_the_air(states.part), np.zeros((2, len(settings.wavelengths)))
    sensors = states.sensors(len(states.used))
    analysed = system.prepare(sensors)
    for number in states.test(inputs.protocol.every):
        increment, _ = analysed(states.readings(np.array([number]), sensors)[0])
        for into, values in zip(sums, (increment, states.truth(number)), strict=True):
            field = (states.scale * values).reshape(1, *states.grid.shape, -1).transpose(0, 4, 1, 2, 3)
            try:
                into += band_energies(field[:, :, along], lines, float(states.grid.spacing[0]), settings.wavelengths)[0]
            except ValueError as error:
                raise ConfigurationError(f"experiment.objectives.wavelengths: {error}") from error
    return sums[0] / sums[1]


def _refused(network: Network, prior: bool, inputs: ExperimentInputs) -> list[float]:
    """Part of the analyses that trust refuses, and by each of its checks."""
    states, protocol, settings = inputs.states, inputs.protocol, inputs.settings.objectives
    arrays = files.load_arrays(network.path, ("codes", "round_trips"))
    limits = trust_limits(arrays["codes"], arrays["round_trips"])
    part = states.scale != 0.0
    decoder = parallel_decoder(network.model, part.astype(float), COMM, faster=fast_passes)
    modes = unit_modes(decoder.n_latent, centred=True) if prior else latent_modes(arrays["codes"], COMM, centred=True)
    minimum = latent_minimum(modes, latent_error(protocol.variance, modes.n_latent), COMM)
    failed = []
    for number in states.test(protocol.every):
        background, truth = states.truth(number - settings.lag), states.truth(number)
        transform = decoded_transform(decoder, modes, background)
        assert transform.base is not None and transform.offset is not None  # the centred form has both
        trip = float(np.sqrt(np.mean((background - transform.offset)[part] ** 2)))
        analysis = bireduced(transform, truth - background, COMM, minimum=minimum)
        # all values observed with one error: J_o is a sum of squares
        before, after = (float(np.sum((truth - background - moved)[part] ** 2)) for moved in (0.0, analysis.increment))
        trust = check_background(limits, trip, transform.base) + check_cost(limits, before, after)
        passed = {check.name: check.passed for check in trust.checks}
        failed.append([not trust.trusted, *(not passed[name] for name in _CHECKS.values())])
    return np.mean(failed, axis=0).tolist()


def _bands(shortest: list[float]) -> list[str]:
    return [f"{shortest[0]:g} m and more", *(f"{b:g} to {a:g} m" for a, b in zip(shortest, shortest[1:], strict=False))]


def _draw(figure: Figure, rows: list[Row], bands: list[str], sensors: int) -> None:
    """Errors as bars, and energies by band."""
    left, right = figure.subplots(1, 2)
    names, place = [row["system"] for row in rows], np.arange(len(rows))
    for offset, (key, label) in zip((-0.2, 0.2), (("error", "all values"), ("sparse", f"M = {sensors}")), strict=True):
        errors = [row[key] for row in rows]
        left.barh(place + offset, errors, 0.4, xerr=[row[f"{key}_std"] or 0.0 for row in rows], label=label)
    left.set_yticks(place, names)
    left.invert_yaxis()
    left.set_xlabel("DA MSE")
    left.legend(fontsize="small")
    for row in rows:
        right.plot(range(len(bands)), [row[f"band_{k}"] for k in range(len(bands))], marker="o", label=row["system"])
    right.axhline(1.0, color="0.7", linewidth=1.0)
    right.set_xticks(range(len(bands)), [words.removeprefix("energy, ") for words in bands], fontsize="small")
    right.set(ylabel="energy of the analyses over that of the truths", ylim=(0.0, None))
    right.legend(fontsize="small")
