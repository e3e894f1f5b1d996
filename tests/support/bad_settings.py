"""Damage to case files, options, modes, networks and run folders.

Each function damages one and is registered with the expected message.
"""

import base64
import json
import shutil
import struct

from bad_input import bad, text_of

from models import files as network_files
from models import zoo


def options(folder):
    return folder / "start-1/case.flml"


@bad("case file", "is not there", r"none\.yml: cannot be read: .*No such file")
def _(folder, told):
    return None


@bad("case file", "is empty", r"case\.yml: expected keys and values, e\.g\. 'model:', found NoneType")
def _(folder, told):
    return "\n"


@bad("case file", "is a list", r"case\.yml: expected keys and values, e\.g\. 'model:', found list")
def _(folder, told):
    return "- model\n"


@bad("case file", "has a key twice", r"case\.yml, line \d+: key 'grid' is given twice, first in line \d+")
def _(folder, told):
    return text_of(told) + "grid: {spacing: 4.0}\n"


@bad("case file", "has a tab", r"case\.yml, line \d+: found character '\\t'")
def _(folder, told):
    return text_of(told) + "minimiser:\n\tmethod: lmvm\n"


@bad("case file", "is not UTF-8", r"case\.yml: cannot be read: .*utf-8")
def _(folder, told):
    return b"model: \xff\xfe\n"


@bad("case file", "has an unknown key", r"line \d+: cycle\.windws: unknown key; did you mean 'windows'\?")
def _(folder, told):
    told["cycle"]["windws"] = 3


@bad("case file", "lacks a section", r"line 1: observations: this key is missing")
def _(folder, told):
    del told["observations"]


@bad("case file", "has an object of Python", r"case\.yml, line \d+: could not determine a constructor")
def _(folder, told):
    return text_of(told) + "minimiser: !!python/object/apply:os.system [ls]\n"


@bad("case file", "has aliases of aliases", r"case\.yml, line \d+: has more than 20,000 values, those behind aliases")
def _(folder, told):
    return text_of(told) + "".join(f"a{k}: &a{k} [{', '.join([f'*a{k - 1}' if k else '1'] * 9)}]\n" for k in range(9))


@bad("case file", "is too deep", r"case\.yml, line \d+: lists and sections lie more than 40 deep in each other")
def _(folder, told):
    return text_of(told) + "minimiser: " + "[" * 10_000


@bad(
    "case file",
    "has a number for a date",
    r"line \d+: observations\.epoch: found 2020; .*a date like 2020-01-31T12:00:00",
)
def _(folder, told):
    told["observations"]["epoch"] = 2020


@bad("case file", "has a number that cannot be", r"line \d+: cycle\.window: found -8; .*greater than 0")
def _(folder, told):
    told["cycle"]["window"] = -8


@bad("options", "are not there", r"case\.flml: ")
def _(folder, told):
    options(folder).unlink()


@bad("options", "are no XML", r"case\.flml")
def _(folder, told):
    options(folder).write_text("fluidity")


@bad("options", "declare an XML entity", r"case\.flml: .*(entit|DOCTYPE|document type)")
def _(folder, told):
    text = options(folder).read_text()
    head, _, rest = text.partition("?>")
    options(folder).write_text(f'{head}?>\n<!DOCTYPE x [<!ENTITY a "b">]>{rest}')


@bad("options", "include another file", r"case\.flml: .*(XInclude|include)")
def _(folder, told):
    text = options(folder).read_text()
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    options(folder).write_text(text.replace("</fluidity_options>", f"{include}</fluidity_options>"))


@bad("options", "lack the mesh file", r"mesh\.msh")
def _(folder, told):
    (folder / "start-1/mesh.msh").unlink()


@bad("options", "name a mesh outside their folder", r"case\.flml.*: .*outside")
def _(folder, told):
    text = options(folder).read_text()
    assert 'file_name="mesh"' in text
    shutil.copyfile(folder / "start-1/mesh.msh", folder / "mesh.msh")
    options(folder).write_text(text.replace('file_name="mesh"', 'file_name="../mesh"'))


@bad(
    "options",
    "name a mesh that is a link to elsewhere",
    r"case\.flml: names 'mesh\.msh', outside its own folder; put a copy",
)
def _(folder, told):
    (folder / "start-1/mesh.msh").rename(folder / "elsewhere.msh")
    (folder / "start-1/mesh.msh").symlink_to(folder / "elsewhere.msh")


@bad("options", "are for another number of processes", r"processes")
def _(folder, told):
    told["model"]["processes"] = 2


@bad("modes", "file is cut off", r"modes\.h5: ")
def _(folder, told):
    told["background"]["modes"] = str(folder / "modes.h5")
    (folder / "modes.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))


def network(folder, told, shape):
    told["background"]["transform"] = "decoded"
    told["network"] = {"file": str(folder / "net.safetensors")}
    model = zoo.make("Backbone", 4, shape)
    network_files.save(folder / "net.safetensors", model, {"variables": ["Tracer"]}, {})


@bad("network", "is of another grid", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))


@bad("network", "is cut off", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))
    path = folder / "net.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@bad("network", "tells a header larger than the file", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))
    path = folder / "net.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])


@bad("network", "is a pickle", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))
    (folder / "net.safetensors").write_bytes(base64.b64decode("gASVBQAAAAAAAABLAS4="))


@bad("run folder", "is a file", r"run: .*cannot be made a folder: File exists; choose another")
def _(folder, told):
    (folder / "run").write_text("a file")


@bad("run folder", "cannot be made", r"run: .*cannot be made a folder: .*; choose another")
def _(folder, told):
    told["run"] = "/proc/none/run"


@bad("run folder", "holds another run", r"run: holds a run already; go on with it by --resume")
def _(folder, told):
    (folder / "run").mkdir()
    (folder / "run/case.json").write_text(json.dumps({}))
