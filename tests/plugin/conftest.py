"""What tests of several files share."""

from types import SimpleNamespace

import pytest
from cycle_case import cycle, make_case, write_settings


@pytest.fixture(scope="session")
def twin(tmp_path_factory):
    """Folder of the embedded model's case; its files are not to be changed."""
    return make_case(tmp_path_factory.mktemp("twin") / "case")


@pytest.fixture(scope="session")
def reported(twin, tmp_path_factory):
    """A cycle of one window that keeps stations P01 and P05 from its analyses and writes its report: folder, said."""
    folder = tmp_path_factory.mktemp("reported")
    lines = (twin / "readings.csv").read_text().splitlines()
    named = [f"{lines[0]},station", *(f"{line},P{k % 36 // 2:02d}" for k, line in enumerate(lines[1:]))]
    (folder / "readings.csv").write_text("\n".join(named) + "\n")
    file = write_settings(
        folder / "case.yml", twin, folder / "run", cycle__windows=1, cycle__report=True, diagnostics__posterior=True,
        observations__file=str(folder / "readings.csv"), observations__withheld=["P01", "P05"],
    )  # fmt: skip
    return SimpleNamespace(folder=folder, said=cycle(file).stdout)
