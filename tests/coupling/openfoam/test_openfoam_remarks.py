"""What the doctor says of a case of OpenFOAM's own settings: each is tried on the small case, changed in one place."""

import os

import pytest
from openfoam import small_case

from coupling.openfoam.simulation import OPENFOAM
from coupling.simulation.advice import FAIL, OK, WARN, Plan

PLAN = {"window": 2.0, "variables": ("U", "T"), "dumped": False, "within": "", "fixed_mesh": False}


def said(case, file="", old="", new="", **plan):
    """[(level, text)] of a case, a text in one of its files replaced."""
    if file:
        path = case / file
        text = path.read_text() if path.exists() else ""
        assert old in text
        path.write_text(text.replace(old, new) if old else text + new)
    return [(of.level, of.text) for of in OPENFOAM.remarks(case, Plan(**{**PLAN, **plan}))]


def test_a_good_case_has_nothing_in_the_way(tmp_path):
    found = said(small_case(tmp_path / "case"))
    assert {level for level, _ in found} == {OK} and any(
        "T is a tracer of scalarTransport" in text for _, text in found
    )


@pytest.mark.parametrize(
    ("change", "plan", "level", "told"),
    [
        (("",), {"variables": ("p",)}, FAIL, "only p would change: OpenFOAM computes pressure"),
        (("",), {"window": 2.1}, WARN, "deltaT of 0.25 s does not divide the window of 2.1 s: forecasts end at 2.25 s"),
        (("",), {"within": "linear", "dumped": True}, WARN, "times are written 2 s apart, of a window of 2 s its ends"),
        (("system/fvSchemes", "default Euler", "default CrankNicolson 0.9"), {}, WARN, "ddt0 of it one step late"),
        (("system/fvSchemes", "default Euler", "default steadyState"), {}, FAIL, "steadyState, so there is no"),
        (
            ("system/controlDict", "scalarTransport;", "somethingElse;"), {}, FAIL,
            "neither pimpleFoam nor a function object scalarTransport carries T on",
        ),
        (("constant/dynamicMeshDict", "", "dynamicFvMesh dynamicRefineFvMesh;"), {}, FAIL, "moves or changes the mesh"),
        (("system/controlDict", "functions\n{", "functions\n{\n    x { type systemCall; }"), {}, WARN, "to a shell"),
        (
            ("0/U", "type uniformFixedValue", "type codedFixedValue"), {},
            FAIL if os.geteuid() == 0 else WARN, "OpenFOAM compiles code of it",
        ),
    ],
)  # fmt: skip
def test_what_would_break_a_cycle_is_told(change, plan, level, told, tmp_path):
    case = small_case(tmp_path / "case")
    if change[0] == "0/U":  # of the time that it starts from
        (case / "2/U").write_bytes((case / "0/U").read_bytes())
        change = ("2/U", *change[1:])
    assert any(of == level and told in text for of, text in said(case, *change, **plan))


def test_an_included_tracer_is_an_error(tmp_path):
    case = small_case(tmp_path / "case")
    with pytest.raises(ValueError, match="functions include scalarTransport; write it out there"):
        said(case, "system/controlDict", "functions\n{", "functions\n{\n    #includeFunc scalarTransport(T)\n")


def test_nothing_reads_parameters_json_unless_a_dictionary_speaks_of_it(tmp_path):
    start = OPENFOAM.open_restart(small_case(tmp_path / "case"))
    assert list(OPENFOAM.unread(start, ["wind"])) == ["wind"]
    (start.case / "constant/inflow").write_text('code #{ read("parameters.json"); #};')
    assert OPENFOAM.unread(start, ["wind"]) == {}
