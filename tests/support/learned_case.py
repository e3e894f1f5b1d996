"""A network, dynamics of its codes and a start for the learned driver, on the small case of `cycle_case`."""

from cycle_case import COMM, WINDOW, write_settings

from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.driver import embedded_model
from coupling.fluidity.simulation import FLUIDITY
from plugin.case.configuration import read_case
from plugin.case.network import LearnedSection
from plugin.run.learned.driver import learned_model
from plugin.train import train_network
from plugin.training.dynamics import train_case_dynamics

STEP = 0.5 * WINDOW  # s, as the dumps of the earlier runs are


def make_learned(folder, twin, processes=1):
    """tsvd.safetensors, linear.safetensors and start/, a checkpoint at the end of the first window; in `folder`."""
    network = {
        "file": str(folder / "tsvd.safetensors"),
        "name": "Linear",
        "n_latent": 8,
        "dynamics": {"file": str(folder / "linear.safetensors"), "kind": "linear"},
    }
    case = read_case(write_settings(folder / "train.yml", twin, folder / "run", network=network), needed=("network",))
    train_network(case, COMM)
    train_case_dynamics(case, COMM)
    start = open_restart(twin / f"start-{processes}" / "case.flml")
    embedded_model(processes=processes, timeout=60).run(start, WINDOW, folder / "start", COMM)
    return folder


def start_of(folder):
    """The restart."""
    (path,) = (folder / "start").glob("*_checkpoint.flml")
    return open_restart(path)


def section(folder, **more):
    """The section `learned` of a case."""
    files = {"network": folder / "tsvd.safetensors", "dynamics": folder / "linear.safetensors"}
    return LearnedSection(**{**files, "of": "embedded", **more})


def model_of(folder, **more):
    """The driver."""
    return learned_model(section(folder, **more), FLUIDITY)
