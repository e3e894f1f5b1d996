"""A network's weights: whether they are those of this case."""

from plugin.check.case.files import ALONE
from plugin.check.finding import OK, Finding
from plugin.window.latent import read_latent


def network(subject):
    """Findings about the files of the section `network`, read as the cycle reads them."""
    case = subject.case
    if not case.background.by_network:
        yield Finding(OK, "network", "none is asked for")
        return
    latent = read_latent(case, subject.transfer, ALONE)
    yield Finding(
        OK,
        "network",
        f"{case.network.file.name} fits the grid, its mask and the variables; {latent.modes.n_modes} latent modes",
    )
