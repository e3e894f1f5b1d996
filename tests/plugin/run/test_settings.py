"""What counts as another setting at a resume: not where files lie."""

import shutil

import pytest
import yaml

from plugin.case.configuration import read_case
from plugin.run.settings import first_difference, relocated, settings_of

CASE = {
    "model": {"driver": "embedded", "start": "start/case.flml", "program": ["bin/model"]},
    "cycle": {"window": 8.0, "windows": 2},
    "grid": {"spacing": 8.0},
    "variables": ["Tracer"],
    "background": {"snapshots": [{"path": "training/0"}, {"path": "training/1"}]},
    "observations": {"file": "readings.csv"},
    "run": "run",
}


def make(folder, **changes):
    """A folder with a case file and what it names."""
    for name in ("start/case.flml", "training/0/a.vtu", "training/1/a.vtu", "readings.csv", "run/case.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return case(folder, **changes)


def case(folder, **changes):
    """The case of a file in a folder, sections changed."""
    settings = {name: {**of, **changes.get(name, {})} if isinstance(of, dict) else of for name, of in CASE.items()}
    settings.update({name: of for name, of in changes.items() if not isinstance(of, dict)})
    (folder / "case.yml").write_text(yaml.safe_dump(settings))
    return read_case(folder / "case.yml")


def difference(earlier, now):
    """The first section that differs between what an earlier case has left and a case now."""
    return first_difference(settings_of(now), relocated(settings_of(earlier), now))


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_folder_with_all_that_its_case_names_may_be_moved_or_copied(tmp_path, how):
    earlier = make(tmp_path / "here", model={"environment": {"PYTHONPATH": f"{tmp_path}/here/lib:/usr/lib"}})
    how(tmp_path / "here", tmp_path / "there")
    environment = {"PYTHONPATH": f"{tmp_path}/there/lib:/usr/lib"}
    assert difference(earlier, case(tmp_path / "there", model={"environment": environment})) is None


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_the_run_folder_may_be_moved_or_copied_alone(tmp_path, how):
    earlier = make(tmp_path / "here")
    how(tmp_path / "here/run", tmp_path / "elsewhere/kept")
    assert difference(earlier, case(tmp_path / "here", run=str(tmp_path / "elsewhere/kept"))) is None


def test_what_a_case_names_may_be_moved_alone_and_reached_by_a_link(tmp_path):
    earlier = make(tmp_path)
    shutil.move(tmp_path / "readings.csv", tmp_path / "start/readings.csv")
    (tmp_path / "link").symlink_to(tmp_path / "training")
    now = case(
        tmp_path,
        observations={"file": "start/readings.csv"},
        background={"snapshots": [{"path": "link/0"}, {"path": "link/1"}]},
    )
    assert difference(earlier, now) is None


def test_a_copy_beside_what_is_still_there_is_known_by_its_content(tmp_path):
    earlier = make(tmp_path)
    shutil.copytree(tmp_path / "training", tmp_path / "copy")
    shutil.copytree(tmp_path / "start", tmp_path / "copy/start")
    now = case(
        tmp_path,
        model={"start": "copy/start/case.flml"},
        background={"snapshots": [{"path": "copy/0"}, {"path": "copy/1"}]},
    )
    assert difference(earlier, now) is None
    (tmp_path / "copy/start/case.flml").write_text("others")
    assert difference(earlier, now) == "model"


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("model", {"model": {"start": "start/other.flml"}}),
        ("model", {"model": {"program": ["bin/other"]}}),
        ("background", {"background": {"snapshots": [{"path": "training/1"}, {"path": "training/0"}]}}),
        ("background", {"background": {"snapshots": [{"path": "training/0"}]}}),
        ("observations", {"observations": {"file": "others.csv"}}),
        ("grid", {"grid": {"spacing": 9.0}}),
    ],
)
def test_another_file_is_another_setting(tmp_path, section, changes):
    earlier = make(tmp_path / "here")
    assert difference(earlier, case(tmp_path / "here", **changes)) == section
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert difference(earlier, case(tmp_path / "there", **changes)) == section
