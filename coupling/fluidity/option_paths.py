"""Options by Fluidity's own paths, and the one number that such an option holds.

    /material_phase::Air/scalar_field::Tracer/prognostic/tensor_field::Diffusivity/prescribed/value::WholeMesh/isotropic

Each step is an element's tag; `::name` chooses among those of a tag by name, `[k]` by number from 0. The last step may
be the element that holds the number, or `constant` or `real_value` below it.
"""

import difflib
import re
from pathlib import Path

from lxml import etree

from coupling.common.files import FileError

_STEP = re.compile(r"(?P<tag>[^:\[\]]+)(::(?P<name>[^\[\]]+))?(\[(?P<number>\d+)\])?")
_NUMBER = "real_value"
# the cycle sets these itself, or every file of a run depends on them
_NOT_FREE = ("simulation_name", "geometry", "io", "timestepping")


def number_at(tree: etree._ElementTree, path: str, file: str | Path) -> etree._Element:
    """The element that holds an option's one number.

    Parameters
    ----------
    tree : options
    path : of the option, as above
    file : for messages

    Raises
    ------
    FileError
        if there is no such option, several, or it holds no number or several; the message names the nearest that are
    """
    steps = [step for step in path.strip("/").split("/") if step]
    if not steps or steps[0].partition("::")[0].partition("[")[0] in _NOT_FREE:
        raise FileError(f"{file}: option {path!r} cannot be a parameter; expected one below {_free_roots(tree)}")
    element = tree.getroot()
    for step in steps:
        found = _children(element, step)
        if len(found) > 1 and step == steps[-1] == _NUMBER:
            break
        if len(found) != 1:
            raise FileError(f"{file}: option {path!r}: {_why(found, step, element)}{_nearest(tree, path)}")
        element = found[0]
    for below in ("constant", _NUMBER):
        if element.tag != _NUMBER and len(_children(element, below)) == 1:
            element = _children(element, below)[0]
    if element.tag != _NUMBER or len((element.text or "").split()) != 1:
        raise FileError(
            f"{file}: option {path!r} holds {_held(element)}, expected one real number{_nearest(tree, path)}"
        )
    try:
        float(element.text or "")
    except ValueError:
        raise FileError(f"{file}: option {path!r} is {element.text!r}, expected a number") from None
    return element


def set_number(tree: etree._ElementTree, path: str, value: float, file: str | Path) -> None:
    """Set an option that is there; nothing else changes. FileError as `number_at`."""
    number_at(tree, path, file).text = repr(float(value))  # repr keeps every digit


def spelled(element: etree._Element) -> str:
    """An element's path, with a name or a number where its tag alone would not do."""
    steps = []
    while (above := element.getparent()) is not None:
        name, alike = element.get("name"), [e for e in above.iterchildren(element.tag)]
        alike = [e for e in alike if e.get("name") == name]
        step = str(element.tag) if name is None else f"{element.tag}::{name}"
        steps.append(step if len(alike) == 1 else f"{step}[{alike.index(element)}]")
        element = above
    return "/" + "/".join(reversed(steps))


def numbers(tree: etree._ElementTree) -> list[str]:
    """Paths of all options that could be a parameter."""
    holders = (e for e in tree.getroot().iter(_NUMBER) if len((e.text or "").split()) == 1)
    paths = (spelled(e).removesuffix(f"/{_NUMBER}") for e in holders)
    return [path for path in paths if path.split("/")[1].partition("::")[0] not in _NOT_FREE]


def _children(element, step):
    match = _STEP.fullmatch(step)
    if match is None:
        return []
    found = [e for e in element.iterchildren(match["tag"]) if match["name"] in (None, e.get("name"))]
    return found if match["number"] is None else found[int(match["number"]) :][:1]


def _why(found, step, element):
    if found:
        return f"{len(found)} elements are {step!r}; name one as {spelled(found[0]).rpartition('/')[2]!r}"
    there = dict.fromkeys(spelled(e).rpartition("/")[2] for e in element.iterchildren("*"))
    below = spelled(element) if element.getparent() is not None else "the root"
    return f"there is no {step!r} below {below}, which has {', '.join(there) or 'nothing'}"


def _held(element):
    if element.find("python") is not None or element.tag == "python":
        return "a Python function (let that read parameters.json: key `to: {file: parameters.json}`)"
    return f"{(element.text or '').strip()!r}" if element.tag == _NUMBER else f"no number in <{element.tag}>"


def _nearest(tree, path):
    asked = "/" + path.strip("/").removesuffix(f"/{_NUMBER}")
    near = difflib.get_close_matches(asked, numbers(tree), n=1, cutoff=0.3)
    return f"; did you mean {near[0]!r}?" if near else ""


def _free_roots(tree):
    return ", ".join(dict.fromkeys(path.split("/")[1] for path in numbers(tree)))
