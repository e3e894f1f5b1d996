"""What SECURITY.md promises of the code itself; what it promises of files is tested with those who read them.

no pickle, YAML without tags          here, tests/plugin/case, tests/plugin/readings/test_error_matrix.py
XML                                   tests/coupling/test_bombs.py
HDF5 links and values elsewhere       tests/coupling/common/test_hdf5.py, tests/plugin/readings/test_netcdf_cf.py
sizes that are claimed                tests/coupling/test_bombs.py, tests/plugin/window/test_modes_file.py
files that a checkpoint or PVTU names tests/coupling/fluidity/test_named_files.py, tests/support/bad_files.py
links within a run folder             tests/plugin/whole_runs/test_links.py
no shell, nothing evaluated           here
pages load nothing                    tests/plugin/report
"""

import ast
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from contents import SELF, small_mesh, small_state
from lxml import etree

from coupling.archive import ArchiveWriter
from coupling.common.locks import sole_writer
from coupling.vtk.dumps import write_dump
from coupling.vtk.xml import write_xml

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("plugin", "coupling", "da", "models")
SOURCES = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]

NO_MODULES = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",  # these run what they read
    "urllib", "requests", "http", "httpx", "aiohttp", "ftplib", "webbrowser",  # these fetch
}  # fmt: skip
NO_CALLS = {
    "eval", "exec", "os.system", "os.popen", "torch.load", "torch.save", "yaml.load", "yaml.unsafe_load",
    "yaml.full_load", "pickle.loads", "subprocess.getoutput", "subprocess.getstatusoutput",
}  # fmt: skip
# the functions of the options file, in the model's own process
EVALUATES = Path("coupling/embedded/functions.py")
XML_CALLS = {
    f"etree.{word}" for word in ("parse", "fromstring", "XML", "XMLParser", "XMLPullParser", "iterparse", "HTMLParser")
}
PARSES_XML = {Path("coupling/vtk/xml.py"), Path("coupling/vtk/sizes.py")}
# each of these refuses links, values elsewhere and claims
READS_HDF5 = {
    Path("coupling/archive/layout.py"),
    Path("plugin/readings/h5part.py"),
    Path("plugin/readings/netcdf_files.py"),
    Path("plugin/window/background/modes_file.py"),
    Path("plugin/training/training_set.py"),
}


def calls(path):
    """(dotted name, ast.Call) of a file's calls."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keywords(call):
    return {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_nothing_is_unpickled_fetched_or_evaluated(path):
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not {name.split(".")[0] for name in names} & NO_MODULES, ast.unparse(node)
    for name, call in calls(path):
        given = keywords(call)
        assert name not in NO_CALLS or (name == "exec" and path == EVALUATES), ast.unparse(call)
        assert given.get("shell", "False") == "False", ast.unparse(call)
        if name in ("np.load", "numpy.load"):
            assert given.get("allow_pickle") == "False", ast.unparse(call)
        assert "allow_pickle" not in given or given["allow_pickle"] == "False", ast.unparse(call)


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_xml_and_hdf5_are_read_where_they_are_checked(path):
    for name, call in calls(path):
        if name in XML_CALLS:
            assert path in PARSES_XML, ast.unparse(call)
            if name in ("etree.XMLParser", "etree.XMLPullParser", "etree.iterparse"):
                given = keywords(call)
                assert (given["resolve_entities"], given["no_network"], given["load_dtd"]) == ("False", "True", "False")
        if name in ("h5py.File", "h5netcdf.File"):
            mode = ast.unparse(call.args[1]).strip("'\"") if len(call.args) > 1 else "r"
            assert mode.startswith("w") or path in READS_HDF5, ast.unparse(call)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_permissions_of_the_users_umask(tmp_path, umask, mode):
    mesh = small_mesh(2)
    state = small_state(0.0, mesh, a=np.arange(8.0))
    before = os.umask(umask)
    try:
        write_dump(state, tmp_path / "dump", SELF)
        write_xml(etree.ElementTree(etree.Element("a")), tmp_path / "options.flml")
        with ArchiveWriter(tmp_path / "a.vtkhdf", SELF) as archive:
            archive.append(state)
        with sole_writer(tmp_path / "b", SELF):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(["dump.vtu", "options.flml", "a.vtkhdf", ".b.lock"], mode)
