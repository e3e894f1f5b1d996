"""What training minimises, by name.

Each is a pure function (model, batch, generator) → loss, a mean over samples, so that ranks may take parts of a batch.

reconstruction   mean of (x − g(f(x)))² over the points that take part (Mack et al. 2020)
relative         mean of ‖x − g(f(x))‖ / ‖x‖, the error that Mack et al. 2020 judge analyses by: small departures
                 from the mean count as much as large ones
combination      reconstruction, and the same of g(Σ w_i f(x_i)) against Σ w_i x_i: an analysis decodes V_l w, a
                 combination of codes, and takes it for the same combination of states
gaussian         reconstruction, and the distance of the codes from a unit Gaussian, as the background term sees them
vae              reconstruction of a code drawn from N(f(x), diag σ²), and β 2/n times the divergence of that from
                 N(0, I), n values taking part: −2β/n times the ELBO for a decoder whose errors have variance β (Kingma
                 & Welling 2013; Higgins et al. 2017). Divergences of a number below the free bits cost nothing more
                 (Kingma et al. 2016)
adversarial      reconstruction; training adds what a discriminator says (:mod:`models.training.adversarial`)
distilled        relative, and the same distances of code and round trip from those of a trained network (Hinton et al.
                 2015)

Kingma & Welling 2013, Auto-Encoding Variational Bayes, https://arxiv.org/abs/1312.6114
Higgins et al. 2017, beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework,
    https://openreview.net/forum?id=Sy2fzU9gl
Kingma et al. 2016, Improving Variational Inference with Inverse Autoregressive Flow, https://arxiv.org/abs/1606.04934
Hinton et al. 2015, Distilling the Knowledge in a Neural Network, https://arxiv.org/abs/1503.02531
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from models.names import choices
from models.training.recipe import Recipe
from models.zoo.autoencoder import Autoencoder
from models.zoo.observation_encoder import ObservationEncoder

COMBINATION, GAUSSIAN = 0.5, 1e-3  # weights of what comes beside the reconstruction
_SMALLEST = 1e-6  # of a code's variance
_FLOOR = 0.03  # in standard deviations: states nearer to the mean are not judged more strictly


@dataclass(frozen=True)
class Batch:
    """Samples as the loss sees them.

    given : (B, C, nx, ny, nz) what the network is given
    fields : (B, C, nx, ny, nz) what it should give back
    part : (C, nx, ny, nz) ones and zeros, one where a value takes part
    seeds : one for each sample, of what is drawn for it: the same on any number of ranks
    """

    given: torch.Tensor
    fields: torch.Tensor
    part: torch.Tensor
    seeds: Sequence[int] = ()


def reconstruction(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """Mean of (x − g(f(x)))² over samples and the points that take part."""
    return mean_square(model(batch.given) - batch.fields, batch.part)


def relative(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """Mean of ‖x − g(f(x))‖ / ‖x‖ over samples, norms over the points that take part; ‖x‖ has a floor."""
    return _relative(model(batch.given), batch.fields, batch.part)


def _relative(found, expected, part):
    apart = (found - expected).to(part.dtype)
    square = (apart**2 * part).flatten(1).sum(1) / part.sum()
    size = (expected**2 * part).flatten(1).sum(1) / part.sum()
    # the root alone would have no slope at zero
    return ((square + _FLOOR**4) / (size + _FLOOR**2)).sqrt().mean()


def combination(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """The reconstruction's loss and that of decoded combinations of codes.

    Combinations have weights w_i ~ N(0, 1) / √B, as increments V w have with w from its prior, and as many are drawn
    as there are samples.
    """
    codes = model.encode(batch.given)
    count = len(codes)
    weights = torch.randn(count, count, generator=generator, device=codes.device, dtype=batch.part.dtype) / count**0.5
    loss = mean_square(model.decode(codes) - batch.fields, batch.part)
    combined = torch.einsum("ij,j...->i...", weights, batch.fields)
    return loss + COMBINATION * mean_square(model.decode(weights @ codes.to(weights.dtype)) - combined, batch.part)


def gaussian(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """The reconstruction's loss and the KL divergence of a Gaussian of the codes' mean and variances from N(0, I)."""
    codes = model.encode(batch.given)
    loss = mean_square(model.decode(codes) - batch.fields, batch.part)
    codes = codes.to(batch.part.dtype)
    mean, variance = codes.mean(0), codes.var(0, unbiased=False) + _SMALLEST
    return loss + GAUSSIAN * 0.5 * (mean**2 + variance - 1.0 - variance.log()).mean()


def vae(
    model: Autoencoder, batch: Batch, generator: torch.Generator, beta: float = 0.01, free_bits: float = 0.0
) -> torch.Tensor:
    """The reconstruction's loss of drawn codes, and 2 β / n times their divergence from N(0, I).

    beta : variance of the decoder's errors, in that of the fields; free_bits : of each number of a code [nat]
    """
    if model.variance is None:
        raise ValueError("objective vae needs a network with variances of its codes; make it with variational=True")
    codes = model.encode(batch.given)
    log_variance = model.variance(codes)
    drawn = codes + (0.5 * log_variance).exp() * _normal(codes, batch.seeds)
    divergence = kl_from_unit(codes.to(batch.part.dtype), log_variance.to(batch.part.dtype))
    cost = divergence.clamp_min(free_bits).sum(1).mean()
    return mean_square(model.decode(drawn) - batch.fields, batch.part) + 2.0 * beta / batch.part.sum() * cost


def kl_from_unit(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """KL divergence of N(μ, σ²) from N(0, 1) of each number: ½ (μ² + σ² − 1 − log σ²)."""
    return 0.5 * (mean**2 + log_variance.exp() - 1.0 - log_variance)


def _normal(codes, seeds):
    if len(seeds) != len(codes):
        raise ValueError(f"{len(seeds)} seeds for {len(codes)} samples; an objective that draws needs one for each")
    generator = torch.Generator(codes.device)
    return torch.stack(
        [
            torch.empty_like(code).normal_(generator=generator.manual_seed(seed))
            for code, seed in zip(codes, seeds, strict=True)
        ]
    )


def adversarial(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """The anchor, which validation judges; :class:`models.training.adversarial.Adversary` has what training adds."""
    return reconstruction(model, batch, generator)


def distilled(
    model: Autoencoder, batch: Batch, generator: torch.Generator, teacher: Autoencoder | None = None
) -> torch.Tensor:
    """Relative distances of the round trip from the state, and of round trip and code from the teacher's."""
    if teacher is None:
        raise ValueError("objective distilled needs a trained network to learn from; give training.teacher")
    with torch.no_grad():
        taught = teacher.encode(batch.given)
        field = teacher.decode(taught)
    codes = model.encode(batch.given)
    back = model.decode(codes)
    every = torch.ones_like(taught[0], dtype=batch.part.dtype)
    loss = _relative(back, batch.fields, batch.part) + _relative(back, field, batch.part)
    return loss + _relative(codes, taught, every)


Objective = Callable[..., torch.Tensor]
_FUNCTIONS: dict[str, Objective] = {
    each.__name__: each for each in (reconstruction, relative, combination, gaussian, vae, adversarial, distilled)
}
OBJECTIVES = {name: _FUNCTIONS[name] for name in choices.OBJECTIVES}  # a name without a function fails at once


def objective_of(recipe: Recipe, teacher: Autoencoder | None = None) -> Objective:
    """The recipe's objective with its numbers: a function (model, batch, generator) → loss.

    Parameters
    ----------
    recipe : Recipe
    teacher : trained Autoencoder in evaluation mode that `distilled` learns from

    Raises
    ------
    ValueError
        if there is a teacher that no one asks, or none for one who does
    """
    if (teacher is not None) != (recipe.objective == "distilled"):
        had = "no teacher" if teacher is None else "a teacher"
        raise ValueError(f"objective {recipe.objective} with {had}; distilled has one, the others have none")
    if recipe.objective == "vae":
        return partial(vae, beta=recipe.beta, free_bits=recipe.free_bits)
    if recipe.objective == "distilled":
        return partial(distilled, teacher=teacher)
    return OBJECTIVES[recipe.objective]


def mean_square(apart: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """Mean of squares over samples and the values that take part."""
    return (apart.to(part.dtype) ** 2 * part).sum() / (len(apart) * part.sum())
