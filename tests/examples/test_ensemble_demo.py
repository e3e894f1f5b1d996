"""The cycles that the ensemble's demo compares; the demo itself runs in `test_examples`, small."""

import pytest

from examples.ensemble import demo
from examples.score import COLOURS
from plugin.case.configuration import read_case

VARIANTS = [demo.Variant(method, parameters) for parameters in (True, False) for method in demo.METHODS]


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    size = demo.Size(members=6, windows=2)
    run = tmp_path_factory.mktemp("demo")
    made = demo.ensemble_twin(run, VARIANTS, size)
    demo.write_cases(made, VARIANTS, size)
    return made


@pytest.mark.parametrize("of", VARIANTS, ids=lambda of: of.name)
def test_each_cycle_differs_by_its_method_and_parameters_alone(twin, of):
    case = read_case(twin.cycles[of.name])
    assert case.analysis.method == of.method and case.ensemble.members == 6 and case.cycle.windows == 2
    assert (case.background.localisation is None) == (of.method == "etkf")
    assert bool(case.parameters) == of.parameters
    assert case.ensemble.start.source == ("restart" if of.parameters else "modes")
    assert case.run == twin.run / case.run.name and case.observations.file == twin.run / "readings.csv"
    modes = of.method == "hybrid" or not of.parameters
    assert (case.background.truncation == demo.MODES) == modes
    assert str(case.background.snapshots[0].path).endswith("training/*.vtkhdf" if modes else "spin-up")


def test_each_has_a_folder_and_a_colour_of_its_own(twin):
    assert len({read_case(file).run for file in twin.cycles.values()}) == len(VARIANTS) == len(set(COLOURS))


def test_earlier_runs_are_made_only_for_those_that_need_modes(twin, tmp_path):
    assert len(twin.training) == 16
    some = [demo.Variant("etkf", True), demo.Variant("4denvar", True)]
    assert demo.ensemble_twin(tmp_path, some, demo.Size()).training == ()


def test_what_is_there_is_kept_on_request_alone(tmp_path, monkeypatch):
    kept = tmp_path / "run/readings.csv"
    monkeypatch.setattr(demo, "experiment", lambda twin, variants, size, processes: None)
    for words, stays in ((["--resume"], True), ([], False)):
        kept.parent.mkdir(exist_ok=True)
        kept.write_text("time\n")
        demo.main(["--run", str(kept.parent), *words])
        assert kept.is_file() == stays
