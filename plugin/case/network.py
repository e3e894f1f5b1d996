"""The case file's `network`: which autoencoder, where it is kept, how it is trained."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from models.names.choices import (
    ACTIVATIONS,
    DYNAMICS,
    INFERENCE_PRECISIONS,
    OBJECTIVES,
    OPTIMISERS,
    PRECISIONS,
    SCHEDULES,
    UPSAMPLINGS,
)
from plugin.case.choice import OneOf
from plugin.case.sections import Part, Positive, Scaling, Section, SeriesSection

NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
WindowPoints = Annotated[float, Field(ge=1, allow_inf_nan=False)] | None


def _safetensors(value):
    if value.suffix != ".safetensors":
        raise ValueError("expected a name that ends with .safetensors")
    return value


SafetensorsPath = Annotated[Path, AfterValidator(_safetensors)]


def _low_before_high(limits):
    if limits[0] > limits[1]:
        raise ValueError("expected the lower limit first")
    return limits


Rising = AfterValidator(_low_before_high)
Widths = PositiveInt | tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt]


class AugmentationSection(Section):
    """Changes of the samples that make a network robust; it is to give back what was there before."""

    noise: Annotated[tuple[NotNegative, NotNegative], Rising] = Field(
        (0.005, 0.05), description="lowest and highest size of Gaussian noise, in standard deviations of the field"
    )
    share: Annotated[tuple[Part, Part], Rising] = Field(
        (0.1, 0.5), description="lowest and highest part of the points that get noise"
    )
    flip: Part = Field(
        0.0, description="probability of a mirror image, along x and y each; of use only where the domain is symmetric"
    )
    combine: Part = Field(
        0.0,
        description="probability that a state is replaced by a random combination of its batch's, as the modes combine "
        "states: the network learns their span, and not the states alone",
    )


class TrainingSection(Section):
    """How the network is trained: python -m plugin.train."""

    snapshots: Annotated[list[SeriesSection], Field(min_length=1)] | None = Field(
        None, description="states to train with; background.snapshots if left out"
    )
    validation: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.1, description="part of the states, the last in time, that training is judged by and never sees"
    )
    epochs: int = Field(300, ge=1, description="at most so many passes over the states")
    patience: int = Field(50, ge=1, description="epochs without a better validation loss after which training ends")
    batch: int = Field(16, ge=1, description="states in a step, over all ranks")
    optimiser: Annotated[str, OneOf(OPTIMISERS)] = Field(
        "adamw", description="muon: orthogonal steps for convolutions, AdamW for the rest; learns small scales sooner"
    )
    rate: Positive | None = Field(
        None, description="largest learning rate; if left out 0.002 for adamw, 0.02 for muon and a tenth for the rest"
    )
    schedule: Annotated[str, OneOf(SCHEDULES)] = Field(
        "cosine", description="of the rate, after a short rise from zero"
    )
    weight_decay: NotNegative = Field(1e-4, description="on the weights of convolutions and dense layers")
    clip: Positive | None = Field(1.0, description="largest norm of the gradient; null for any")
    average: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="decay of the mean of the weights over steps, which is judged and kept; 0: the weights themselves",
    )
    settle: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="part of the epochs after which batch norm keeps its statistics as they are"
    )
    objective: Annotated[str, OneOf(OBJECTIVES)] = Field(
        "reconstruction",
        description="mean square of x − g(f(x)); its norm over that of x; the square with the same of decoded "
        "combinations of codes; the square with codes near a unit Gaussian; a variational autoencoder's; the square "
        "and a discriminator's word; the norm and that of the distance from `teacher`",
    )
    beta: Positive = Field(
        0.01,
        description="of vae: variance of the decoder's errors, in that of the fields; larger: codes nearer N(0, I)",
    )
    free_bits: NotNegative = Field(
        0.0, description="of vae: divergence of each number of a code from N(0, 1) that costs nothing more [nat]"
    )
    discriminator: NotNegative = Field(0.01, description="of adversarial: weight of the discriminator's word")
    teacher: SafetensorsPath | None = Field(
        None, description="of distilled: file of a trained network with as many numbers in its latent"
    )
    augmentation: AugmentationSection | None = Field(AugmentationSection(), description="null for none")
    folds: int = Field(
        5,
        ge=2,
        description="of networks that begin at principal components (PCA-…): parts of the training period whose states "
        "are learnt with components of the other parts, as states that come later will be seen",
    )
    gap: int = Field(8, ge=0, description="states next to a fold, before and after, that its components leave out")
    precision: Annotated[str, OneOf(PRECISIONS)] = Field(
        "bfloat16", description="of the convolutions on a GPU; CPUs train in float32"
    )
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of weights, order and augmentation; it is kept on record")
    keep: int = Field(10, ge=1, description="each so-manieth epoch stays, to go on from with --from")
    scratch: Path | None = Field(
        None, description="folder for the states on the grid, 4 bytes a value; the run's cache if left out"
    )

    @model_validator(mode="after")
    def _a_teacher_for_who_learns_from_one(self) -> Self:
        if (self.teacher is not None) != (self.objective == "distilled"):
            had = "no teacher" if self.teacher is None else f"objective: {self.objective}"
            raise ValueError(f"there is {had}; teacher goes with objective: distilled, and only with it")
        return self


class SensorTrainingSection(Section):
    """How the observation encoder is trained: python -m plugin.train --observations.

    States, validation, seed and what else is not here are as in `network.training`.
    """

    sensors: Annotated[tuple[PositiveInt, PositiveInt], Rising] = Field(
        (5, 1000), description="fewest and most random sensors of a variable"
    )
    noise: Annotated[tuple[Positive, Positive], Rising] = Field(
        (0.02, 0.3), description="lowest and highest error of random sensors, in standard deviations of the field"
    )
    own: Part = Field(
        0.5, description="part of the states that are seen by the sensors of observations.file, some of them missing"
    )
    epochs: int = Field(30, ge=1, description="at most so many passes over the states")
    patience: int = Field(10, ge=1, description="epochs without a better validation loss after which training ends")
    batch: int = Field(8, ge=1, description="states in a step, over all ranks")
    rate: Positive = Field(0.01, description="largest learning rate of muon")


class ObservationEncoderSection(Section):
    """A network from readings of any sensors to the latent of `network.file`, for background.transform: bireduced."""

    file: SafetensorsPath = Field(description="file (.safetensors) of the trained observation encoder")
    training: SensorTrainingSection = SensorTrainingSection()


class DynamicsSection(Section):
    """Learned dynamics of the network's codes: python -m plugin.train --dynamics."""

    file: SafetensorsPath = Field(description="file (.safetensors) of the trained dynamics")
    kind: Annotated[str, OneOf(("linear", *DYNAMICS))] = Field(
        "residual", description="a linear inverse model, or a network about it; recurrent has a memory"
    )
    steps: int = Field(5, ge=1, description="of a roll-out in training")
    before: int = Field(8, ge=1, description="codes that a memory is made of")
    noise: NotNegative = Field(
        0.05, description="of the codes that roll-outs begin at, in their standard deviations: keeps long ones near"
    )
    hidden: int = Field(64, ge=1, description="numbers of a hidden layer, or of the memory")
    ridge: NotNegative = Field(1e-2, description="of the linear inverse model, in mean variances of the codes")
    epochs: int = Field(100, ge=1, description="at most so many passes over the states")
    patience: int = Field(15, ge=1, description="epochs without a better validation loss after which training ends")
    batch: int = Field(32, ge=1, description="roll-outs in a step")
    rate: Positive = Field(1e-3, description="learning rate of AdamW")
    weight_decay: NotNegative = Field(1e-2, description="on the network's weights")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="of weights, order and noise")


class CompressionSection(Section):
    """A smaller and faster network, made of the trained one: python -m plugin.train --compress."""

    file: SafetensorsPath = Field(description="file (.safetensors) of the compressed network")
    products: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="part of the multiplications that is left by pruning channels; no pruning if left out"
    )
    width: Widths | None = Field(
        None, description="channels that are left, in place of `products`; the network's own if left out"
    )
    decoder_width: Widths | None = Field(None, description="the same of the decoder; `width` if left out")
    upsampling: Annotated[str, OneOf(("shuffle",))] | None = Field(
        None, description="shuffle: in place of transposed convolutions"
    )
    precision: Annotated[str, OneOf(INFERENCE_PRECISIONS)] = Field(
        "float32", description="of encoding and decoding where no derivative is taken"
    )
    states: int = Field(64, ge=1, description="training states that importance and the range of int8 are taken from")
    epochs: int = Field(10, ge=1, description="of fine-tuning, with the network itself as its teacher")
    rate: Positive | None = Field(
        None, description="largest learning rate of fine-tuning; that of training if left out"
    )

    @model_validator(mode="after")
    def _widths_or_products(self) -> Self:
        if self.products is not None and (self.width is not None or self.decoder_width is not None):
            raise ValueError("products determine the widths; give products, or width and decoder_width")
        return self


class WindowsSection(Section):
    """`windows`: how covariances fall from which PCA-… takes its modes."""

    points: tuple[WindowPoints, WindowPoints, WindowPoints] = Field(
        description="a window's half widths along x, y, z, its steps too [points]; null: one window along it"
    )
    whole: NotNegative = Field(0.5, description="weight of the whole grid's covariance beside that of windows; 0: none")


class NetworkSection(Section):
    """An autoencoder on the grid."""

    file: SafetensorsPath = Field(description="file (.safetensors) of the trained network")
    name: str = Field(
        "Tucodec-NeXt",
        description="of models.zoo, e.g. Tucodec-NeXt+CBAM or RAB-4-NeXt; or package.module:function of your own",
    )
    n_latent: int | None = Field(None, ge=1, description="numbers in the latent; the network's own if left out")
    width: Widths | None = Field(
        None,
        description="channels of the features, or four numbers, of each resolution from the finest on; the network's "
        "own if left out",
    )
    decoder_width: Widths | None = Field(None, description="the same of the decoder; the encoder's if left out")
    upsampling: Annotated[str, OneOf(UPSAMPLINGS)] | None = Field(
        None, description="the decoder's steps up; shuffle, channels put in their places, is the faster"
    )
    activation: Annotated[str, OneOf(ACTIVATIONS)] | None = Field(None, description="the name's, or PReLU, if left out")
    block: str | None = Field(
        None, description="residual block: vanilla, NeXt, Factorised, Separable or Inception, with +CBAM or not"
    )
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt] | None = Field(
        None, description="numbers of blocks along x, y, z of PCA-…; of about 12 points along each axis if left out"
    )
    overlap: int | None = Field(
        None, ge=0, description="points by which a block of PCA-… reaches into its neighbours; none if left out"
    )
    windows: WindowsSection | None = Field(
        None, description="modes of PCA-… from a covariance that falls with distance, in place of those of blocks"
    )
    square_roots: list[str] = Field(
        [],
        description="variables never below zero, as Tracer, whose square roots the modes and networks of PCA-… take; "
        "what they give is never below zero then",
    )
    scaling: Scaling = Field(
        "point", description="each variable by its standard deviation, over all or by point; the mean is by point"
    )
    training: TrainingSection = TrainingSection()
    observations: ObservationEncoderSection | None = Field(
        None, description="an encoder of sparse readings; needed by background.transform: bireduced"
    )
    dynamics: DynamicsSection | None = Field(None, description="a model from codes to those a time step later")
    compression: CompressionSection | None = Field(None, description="a smaller network made of this one")

    @model_validator(mode="after")
    def _windows_or_blocks(self) -> Self:
        if self.windows is not None and (self.blocks is not None or self.overlap is not None):
            raise ValueError("windows beside blocks or overlap; give one of them: modes of windows lie in no blocks")
        return self

    @model_validator(mode="after")
    def _what_has_roots(self) -> Self:
        training = self.training
        if self.square_roots and training.augmentation and training.augmentation.combine:
            raise ValueError("square_roots: a combination of states may lie below zero; give augmentation.combine: 0")
        if self.square_roots and training.objective == "combination":
            raise ValueError("square_roots: a combination of states may lie below zero; choose another objective")
        return self


class LearnedSection(Section):
    """What `model.driver: learned` runs: learned dynamics of a network's codes, between restarts of a simulation."""

    network: SafetensorsPath = Field(description="file (.safetensors) of a trained network")
    dynamics: SafetensorsPath = Field(description="file (.safetensors) of the dynamics of that network's codes")
    name: str | None = Field(None, description="package.module:function where the network is one of your own")
    of: str = Field(
        "fluidity", description="driver whose restarts it takes and leaves: fluidity, embedded, or your own"
    )
    rest: Part = Field(
        1.0, description="part of what the network does not hold of a state that is left after a step; the rest decays"
    )
