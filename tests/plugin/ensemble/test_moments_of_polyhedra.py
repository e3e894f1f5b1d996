"""Mean and spread of members whose fields are in cells of polyhedra, by window and as archives of the run."""

import numpy as np
from mpi4py import MPI
from polyhedra import street_states

from coupling.archive.series import open_series
from coupling.geometry.mesh import State
from plugin.ensemble.moments import Moments, write_archives, write_moments
from plugin.run.retention import window_folder

COMM = MPI.COMM_SELF


def test_windows_have_them_as_files_that_are_joined(tmp_path):
    members = list(street_states(COMM, 4))
    for number in (1, 2):
        moments = Moments()
        for member in members:
            moments.add(
                State(10.0 * number, {name: of.replaced(number * of.values) for name, of in member.fields.items()})
            )
        window_folder(tmp_path, number).mkdir()
        write_moments(moments, 10.0 * number, window_folder(tmp_path, number), COMM)
    assert write_archives(tmp_path, 2, COMM) == ["mean.vtkhdf", "spread.vtkhdf"]
    for name, of in (("mean", np.mean), ("spread", lambda values, axis: np.std(values, axis, ddof=1))):
        with open_series(tmp_path / f"{name}.vtkhdf", COMM) as whole:
            assert whole.times.tolist() == [10.0, 20.0]
            for step in range(2):
                for field in ("T", "U"):
                    expected = (step + 1) * of([member[field].values for member in members], axis=0)
                    np.testing.assert_allclose(whole.read(step)[field].values, expected, atol=1e-14)
