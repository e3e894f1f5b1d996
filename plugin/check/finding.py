"""What a check says."""

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's.

    level : "ok", "warn", or "fail", which the cycle would not survive
    name : what was looked at
    text : what was found
    advice : what to do; "" where nothing is
    """

    level: str
    name: str
    text: str
    advice: str = ""


class NotKnown(Exception):
    """What a check needs could not be had, and that has been told before."""


def findings(name, check, *subjects):
    """What a check says, in a list; whatever befalls it is a finding too.

    Parameters
    ----------
    name : of the check
    check : function of the subjects that yields or returns Findings
    subjects : its arguments
    """
    made = []
    try:
        made.extend(check(*subjects))
    except NotKnown as missing:
        made.append(Finding(WARN, name, f"not looked at: {missing}"))
    except Exception as error:  # noqa: BLE001 a doctor that dies of a symptom is of no use
        told = str(error) or type(error).__name__
        expected = isinstance(error, (ValueError, RuntimeError, OSError))
        made.append(Finding(FAIL, name, told if expected else f"the check broke down: {type(error).__name__}: {told}"))
    return made


def told(finding):
    """A finding as a person reads it."""
    mark = {OK: "ok  ", WARN: "warn", FAIL: "FAIL"}[finding.level]
    lines = [f"{mark}  {finding.name:<22} {finding.text}"]
    if finding.advice:
        lines += [f"{'':<29}→ {line}" for line in finding.advice.splitlines()]
    return "\n".join(lines)
