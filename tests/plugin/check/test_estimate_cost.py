"""What `plugin.check` says of an estimate: how many model runs it takes, and whether there are enough members."""

from types import SimpleNamespace

import pytest
from estimate_case import settings

from plugin.case.configuration import Case
from plugin.check.case.estimate import estimate
from plugin.check.finding import OK, WARN


def findings_of(tmp_path, members, unknown, **changes):
    """Findings about a case; its files are not opened."""
    case = Case.model_validate(settings(tmp_path, tmp_path / "run", members=members, **changes))
    return list(estimate(SimpleNamespace(case=case, parameters=[None] * unknown)))


@pytest.mark.parametrize(
    ("section", "runs"), [({"iterations": 4}, "4 × 12 = 48"), ({"iterations": 2, "rerun": True}, "3 × 12 = 36")]
)
def test_it_says_how_many_runs_there_are(tmp_path, section, runs):
    (of,) = findings_of(tmp_path, 12, 3, estimate=section)
    assert of.level == OK and of.text == f"{runs} model runs of 24 s"


def test_it_warns_of_fewer_members_than_unknown_values(tmp_path):
    (of,) = findings_of(tmp_path, 3, 3, estimate={"iterations": 4})
    assert of.level == WARN and "3 members for 3 values" in of.text and "more members than the 3 values" in of.advice


def test_it_says_nothing_of_a_case_that_does_not_speak_of_it(tmp_path):
    assert findings_of(tmp_path, 12, 3) == []
