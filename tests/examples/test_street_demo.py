"""The demo's command line; the demo itself takes minutes and is `make demo`."""

import os

import pytest

from coupling.simulation.launch import ModelError
from examples.street import demo


@pytest.mark.parametrize(("words", "cycles"), [([], 2), (["--train"], 3)])
def test_mpirun_is_allowed_and_a_network_is_trained_on_request_alone(words, cycles, monkeypatch):
    def experiment(twin, processes, title):
        assert os.environ["OMPI_ALLOW_RUN_AS_ROOT"] == "1" and processes == 2
        assert len(twin.cycles) == cycles and ("autoencoder trained here" in twin.cycles) == bool(words)
        assert all(case.is_file() for case in twin.cycles.values())

    monkeypatch.setattr(os, "environ", {k: v for k, v in os.environ.items() if not k.startswith(("OMPI_", "PRTE_"))})
    monkeypatch.setattr(demo, "experiment", experiment)
    demo.main(words)


def test_a_model_that_fails_is_a_message(monkeypatch):
    def experiment(*_):
        raise ModelError("the model ended with exit code 16")

    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(demo, "experiment", experiment)
    with pytest.raises(SystemExit, match="the experiment stopped: the model ended with exit code 16"):
        demo.main([])
