"""Keys whose values are names from a table: the table, the schema and the messages agree, and torch stays out."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from models.layers.activation import make_activation
from models.names import choices
from models.training.objectives import OBJECTIVES
from plugin.case.configuration import Case
from plugin.case.network import NetworkSection, TrainingSection

TABLES = {
    "objective": choices.OBJECTIVES,
    "optimiser": choices.OPTIMISERS,
    "schedule": choices.SCHEDULES,
    "precision": choices.PRECISIONS,
}


@pytest.mark.parametrize("key", TABLES)
def test_every_name_of_a_table_is_allowed_and_no_other(key):
    for name in TABLES[key]:
        beside = {"teacher": "full.safetensors"} if name == "distilled" else {}
        assert getattr(TrainingSection(**{key: name}, **beside), key) == name
    with pytest.raises(ValidationError, match=f"should be '{next(iter(TABLES[key]))}'"):
        TrainingSection(**{key: "other"})
    schema = Case.model_json_schema()["$defs"]["TrainingSection"]["properties"]
    assert schema[key]["enum"] == list(TABLES[key])


def test_upsamplings():
    for name in choices.UPSAMPLINGS:
        assert NetworkSection(file="a.safetensors", upsampling=name).upsampling == name
    with pytest.raises(ValidationError, match="should be 'transposed'"):
        NetworkSection(file="a.safetensors", upsampling="other")


def test_activations():
    for name in choices.ACTIVATIONS:
        assert NetworkSection(file="a.safetensors", activation=name).activation == name
        make_activation(name, 2)
    with pytest.raises(ValidationError, match="'PReLU', 'ReLU' or 'GDN'"):
        NetworkSection(file="a.safetensors", activation="SeLU")


def test_every_objective_has_its_function():
    assert [function.__name__ for function in OBJECTIVES.values()] == list(choices.OBJECTIVES)


def test_the_case_file_is_read_without_torch():
    code = "import sys, plugin.case.configuration; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
