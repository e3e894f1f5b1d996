"""system/controlDict: what a run of ours needs otherwise than the user's has it, appended and taken away again.

OpenFOAM takes the last of several entries with one name. So what we need stands in lines of our own at the file's end,
after a mark; the user's bytes before it stay as they are, and are all that is left when the run has ended.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from coupling.common.files import FileError
from coupling.openfoam.dictionary import Dictionary, Entry, parse_dictionary, read_dictionary, unpacked
from coupling.openfoam.mesh import find_file
from coupling.simulation.endings import NEAR

_MARK = b"\n// ---- set for a run of the data assimilation; the case's own entries stand above ----\n"
_DIGITS = 12  # of times in the names of folders
_PRECISION = 17  # of numbers in text, which come back with the same bits


@dataclass(frozen=True)
class Plan:
    """When a run ends and writes.

    end : s
    interval : s between two writings
    adjusts : whether steps are fitted to them
    """

    end: float
    interval: float
    adjusts: bool


@dataclass(frozen=True)
class Controls:
    """A case's controlDict, without lines of ours."""

    dictionary: Dictionary

    @property
    def path(self) -> Path:
        """The file."""
        return self.dictionary.path

    @property
    def application(self) -> str:
        """The solver."""
        name = self.dictionary.text("application")
        if not name or "/" in name:
            raise FileError(f"{self.path}: entry application is {name!r}, expected a solver, as pimpleFoam")
        return name

    @property
    def adjusts(self) -> bool:
        """Whether time steps are adjusted."""
        return (self.dictionary.text("adjustTimeStep") or "no") in ("yes", "on", "true", "y", "t")

    def timestep(self, time: Path) -> float:
        """The step [s] that a run from a time folder begins with."""
        step = self.dictionary.number("deltaT")
        if self.adjusts and (path := find_file(time / "uniform", "time")):
            step = read_dictionary(path).number("deltaT") or step
        if step is None or not 0 < step < math.inf:
            raise FileError(f"{self.path}: deltaT is {step}, expected a number above zero [s]")
        return step

    def start_of(self, times: list[str]) -> str:
        """The time folder that `startFrom` means."""
        how = self.dictionary.text("startFrom") or "latestTime"
        if how == "latestTime":
            return times[-1]
        if how == "firstTime":
            return times[0]
        start = self.dictionary.number("startTime")
        if how != "startTime" or start is None:
            raise FileError(
                f"{self.path}: startFrom is {how!r}, expected latestTime, firstTime, or startTime with a startTime"
            )
        return min(times, key=lambda name: abs(float(name) - start))

    def plan(self, start: float, until: float, timestep: float) -> Plan:
        """End and intervals of a run [s]: they divide it, and are no longer than the user's own."""
        own = self.dictionary.number("writeInterval")
        control = self.dictionary.text("writeControl") or "timeStep"
        span = until - start
        if self.adjusts:
            wanted = own if own and control in ("runTime", "adjustableRunTime", "adjustable") else span
            return Plan(until, span / max(1, math.ceil(span / wanted - 1e-9)), True)
        steps = math.ceil(span / timestep - NEAR)
        if own and control in ("runTime", "adjustableRunTime", "adjustable"):
            most = max(1, round(own / timestep))
        elif own and control == "timeStep":
            most = max(1, round(own))
        else:
            most = steps
        every = next(k for k in range(min(most, steps), 0, -1) if steps % k == 0)
        return Plan(start + steps * timestep, every * timestep, False)

    def tracers(self) -> list[Entry]:
        """The function objects scalarTransport, in the order of the file.

        Raises
        ------
        FileError
            if one is included from elsewhere, where it cannot be put in order
        """
        functions = self.dictionary.find("functions")
        found = []
        for entry in () if functions is None else functions.children or ():
            if entry.key == "#includeFunc" and b"scalarTransport" in self.dictionary.data[entry.start : entry.end]:
                raise FileError(
                    f"{self.path}: functions include scalarTransport; write it out there, or its tracer would be "
                    "written one step late"
                )
            if _text(self.dictionary, entry, "type") == "scalarTransport":
                found.append(entry)
        return found

    def tracer_names(self) -> set[str]:
        """The fields that function objects scalarTransport carry on. FileError as `tracers`."""
        return {self._carried(entry) for entry in self.tracers()}

    def ordered_tracers(self, old: bool) -> bytes:
        """Entries of `functions` by which each tracer is read, carried on and then written, for those where it is not.

        scalarTransport carries its field on after fields were written: by itself its tracer is one step behind.

        old : whether the time scheme needs the tracer of the step before (backward, CrankNicolson), too
        """
        functions, lines = self.dictionary.find("functions"), []
        for entry in self.tracers():
            assert functions is not None and functions.children is not None
            field = self._carried(entry)
            place = functions.children.index(entry)
            before, after = functions.children[:place], functions.children[place + 1 :]
            reads = any(self._is(e, "readFields", "fields", field) for e in before)
            wanted = [field, f"{field}_0"] if old else [field]
            missing = [n for n in wanted if not any(self._is(e, "writeObjects", "objects", n) for e in after)]
            if not (reads and field not in missing):
                if not reads:
                    lines.append(
                        f"read_{field}_first {{ type readFields; libs (fieldFunctionObjects); fields ({field}); "
                        "readOnStart true; }"
                    )
                lines.append(f"carry_{field} {{ $:functions.{entry.key}; enabled true; }}")
                lines.append(f"{entry.key} {{ enabled false; }}")
                missing = wanted
            if missing:
                lines.append(
                    f"write_{field}_then {{ type writeObjects; libs (utilityFunctionObjects); "
                    f"objects ({' '.join(missing)}); writeOption anyWrite; writeControl writeTime; }}"
                )
        inside = "".join(f"    {line}\n" for line in lines)
        return f"functions\n{{\n{inside}}}\n".encode() if lines else b""

    def _carried(self, entry: Entry) -> str:
        """The field of a scalarTransport; s is OpenFOAM's own default."""
        return _text(self.dictionary, entry, "field") or "s"

    def _is(self, entry: Entry, kind: str, key: str, field: str) -> bool:
        names = (_text(self.dictionary, entry, key) or "").replace("(", " ").replace(")", " ").split()
        return _text(self.dictionary, entry, "type") == kind and field in names


def controls_of(case: Path) -> Controls:
    """A case's controlDict, as the user has it.

    Raises
    ------
    FileError
        if it is missing or broken
    """
    path = case / "system/controlDict"
    if not path.is_file():
        raise FileError(f"{case}: has no system/controlDict; expected the folder of a case of OpenFOAM")
    return Controls(parse_dictionary(_own(unpacked(path)), path))


def set_run(case: Path, plan: Plan) -> None:
    """Append what a run of ours needs to a case's controlDict."""
    controls = controls_of(case)
    precision = max(_PRECISION, int(controls.dictionary.number("writePrecision") or 0))
    digits = max(_DIGITS, int(controls.dictionary.number("timePrecision") or 0))
    entries = {
        "startFrom": "latestTime",
        "stopAt": "endTime",
        "endTime": repr(plan.end),
        "writeControl": "adjustableRunTime" if plan.adjusts else "runTime",
        "writeInterval": repr(plan.interval),
        "purgeWrite": "0",
        "writeFormat": "binary",
        "writePrecision": str(precision),
        "timeFormat": "general",
        "timePrecision": str(digits),
        "runTimeModifiable": "false",
    }
    lines = "".join(f"{key} {value};\n" for key, value in entries.items())
    controls.path.write_bytes(
        controls.dictionary.data + _MARK + lines.encode() + controls.ordered_tracers(_keeps_old(case))
    )


def set_back(case: Path, start: Path, lasted: tuple[float, float] | None = None) -> None:
    """Give a case the controlDict of its start, which goes on from the case's one time.

    lasted : start and end [s] of a run of ours: where the user's own end has passed, it goes on for as long again;
        None of an analysis of what such a run left, which ends where that would
    """
    own = controls_of(start)
    lines = "startFrom latestTime;\n"
    end = _end(own.dictionary)
    if lasted is None:
        later = _end(read_dictionary(own.path))
        if later is not None and later != end:
            lines += f"endTime {later!r};\n"
    elif end is None or end <= lasted[1]:
        lines += f"endTime {2 * lasted[1] - lasted[0]!r};\n"
    (case / "system/controlDict").write_bytes(own.dictionary.data + _MARK + lines.encode())


def time_schemes(case: Path) -> set[str]:
    """The words of system/fvSchemes about derivatives in time: Euler, backward …

    Raises
    ------
    FileError
        if the file is missing or broken
    """
    schemes = read_dictionary(case / "system/fvSchemes")
    entry = schemes.find("ddtSchemes")
    values = [schemes.text_of(e) for e in (entry.children or () if entry else ()) if e.children is None]
    return {word for value in values for word in value.split()}


def _keeps_old(case: Path) -> bool:
    """Whether a time scheme goes back by more than one step."""
    return not {"backward", "CrankNicolson"}.isdisjoint(time_schemes(case))


def _end(dictionary: Dictionary) -> float | None:
    """The end [s]; None where it is a macro, which no run of ours needs."""
    try:
        return dictionary.number("endTime")
    except FileError:
        return None


def _own(data: bytes) -> bytes:
    return data.partition(_MARK)[0]


def _text(dictionary: Dictionary, entry: Entry, key: str) -> str | None:
    child = entry.child(key)
    return None if child is None or child.children is not None else dictionary.text_of(child)
