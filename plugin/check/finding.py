"""What a check reports."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from coupling.simulation.advice import FAIL, OK, WARN


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    level : "ok", "warn", or "fail", which the cycle would not survive
    name : what was checked
    text : the result
    advice : what to do; "" for nothing
    """

    level: str
    name: str
    text: str
    advice: str = ""


class Unavailable(Exception):
    """A check needs what could not be read, and that has been reported before."""


def findings(name: str, check: Callable[..., Iterable[Finding]], *subjects: object) -> list[Finding]:
    """The findings of a check; an exception becomes a finding too.

    Parameters
    ----------
    name : of the check
    check : function of the subjects
    subjects : its arguments
    """
    reported: list[Finding] = []
    try:
        reported.extend(check(*subjects))
    except Unavailable as missing:
        reported.append(Finding(WARN, name, f"not checked: {missing}"))
    except Exception as error:  # noqa: BLE001 one broken check must not hide the others
        message = str(error) or type(error).__name__
        expected = isinstance(error, (ValueError, RuntimeError, OSError))
        reported.append(
            Finding(FAIL, name, message if expected else f"the check broke down: {type(error).__name__}: {message}")
        )
    return reported


def without_folder(finding: Finding, folder: Path) -> Finding:
    """A finding that names no file of a folder that is removed once the checks are done: only names within it."""
    text = finding.text
    for name in {str(folder), str(folder.resolve())}:
        text = text.replace(f"{name}/", "").replace(name, "the check's own folder")
    if text == finding.text:
        return finding
    gone = "the files named here were the check's own and are gone; plugin.cycle keeps them in its run folder"
    return replace(finding, text=text, advice=f"{finding.advice}\n{gone}".strip())


def as_text(finding: Finding) -> str:
    """A finding as lines for the terminal."""
    mark = {OK: "ok  ", WARN: "warn", FAIL: "FAIL"}[finding.level]
    lines = [f"{mark}  {finding.name:<22} {finding.text}"]
    if finding.advice:
        lines += [f"{'':<29}→ {line}" for line in finding.advice.splitlines()]
    return "\n".join(lines)
