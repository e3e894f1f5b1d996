"""The case file's `experiment`: the protocol of Mack et al. 2020 in one place, and what each experiment adds to it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from models.names.choices import ACTIVATIONS, DYNAMICS, OBJECTIVES, UPSAMPLINGS
from plugin.case.choice import OneOf
from plugin.case.network import NotNegative, Widths
from plugin.case.sections import Part, Positive, Scaling, Section, SeriesSection, Truncation

Fraction = Annotated[float, Field(gt=0, le=1)]
Inner = Annotated[float, Field(gt=0, lt=1)]
Points = Annotated[int, Field(ge=1)]


class ProtocolSection(Section):
    """How analyses are made and judged. The defaults are those of Mack et al. 2020.

    A background is the mean of the training states, a truth a test state. Scores are ‖x_a − x_t‖ / ‖x_t‖ of
    standardised states, so that of the background is 1; times are those of the minimisation, of the increment and of
    undoing the standardisation, where all that does not depend on the readings' values was made beforehand.
    """

    training: Inner = Field(0.8, description="part of the states, the first in time, that train; the others test")
    scaling: Scaling = Field(
        "point", description="standardised by the training states' standard deviation, by point or by variable"
    )
    unbiased: bool = Field(False, description="V divided by √(S − 1); the paper leaves it unscaled")
    background_weight: Positive = Field(0.1, description="α, factor of ½ wᵀw")
    variance: Positive = Field(0.05, description="σ_o², of readings and of codes, in standard deviations squared")
    minimiser: Literal["lmvm", "blmvm", "bqnls"] = Field("lmvm", description="TAO's L-BFGS, with or without bounds")
    gradient_tolerance: Positive = Field(1e-2, description="part of ‖∇J‖ at the background that ends the search")
    preconditioned: bool = Field(
        True, description="linear analyses are searched for where the Hessian is the identity; false: plain L-BFGS"
    )
    noise: NotNegative = Field(
        0.0, description="standard deviation of noise put on readings, in those of the values; the paper has none"
    )
    seeds: int = Field(3, ge=1, description="draws of sensors' places and noise, for mean ± standard deviation")
    every: int = Field(1, ge=1, description="use every so-many-th test state")


class OptionsSection(Section):
    """Options of one network; what is left out is the network's own."""

    n_latent: PositiveInt | None = Field(None, description="numbers in the latent")
    width: Widths | None = Field(None, description="channels of the features, or four numbers, the finest first")
    decoder_width: Widths | None = Field(None, description="the same of the decoder; the encoder's if left out")
    upsampling: Annotated[str, OneOf(UPSAMPLINGS)] | None = Field(None, description="transposed or shuffle")
    activation: Annotated[str, OneOf(ACTIVATIONS)] | None = Field(None, description="ReLU, PReLU or GDN")
    block: str | None = Field(None, description="residual block, as network.block")
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="numbers of blocks of PCA-… along x, y, z"
    )
    overlap: int | None = Field(None, ge=0, description="points by which a block of PCA-… reaches into its neighbours")
    square_roots: list[str] = Field([], description="variables whose square roots PCA-… takes, as network.square_roots")


class NetworksSection(Section):
    """Autoencoders: taken from a folder if they are there and fit, trained otherwise."""

    folder: Path = Field(Path("networks"), description="where trained networks are kept, NAME-LONG-SEED.safetensors")
    names: list[str] | None = Field(None, description="networks of Table 1; all that the paper has if left out")
    beside: str | None = Field(
        "Tucodec-NeXt", description="the network beside TSVD in the other experiments; null: no network there"
    )
    minutes: Positive = Field(10.0, description="of the processor, that each network is trained for")
    longer: dict[str, Positive] = Field({}, description="minutes of single networks, {name: minutes}")
    options: dict[str, OptionsSection] = Field(
        {}, description="options of single networks, {name: {n_latent: 512, blocks: [6, 5, 1], overlap: 3}}"
    )
    epochs: int | None = Field(None, ge=1, description="epochs of training in place of minutes")
    validation: Inner = Field(0.1, description="part of the training states, the last in time, that picks the epoch")
    seeds: int = Field(1, ge=1, description="trainings of each network, for mean ± standard deviation")


class SparseSection(Section):
    """Few real sensors, and the true H."""

    sensors: list[Annotated[int, Field(ge=1)]] = Field([10, 30, 100, 300, 1000], min_length=1, description="M")
    every: int = Field(1, ge=1, description="use every so-many-th test state")
    decoded_every: int = Field(
        10, ge=1, description="the same for analyses through a decoder, which take a second each; 1 for all"
    )


class LocalisedSection(Section):
    """Few real sensors, and linear analyses whose settings are chosen by cross-validation in time."""

    sensors: list[Annotated[int, Field(ge=1)]] = Field([10, 30, 100, 300, 1000], min_length=1, description="M")
    noise: list[NotNegative] = Field(
        [0.0, 0.1], min_length=1, description="standard deviations of readings' noise, in those of the values"
    )
    horizontal: list[Positive] = Field(
        [60.0, 100.0, 150.0, 250.0], min_length=1, description="lengths across the vertical that are compared [m]"
    )
    vertical: list[Positive | None] = Field(
        [None, 160.0, 80.0],
        min_length=1,
        description="lengths along the vertical that are compared [m]; null: no taper",
    )
    modes: list[Annotated[int, Field(ge=0)]] = Field(
        [0, 5, 8], min_length=1, description="numbers of leading modes without taper that are compared"
    )
    variances: list[Positive] = Field(
        [1e-5, 1e-4, 1e-3, 1e-2, 3e-2, 1e-1],
        min_length=1,
        description="σ_o² that are compared, in standard deviations squared",
    )
    folds: int = Field(
        5, ge=2, description="blocks in time of the training states; each is analysed with covariances of the others"
    )
    gap: NotNegative = Field(
        40.0, description="states nearer to a block are no sample of its covariances [s]; the longest lag is the least"
    )
    states: int = Field(40, ge=1, description="states of a block that are analysed at most, evenly spread over it")
    values: int = Field(
        3000, ge=1, description="random values of a state by which settings are compared; test states are scored at all"
    )
    lags: list[Annotated[list[Positive], Field(min_length=1)]] = Field(
        [],
        description="sets of lags [s] of earlier readings of the same sensors that are compared; none: no such system",
    )
    time_scales: list[Positive] = Field(
        [16.0, 32.0, 64.0], min_length=1, description="T of exp(−δ²/2T²) that are compared with these lags [s]"
    )


class BlocksSection(Section):
    """Principal components of blocks of grid points as a codec, beside TSVD with as many numbers."""

    numbers: list[Annotated[int, Field(ge=1)]] = Field(
        [256, 512, 1024, 2304], min_length=1, description="numbers of components over all blocks, m"
    )
    points: list[tuple[Points, Points, Points]] = Field(
        [(8, 8, 8), (12, 11, 16), (16, 15, 16)],
        min_length=1,
        description="grid points along a block's sides that are compared; the best is chosen by validation for each m",
    )


class RefinedSection(Section):
    """Few real sensors, linear analyses of one variable, chosen as by `localised`, and a network that refines them."""

    sensors: list[Annotated[int, Field(ge=1)]] = Field([30, 100, 300], min_length=1, description="M")
    noise: list[NotNegative] = Field(
        [0.0, 0.1], min_length=1, description="standard deviations of readings' noise, in those of the values"
    )
    lags: list[Positive] = Field(
        [], description="lags [s] of earlier readings of the same sensors; the network sees the analyses then, too"
    )
    rounds: int = Field(20, ge=1, description="of the training, each with 240 states")


class GrowthSection(Section):
    """Errors of forecasts of TSVD's codes by learned dynamics, by lead time."""

    leads: list[Positive] = Field(
        [2.0, 4.0, 8.0, 12.0, 20.0, 30.0, 60.0],
        min_length=1,
        description="lead times [s], multiples of the time between states",
    )
    modes: list[Annotated[int, Field(ge=1)]] = Field(
        [4, 8, 16, 32, 64, 128], min_length=1, description="numbers of TSVD's modes that are compared"
    )
    ridges: list[Positive] = Field(
        [1e-6, 1e-4, 1e-3, 1e-2, 1e-1],
        min_length=1,
        description="that are compared, in mean variances of the codes",
    )
    rests: list[Part] = Field(
        [0.9, 0.97, 1.0],
        min_length=1,
        description="parts of what lies outside the modes that are left after a step, compared",
    )
    networks: list[Annotated[str, OneOf(DYNAMICS)]] = Field([], description="residual, recurrent; none: linear alone")
    network_modes: list[Annotated[int, Field(ge=1)]] = Field(
        [16, 64], min_length=1, description="numbers of TSVD's modes that are compared for networks"
    )
    noise: list[NotNegative] = Field(
        [0.02, 0.1], min_length=1, description="of the codes that roll-outs begin at, in their standard deviations"
    )
    epochs: int = Field(60, ge=1, description="of a network's training at most")
    seeds: int = Field(3, ge=1, description="trainings of each network, for mean ± standard deviation")


class WindowSection(Section):
    """States in the middle of a window, by all of its readings; the rest is as in `localised`."""

    lags: list[Annotated[list[float], Field(min_length=1)]] = Field(
        [[-10.0, -8.0, -6.0, -4.0, -2.0, 2.0, 4.0, 6.0, 8.0, 10.0], [-8.0, -4.0, 4.0, 8.0]],
        min_length=1,
        description="sets of lags [s] of other readings that are compared, negative for later ones",
    )
    modes: list[Annotated[int, Field(ge=1)]] = Field(
        [16, 64, 128], min_length=1, description="numbers of leading modes of the linear inverse model"
    )
    ridges: list[Positive] = Field(
        [1e-3, 1e-2, 1e-1], min_length=1, description="of that model, in mean variances of the codes"
    )

    @field_validator("lags")
    @classmethod
    def _of_other_times(cls, value: list[list[float]]) -> list[list[float]]:
        for lags in value:
            if not all(lags) or len(set(lags)) < len(lags):
                raise ValueError(f"lags {', '.join(f'{lag:g}' for lag in lags)}, expected none of zero or twice")
        return value


class ObjectivesSection(Section):
    """The network of `networks.beside` by several objectives of training, each for networks.minutes.

    The objective `distilled` learns from that network as the other experiments have it.
    """

    names: list[Annotated[str, OneOf(OBJECTIVES)]] = Field(
        ["relative", "reconstruction", "distilled", "adversarial", "vae"], min_length=1, description="objectives"
    )
    options: OptionsSection = Field(OptionsSection(), description="options of the compared networks")
    sensors: int = Field(100, ge=1, description="M of the analyses by `decoded`, in which the true H observes")
    every: int = Field(20, ge=1, description="these use every so-many-th test state; each takes seconds")
    lag: int = Field(
        10, ge=1, description="states by which the background is older than the truth, where trust is asked"
    )
    wavelengths: list[Positive] = Field(
        [100.0, 40.0, 20.0], min_length=1, description="shortest wavelength of each band of the spectrum along x [m]"
    )


class CycledSection(Section):
    """Runs of a forecast model side by side, judged by a truth that none of them knew."""

    truth: list[SeriesSection] = Field(min_length=1, description="states of the truth, with those of analysis times")
    free: SeriesSection | None = Field(None, description="states of the run without analyses")
    runs: dict[str, Path] = Field(min_length=1, description="{name: case file of a cycle that has been run}")


class ExperimentSection(Section):
    """Experiments with the states of an archive: python -m plugin.experiment NAME case.yml."""

    states: Annotated[list[SeriesSection], Field(min_length=1)] | None = Field(
        None, description="all states, training and test; background.snapshots if left out"
    )
    protocol: ProtocolSection = ProtocolSection()
    networks: NetworksSection = NetworksSection()
    truncation: Truncation | None = Field(32, description="τ of TSVD, or part of the variance; null: σ_τ ≥ √σ₁")
    truncations: list[Annotated[int, Field(ge=1)]] = Field(
        [1, 2, 4, 8, 12, 16, 32, 64, 100, 150, 256],
        description="numbers of modes of the experiment truncation, which ends with all",
    )
    parts: list[Fraction] = Field(
        [1.0, 0.1, 0.01, 0.001], min_length=1, description="M / n of the experiments tables and tradeoff"
    )
    observations: list[Fraction] = Field(
        [1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003],
        min_length=1,
        description="M / n of the experiment observations",
    )
    blocks: BlocksSection = BlocksSection()
    sparse: SparseSection = SparseSection()
    localised: LocalisedSection = LocalisedSection()
    refined: RefinedSection = RefinedSection()
    growth: GrowthSection = GrowthSection()
    window: WindowSection = WindowSection()
    objectives: ObjectivesSection = ObjectivesSection()
    cycled: CycledSection | None = Field(None, description="needed by the experiment cycled")
    output: Path = Field(Path("experiments"), description="folder of the results")
