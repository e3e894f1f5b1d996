"""Training of a case's observation encoder: python -m plugin.train case.yml --observations

The autoencoder of `network.file` must be trained. The sensors of `observations.file`, if the case has one, are drawn as
often as the case asks for, a set for each window of the cycle; random ones otherwise.
"""

import numpy as np
from mpi4py import MPI
from scipy.sparse import csr_matrix

from coupling.common.collective import on_rank_0
from coupling.common.locks import sole_writer
from da.observation.encoded import LEAST_PART
from da.observation.observations import Observations
from models import files
from models.gridding import InverseDistanceGridding
from models.local_network import in_full_precision
from models.training.augmentation import Augmentation
from models.training.loop import Trained
from models.training.recipe import Recipe
from models.training.sensors import OwnSensors, SensorDraws
from models.zoo.observation_encoder import ObservationEncoder
from plugin.case.configuration import Case, ConfigurationError
from plugin.readings.of_case import readings_of
from plugin.run.drivers import simulation_of
from plugin.run.progress import Progress
from plugin.state.transfer import Transfer, variables_of
from plugin.training.runs import first_epoch, keep_network, run_training
from plugin.training.training_set import TrainingSet, training_set
from plugin.window.background.observation_encoding import file_hash
from plugin.window.background.of_case import close_all, plan_of, states_of

KEPT = 64  # states of the validation that R_l is estimated from
_TITLE = "observation encoder"
_SAME = 1e-3  # time steps by which a reading may be later than the end of its window, as in the cycle


def train_observation_encoder(
    case: Case, comm: MPI.Comm, progress: Progress | None = None, start: int | str | None = None
) -> Trained:
    """Train a case's observation encoder and write its file. Collective.

    Parameters
    ----------
    case : Case with `network.observations`
    comm, progress, start : as for `plugin.train.train_network`

    Returns
    -------
    Trained

    Raises
    ------
    ConfigurationError
        if case, states, autoencoder, or the epoch to go on from do not fit each other; or there is a network already
    ReadingsError, FileError, MeshError, OSError
        if readings or states cannot be read, or files not be written; or another job trains into the same file
    TrainingError
        if the loss is no longer a number
    """
    progress = progress or Progress(comm)
    if case.network is None or case.network.observations is None:
        raise ConfigurationError("network.observations: this section is missing; it names the file")
    with sole_writer(case.network.observations.file, comm, say=progress.say):
        return _train(case.network, case.network.observations, case, comm, progress, start)


def _train(network, observations, case, comm, progress, start):
    file, settings = observations.file, observations.training
    start = on_rank_0(lambda: first_epoch("network.observations.file", file, start), comm)
    # before the training set, which may take hours
    readings = on_rank_0(lambda: readings_of(case, progress.say) if case.observations else None, comm)
    with progress.stage("training set"):
        data = training_set(case, comm, case.run / "cache", progress.say)
    grid = InverseDistanceGridding(data.grid.spacing, data.part)
    own = own_sensors(case, data, comm, readings)
    autoencoder, codes = on_rank_0(lambda: _autoencoder(network, data), comm)
    model = ObservationEncoder(autoencoder, data.grid.spacing, seed=network.training.seed)
    combined = Augmentation(noise=(0.0, 0.0), combine=1.0)
    draws = SensorDraws(grid, settings.sensors, settings.noise, own, settings.own, combined)
    recipe = _recipe(settings, network.training, draws)
    about = {
        **data.about,
        "autoencoder": on_rank_0(lambda: file_hash(network.file), comm),
        **settings.model_dump(mode="json", include={"sensors", "noise", "own"}),
    }
    trained = run_training(
        _TITLE, file, model, data, recipe, about, comm, progress, every=network.training.keep, start=start
    )
    kept = np.unique(np.linspace(len(codes.T) - data.n_validation, len(codes.T) - 1, KEPT).round().astype(int))
    fields = np.concatenate([data.samples[k : k + 1] for k in kept]).astype(np.float16)
    arrays = {"fields": fields, "codes": codes[:, kept]}
    on_rank_0(lambda: keep_network(_TITLE, file, model, about, recipe, trained, arrays), comm)
    progress.say(f"{file}: epoch {trained.epoch}, validation loss {trained.loss:.4g}")
    return trained


def own_sensors(
    case: Case, data: TrainingSet, comm: MPI.Comm, readings: Observations | None = None
) -> tuple[OwnSensors, ...]:
    """The sensors of a case's readings, a set for each window of its cycle. Collective.

    Parameters
    ----------
    case : Case
    data : TrainingSet
    comm : MPI communicator
    readings : Observations of the case, where they have been read

    Returns
    -------
    tuple of OwnSensors; readings of what is no variable, or outside the model's air, are left out

    Raises
    ------
    ReadingsError, FileError
        if the readings, the states or the options that the model starts from cannot be read
    """
    if case.observations is None or case.network is None:
        return ()
    if readings is None:
        readings = on_rank_0(lambda: readings_of(case), comm)
    plan = plan_of(case.network.training.snapshots or case.background.snapshots, comm)
    state = next(states_of(case, plan[:1]))
    close_all(plan)
    transfer = Transfer(data.grid, variables_of(case.variables, state), comm, case.run / "cache")
    channels = {variable.name: number for number, variable in enumerate(transfer.variables)}
    readings = readings.select(np.isin(readings.variable, list(channels)))
    window = on_rank_0(lambda: _window_of(readings.time, case), comm)
    channel = np.array([channels[name] for name in readings.variable], np.int64)
    places, sensor = np.unique(np.column_stack([readings.position, channel]), axis=0, return_inverse=True)
    sensor, channel = sensor.ravel(), places[:, 3].astype(np.int64)
    error = np.bincount(sensor, readings.error, len(places)) / np.maximum(np.bincount(sensor, minlength=len(places)), 1)
    names = np.array(list(channels))[channel]
    rows = _rows(transfer.at_readings(state, places[:, :3], names), len(places), len(data.scale), comm)
    scale, part = rows @ data.scale, rows @ (data.scale != 0.0) >= LEAST_PART
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=part)
    standardised = rows.multiply(inverse[:, None]).multiply(data.scale[None]).tocsc()
    # a state lies point by point, a sample variable by variable
    order = np.arange(len(data.scale)).reshape(-1, len(channels)).T.ravel()
    standardised = standardised[:, order].tocsr().astype(np.float32)
    sets = {tuple(np.unique(sensor[(window == w) & part[sensor]])) for w in np.unique(window)}
    return tuple(
        OwnSensors(
            places[of, :3] - np.asarray(data.grid.origin), channel[of], standardised[of], error[of] * inverse[of]
        )
        for of in map(list, sorted(sets))
        if of
    )


def _window_of(time, case):
    """(M,) number of the window that each reading belongs to, counted as the cycle counts them. For rank 0.

    The windows begin where the model does, at 0 s in a case without a model; without a cycle all are one.
    """
    if case.cycle is None:
        return np.zeros(len(time))
    start, slack = 0.0, 0.0
    if case.model is not None:
        restart = simulation_of(case.model).open_restart(case.model.start)
        start, slack = restart.time, _SAME * restart.timestep
    return np.ceil((time - start - slack) / case.cycle.window)


def _rows(at_readings, count, n_state, comm):
    """H as one sparse matrix on every rank, a row for each sensor; without entries outside."""
    start, column, weight = at_readings.operator.getValuesCSR()
    row = np.repeat(at_readings.reading, np.diff(start))
    row, column, weight = (np.concatenate(parts) for parts in zip(*comm.allgather((row, column, weight)), strict=True))
    return csr_matrix((weight, (row, column)), (count, n_state))


def _autoencoder(section, data):
    """The trained autoencoder of these very states, and its codes of them. For rank 0."""
    try:
        expected = {**data.about, "name": section.name, "mask": data.grid.fluid}
        model = in_full_precision(files.load(section.file, expected, files.AUTOENCODER)[0])
        shapes = {"codes": (model.n_latent, len(data.samples))}
        return model, files.load_arrays(section.file, ("codes",), shapes)["codes"]
    except ValueError as error:
        raise ConfigurationError(f"network.file: {error}") from error


def _recipe(settings, of_autoencoder, draws):
    shared = {name: getattr(of_autoencoder, name) for name in ("schedule", "weight_decay", "clip", "precision", "seed")}
    given = settings.model_dump(include={"epochs", "patience", "batch", "rate"})
    return Recipe(**shared, **given, optimiser="muon", settle=0.5, objective="relative", augmentation=draws)
