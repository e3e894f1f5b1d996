"""Detectors in H5Part: arrays of them, phases, vectors, and files that are none."""

import h5py
import numpy as np
import pytest

from plugin.readings import Choice, ReadingsError, read_readings

pytestmark = pytest.mark.filterwarnings("ignore:`product` is deprecated:DeprecationWarning")

ALL = Choice(errors={"Tracer": 0.1, "Velocity": 0.2, "Air::Tracer": 0.1, "Dust::Tracer": 0.1})


def written(path, phases=("Air",), change=lambda file: None):
    """One detector and two arrays, as the model writes them, in another order at the second time."""
    with h5py.File(path, "w") as file:
        for name, ids in {"one": [1], "mast": [2, 3, 4], "row": [5, 6]}.items():
            file.attrs[f"{name}%ids"] = np.array(ids, np.int32)
        for k, order in enumerate(([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1])):
            step, ids = file.create_group(f"Step#{k}"), np.array(order, np.int32)
            step.attrs["time"] = np.array([k + 1.0])
            step.attrs["dt"] = np.array([1.0])
            step["id"] = ids
            step["x"], step["y"], step["z"] = 10.0 * ids, 1.0 * ids, 0.0 * ids
            for p, phase in enumerate(phases):
                step[f"{phase}%Tracer"] = ids + 100.0 * p + 0.5 * k
                step[f"{phase}%Velocity%x"] = np.where(ids == 3, np.nan, 2.0 * ids)
        change(file)
    return path


def test_arrays_of_detectors_are_stations_of_their_own(tmp_path):
    readings = read_readings(written(tmp_path / "run.detectors.h5part"), Choice(("Tracer",), errors={"Tracer": 0.1}))
    stations = ["one", "mast_1", "mast_2", "mast_3", "row_1", "row_2"]
    assert readings.station.tolist() == stations + stations[::-1]
    assert readings.time.tolist() == [1.0] * 6 + [2.0] * 6
    assert readings.value.tolist() == [1, 2, 3, 4, 5, 6, 6.5, 5.5, 4.5, 3.5, 2.5, 1.5]
    np.testing.assert_array_equal(readings.position[:6, 0], [10, 20, 30, 40, 50, 60])


def test_vectors_by_component_and_values_that_are_none_left_out(tmp_path):
    readings = read_readings(written(tmp_path / "a.h5part"), Choice(("Velocity",), errors={"Velocity": 0.2}))
    assert set(readings.variable) == {"Velocity.x"} and len(readings.value) == 10
    assert "mast_2" not in readings.station


def test_fields_of_several_phases_have_the_phase_before_their_names(tmp_path):
    readings = read_readings(
        written(tmp_path / "a.h5part", ("Air", "Dust")), Choice(("Dust::Tracer",), errors=ALL.errors)
    )
    assert set(readings.variable) == {"Dust::Tracer"} and readings.value.min() == 101.0


def test_a_file_of_one_phase_may_be_of_a_case_of_several(tmp_path):
    readings = read_readings(written(tmp_path / "a.h5part", ("Dust",)), Choice(("Dust::Tracer",), errors=ALL.errors))
    assert set(readings.variable) == {"Dust::Tracer"}


def _no_time(file):
    del file["Step#0"].attrs["time"]


def _short(file):
    del file["Step#1/x"]
    file["Step#1/x"] = np.zeros(2)


def _nameless(file):
    del file.attrs["row%ids"]


def _link(file):
    file["Step#0/Air%Salt"] = h5py.ExternalLink("other.h5", "/x")


def _word(file):
    file["Step#last/id"] = np.zeros(1)


def _claim(file):
    del file["Step#0/id"]
    file.create_dataset("Step#0/id", (1 << 40,), "<i4")


def _no_numbers(file):
    del file["Step#0/id"]
    file["Step#0/id"] = np.array([b"a"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_no_time, "a.h5part, Step#0: its attribute 'time' is None, expected one time"),
        (_short, "a.h5part, Step#1: x has 2 values, id 6; expected one for each detector"),
        (_nameless, "a.h5part, Step#0: detector 5 has no name; expected its number in an attribute NAME%ids"),
        (_link, "a.h5part: /Step#0/Air%Salt is a link, which is refused"),
        (_word, "a.h5part: has a group 'Step#last', expected Step#0"),
        (_claim, "a.h5part, Step#0: id claims .* bytes, of which the file holds"),
        (_no_numbers, "a.h5part, Step#0: no dataset 'id' of numbers"),
        (lambda file: [file.__delitem__(name) for name in list(file)], "a.h5part: has no Step#0"),
    ],
)
def test_what_is_wrong_is_named(change, words, tmp_path):
    with pytest.raises(ReadingsError, match=words):
        read_readings(written(tmp_path / "a.h5part", change=change), ALL)


def test_a_variable_that_is_not_there_is_named_with_those_that_are(tmp_path):
    with pytest.raises(ReadingsError, match=r"no detector has a wanted variable; found \['Tracer', 'Velocity.x'\]"):
        read_readings(written(tmp_path / "a.h5part"), Choice(("Salt",), errors={"Salt": 1.0}))
