"""Fluidity's options file (.flml): find and change single options, and leave the rest alone.

Paths are Fluidity's own, e.g. `timestepping/current_time`; a value sits in a `real_value`,
`integer_value` or `string_value` element below.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lxml import etree

from coupling.common.files import FileError
from coupling.vtk.xml import parse_xml, write_xml

Value = TypeVar("Value", float, int, str)

_VALUES: dict[type, str] = {float: "real_value", int: "integer_value", str: "string_value"}


def read_options(path: str | Path) -> etree._ElementTree:
    """Parse an options file.

    Raises
    ------
    FileError
        if it is missing, not XML, includes other files, or its root is not `fluidity_options`
    """
    tree = parse_xml(path)
    if tree.getroot().tag != "fluidity_options":
        raise FileError(f"{path}: root element <{tree.getroot().tag}>, expected <fluidity_options>")
    return tree


def write_options(tree: etree._ElementTree, path: str | Path) -> None:
    """Write an options file, whole or not at all."""
    write_xml(tree, path, xml_declaration=True, encoding="utf-8")


def option(tree: etree._ElementTree, path: str, kind: type[Value], file: str | Path = "") -> Value | None:
    """The value of an option, as float, int or str; None where it is not set."""
    element = tree.getroot().find(f"{path}/{_VALUES[kind]}")
    if element is None:
        return None
    try:
        return kind((element.text or "").strip())
    except ValueError:
        raise FileError(f"{file}: option {path} is {element.text!r}, expected {kind.__name__}") from None


def required(tree: etree._ElementTree, path: str, kind: type[Value], file: str | Path) -> Value:
    """Like `option`, but a missing one is a FileError that names it."""
    value = option(tree, path, kind, file)
    if value is None:
        raise FileError(f"{file}: option {path} is not set; the cycle needs it")
    return value


@dataclass(frozen=True)
class DumpPeriod:
    """How often the model writes a dump.

    option : path of the option that says so
    seconds : s; None where a Python function gives it
    timesteps : the number of time steps that is given instead; None where seconds are
    """

    option: str
    seconds: float | None
    timesteps: int | None


def dump_period(tree: etree._ElementTree, file: str | Path = "") -> DumpPeriod | None:
    """How often the model writes a dump, which is given in seconds or in time steps; None where neither is set."""
    in_steps = "io/dump_period_in_timesteps"
    if tree.getroot().find(in_steps) is not None:
        steps, step = (
            option(tree, f"{in_steps}/constant", int, file),
            option(tree, "timestepping/timestep", float, file),
        )
        return DumpPeriod(in_steps, None if steps is None or step is None else max(steps, 1) * step, steps)
    if tree.getroot().find("io/dump_period") is not None:
        return DumpPeriod("io/dump_period", option(tree, "io/dump_period/constant", float, file), None)
    return None


def ignored_solver_failures(tree: etree._ElementTree) -> list[str]:
    """Paths of the options by which a solver may fail and the model goes on as if nothing had happened."""
    paths = [tree.getpath(element) for element in tree.getroot().iterfind(f".//solver/{_IGNORED}")]
    return [path.removeprefix(f"/{tree.getroot().tag}/") for path in paths]


_IGNORED = "ignore_all_solver_failures"


def set_option(tree: etree._ElementTree, path: str, value: float | int | str) -> None:
    """Set an option, with all missing elements of its path."""
    element = _reach(tree, path)
    tag = _VALUES[type(value)]
    holder = element.find(tag)
    if holder is None:
        holder = etree.SubElement(element, tag)
        if not isinstance(value, str):
            holder.set("rank", "0")
    # repr keeps every digit of a time
    holder.text = value if isinstance(value, str) else repr(value)


def set_flag(tree: etree._ElementTree, path: str) -> None:
    """Set an option that has no value."""
    _reach(tree, path)


def remove_option(tree: etree._ElementTree, path: str) -> None:
    """Remove an option if it is there."""
    for element in tree.getroot().findall(path):
        element.getparent().remove(element)


def copy_option(source: etree._ElementTree, tree: etree._ElementTree, path: str) -> None:
    """Set an option, with all below it, as it is in other options; where it is not set there it is removed."""
    remove_option(tree, path)
    element = source.getroot().find(path)
    if element is not None:
        above, _, _ = path.rpartition("/")
        (_reach(tree, above) if above else tree.getroot()).append(copy.deepcopy(element))


def _reach(tree, path):
    element = tree.getroot()
    for tag in path.split("/"):
        below = element.find(tag)
        element = etree.SubElement(element, tag) if below is None else below
    return element
