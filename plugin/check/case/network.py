"""A network's weights: whether they fit this case."""

from collections.abc import Iterator

from plugin.check.case.files import ALONE, CaseFiles
from plugin.check.finding import OK, Finding
from plugin.window.background.latent import read_latent


def network(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the files of the section `network`, read as the cycle reads them."""
    case = files.case
    if not (case.background.by_network or case.analysis.method == "latent"):
        yield Finding(OK, "network", "none is asked for")
        return
    assert case.network is not None and case.network.file is not None  # else the case file is refused
    latent = read_latent(case, files.transfer, ALONE)
    yield Finding(
        OK,
        "network",
        f"{case.network.file.name} fits the grid, its mask and the variables; {latent.modes.n_modes} latent modes",
    )
