"""The configuration reference, made of the case file's schema when the documents are built.

A hook of MkDocs: the page with MARKER gets, for each section of `plugin.case.configuration.Case`, its meaning and a
table of its keys, in the order of the schema. It is the same schema that `python -m plugin.cycle --schema` prints.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from plugin.case.configuration import Case

MARKER = "<!-- configuration -->"
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_WORDS = {"number": "number", "integer": "whole number", "boolean": "true or false", "string": "text", "null": "null"}
_FORMATS = {"path": "path", "date-time": "date"}


def on_page_markdown(markdown, **_):
    """MkDocs asks this of every page."""
    return markdown.replace(MARKER, reference(Case.model_json_schema())) if MARKER in markdown else markdown


def reference(schema):
    """Markdown of all sections of a JSON schema, each once, those within others after them."""
    sections = schema["$defs"]
    places = _places(schema, sections, ())
    lines = _section("The case file", schema, sections, places)
    for name, path in places.items():
        title = f"`{'.'.join(path)}` {{#{anchor_of(path)}}}"
        lines += _section(title, sections[name], sections, places, 1 + len(path))
    return "\n".join(lines)


def _places(section, sections, path, found=None):
    """{section: keys that lead to it first}, in the order of the file."""
    found = {} if found is None else found
    for key, item in section["properties"].items():
        name = section_of(item)
        if name is not None and name not in found:
            found[name] = (*path, key)
            _places(sections[name], sections, found[name], found)
    return found


def _section(title, section, sections, places, depth=2):
    required = section.get("required", ())
    lines = ["", f"{'#' * min(depth, 4)} {title}", "", section.get("description", ""), ""]
    lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
    for key, item in section["properties"].items():
        default = "needed" if key in required else default_of(item)
        meaning = item.get("description") or sections.get(section_of(item), {}).get("description", "")
        cells = (f"`{key}`", type_of(item, places), default, meaning.split("\n")[0])
        lines.append("| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |")
    return lines


def anchor_of(path):
    """Name of a section's heading, by which pages link to it."""
    return "-".join(path).replace("_", "-")


def section_of(item):
    """Name of the section that a key is about, or None."""
    if "$ref" in item:
        return item["$ref"].rpartition("/")[2]
    inner = item.get("anyOf", []) + item.get("allOf", [])
    inner += [item[key] for key in ("items", "additionalProperties") if isinstance(item.get(key), dict)]
    return next(filter(None, map(section_of, inner)), None)


def type_of(item, places):
    """A key's type in words, with its limits; sections are links to where they stand."""
    if "$ref" in item:
        return f"[section](#{anchor_of(places[section_of(item)])})"
    if "anyOf" in item:
        return " or ".join(type_of(one, places) for one in item["anyOf"] if one.get("type") != "null")
    if "enum" in item:
        return ", ".join(f"`{value}`" for value in item["enum"])
    if "const" in item:
        return f"`{item['const']}`"
    kind = item.get("type")
    if kind == "array":
        if "prefixItems" in item:
            return f"[{', '.join(type_of(one, places) for one in item['prefixItems'])}]"
        return f"list of {type_of(item['items'], places)}"
    if kind == "object":
        return f"{{name: {type_of(item['additionalProperties'], places)}}}"
    limits = [f"{sign} {item[limit]:g}" for limit, sign in _LIMITS.items() if limit in item]
    return " ".join([_FORMATS.get(item.get("format"), _WORDS[kind]), *limits])


def default_of(item):
    """A key's default as it would be written in a case file."""
    if "default" not in item:
        return ""
    if section_of(item) is not None and item["default"]:
        return "its own defaults"
    return "none" if item["default"] is None else f"`{json.dumps(item['default'], ensure_ascii=False)}`"
