"""Training against a discriminator that tells states from decoded ones, patch by patch.

    autoencoder     min ‖x − g(f(x))‖² − w · mean of D(g(f(x)))
    discriminator   min mean of max(0, 1 − D(x)) + max(0, 1 + D(g(f(x))))

The reconstruction stays the anchor, and what validation judges. D is normalised by its layers' largest singular
values, so that its slopes are bounded.

Goodfellow et al. 2014, Generative Adversarial Networks, https://arxiv.org/abs/1406.2661
Isola et al. 2016, Image-to-Image Translation with Conditional Adversarial Networks, https://arxiv.org/abs/1611.07004
Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks, https://arxiv.org/abs/1802.05957
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mpi4py import MPI
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from models.training import ranks
from models.training.objectives import Batch, mean_square
from models.zoo.autoencoder import Autoencoder
from models.zoo.observation_encoder import ObservationEncoder

Model = Autoencoder | ObservationEncoder
_WIDTH = 16
_RATE = 2e-4
_WEIGHT, _MOMENT = "discriminator.", "discriminator moment."


class PatchDiscriminator(nn.Sequential):
    """(B, C, nx, ny, nz) fields → (B, 1, ⌈nx/4⌉, ⌈ny/4⌉, ⌈nz/4⌉), each number of a patch of 23³ points (Isola 2016).

    Two strided 3³ convolutions and two plain ones, leaky ReLUs between them, all with spectral norm (Miyato 2018).

    Parameters
    ----------
    channels : C
    width : channels after the first convolution
    """

    def __init__(self, channels: int, width: int = _WIDTH) -> None:
        widths: Sequence[tuple[int, int, int]] = (
            (channels, width, 2), (width, 2 * width, 2), (2 * width, 2 * width, 1), (2 * width, 1, 1),
        )  # fmt: skip
        layers: list[nn.Module] = []
        for c_in, c_out, stride in widths:
            layers += [spectral_norm(nn.Conv3d(c_in, c_out, 3, stride, 1)), nn.LeakyReLU(0.2)]
        super().__init__(*layers[:-1])


class Adversary:
    """A discriminator, its optimiser, and what it last saw.

    Parameters
    ----------
    model : Autoencoder that is trained
    weight : w
    seed : of the discriminator's weights
    device : of the training
    """

    def __init__(self, model: Model, weight: float, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.module = PatchDiscriminator(model.channels).to(device, model.mask.dtype)
        self.weight = weight
        self.optimiser = torch.optim.Adam(self.module.parameters(), _RATE, betas=(0.5, 0.9))
        self._seen: tuple[torch.Tensor, torch.Tensor] | None = None

    def loss(self, model: Model, batch: Batch, generator: torch.Generator) -> torch.Tensor:
        """What the autoencoder minimises: the reconstruction's loss, and the discriminator's word on the round trip."""
        back = model(batch.given)
        self._seen = batch.fields * batch.part, back.detach() * batch.part
        self.module.eval()  # one more step of a norm's power iteration belongs to the discriminator's own step
        word = self.module(back * batch.part).mean()
        return mean_square(back - batch.fields, batch.part) - self.weight * word

    def step(self, part: float, comm: MPI.Comm) -> None:
        """The discriminator's own step on the batch of the last loss. Collective.

        part : of the batch's samples that this rank has, times the number of ranks
        """
        assert self._seen is not None
        states, decoded = self._seen
        self.module.train()
        self.optimiser.zero_grad()
        both = self.module(torch.cat([states, decoded]))
        true, false = both.chunk(2)
        loss = F.relu(1.0 - true).mean() + F.relu(1.0 + false).mean()
        (loss * part).backward()
        ranks.average_gradients(list(self.module.parameters()), comm)
        self.optimiser.step()

    def arrays(self) -> dict[str, torch.Tensor]:
        """Weights and moments by name, as `load` takes them."""
        weights = {_WEIGHT + name: value for name, value in self.module.state_dict().items()}
        state: Mapping[int, Mapping[str, Any]] = self.optimiser.state_dict()["state"]
        moments = {f"{_MOMENT}{k}.{name}": value for k, of in state.items() for name, value in of.items()}
        return weights | moments

    def load(self, arrays: Mapping[str, torch.Tensor]) -> None:
        """Go on from `arrays`; what is not the discriminator's among them is left."""
        self.module.load_state_dict(
            {name.removeprefix(_WEIGHT): value for name, value in arrays.items() if name.startswith(_WEIGHT)}
        )
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name in (name for name in arrays if name.startswith(_MOMENT)):
            k, kind = name.removeprefix(_MOMENT).split(".")
            state.setdefault(int(k), {})[kind] = arrays[name]
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
