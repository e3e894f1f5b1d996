"""What training minimises, by name.

Each is a pure function (model, batch, generator) → loss, a mean over samples, so that ranks may take parts of a batch.

reconstruction   mean of (x − g(f(x)))² over the points that take part (Mack et al. 2020)
relative         mean of ‖x − g(f(x))‖ / ‖x‖, the error that Mack et al. 2020 judge analyses by: small departures
                 from the mean count as much as large ones
combination      reconstruction, and the same of g(Σ w_i f(x_i)) against Σ w_i x_i: an analysis decodes V_l w, a
                 combination of codes, and takes it for the same combination of states
gaussian         reconstruction, and the distance of the codes from a unit Gaussian, as the background term sees them
"""

from dataclasses import dataclass

import torch

from models.names import choices
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
    """

    given: torch.Tensor
    fields: torch.Tensor
    part: torch.Tensor


def reconstruction(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """Mean of (x − g(f(x)))² over samples and the points that take part."""
    return _mean_square(model(batch.given) - batch.fields, batch.part)


def relative(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """Mean of ‖x − g(f(x))‖ / ‖x‖ over samples, norms over the points that take part; ‖x‖ has a floor."""
    apart = (model(batch.given) - batch.fields).to(batch.part.dtype)
    square = (apart**2 * batch.part).flatten(1).sum(1) / batch.part.sum()
    size = (batch.fields**2 * batch.part).flatten(1).sum(1) / batch.part.sum()
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
    loss = _mean_square(model.decode(codes) - batch.fields, batch.part)
    combined = torch.einsum("ij,j...->i...", weights, batch.fields)
    return loss + COMBINATION * _mean_square(model.decode(weights @ codes.to(weights.dtype)) - combined, batch.part)


def gaussian(model: Autoencoder | ObservationEncoder, batch: Batch, generator: torch.Generator) -> torch.Tensor:
    """The reconstruction's loss and the KL divergence of a Gaussian of the codes' mean and variances from N(0, I)."""
    codes = model.encode(batch.given)
    loss = _mean_square(model.decode(codes) - batch.fields, batch.part)
    codes = codes.to(batch.part.dtype)
    mean, variance = codes.mean(0), codes.var(0, unbiased=False) + _SMALLEST
    return loss + GAUSSIAN * 0.5 * (mean**2 + variance - 1.0 - variance.log()).mean()


_FUNCTIONS = {each.__name__: each for each in (reconstruction, relative, combination, gaussian)}
OBJECTIVES = {name: _FUNCTIONS[name] for name in choices.OBJECTIVES}  # a name without a function fails at once


def _mean_square(apart, part):
    return (apart.to(part.dtype) ** 2 * part).sum() / (len(apart) * part.sum())
