"""XML of anybody's making: parsed and written as plain elements, from and to open files.

A document type is refused before anything behind it is looked at: it is the only way for entities into a file, and
these may name other files, or grow without end already as they are parsed. Nothing is fetched from a network.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NoReturn
from xml.parsers import expat

from lxml import etree

from coupling.common.files import FileError, whole_file

_INCLUDE = "{http://www.w3.org/2001/XInclude}*"
_PART = 1 << 16  # bytes


class XmlError(ValueError):
    """A text that is not XML, or XML that is refused; the message does not name the file."""


class DocumentTypeError(XmlError):
    """XML that declares a document type."""


class _RootBegins(Exception):
    """All before the first element has been looked at."""


def check_prolog(file: BinaryIO) -> None:
    """Read a file up to its first element.

    Raises
    ------
    XmlError
        if a document type stands there, or what is no XML
    """
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = _end_here
    try:
        while part := file.read(_PART):
            parser.Parse(part, False)
        parser.Parse(b"", True)
    except _RootBegins:
        return
    except XmlError:
        raise
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: of an encoding
        raise XmlError(f"not well-formed XML: {error}") from None


def _refuse(*words: Any) -> NoReturn:
    raise DocumentTypeError("declares a document type or XML entities, which are refused; write the text out instead")


def _end_here(*words: Any) -> NoReturn:
    raise _RootBegins


def parse_xml(path: str | Path) -> etree._ElementTree:
    """Parse an XML file.

    Raises
    ------
    FileError
        if it is missing, not well-formed, nested more deeply than files of simulations are, declares a document type,
        or includes other files
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
    with _opened(path) as file:
        tree = etree.parse(file, parser)
    if next(tree.iter(_INCLUDE), None) is not None:
        raise FileError(f"{path}: includes other files (XInclude), which is refused; write their text out instead")
    return tree


def first_element(path: str | Path) -> etree._Element:
    """The root of an XML file with its attributes; what is in it is not read.

    Raises
    ------
    FileError
        as for `parse_xml`, as far as it shows in what is read
    """
    with _opened(path) as file:
        # what is read goes by events, so the rest of the file may be large
        elements = etree.iterparse(
            file, events=("start",), resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True
        )
        return next(elements)[1]


@contextmanager
def _opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file whose prolog is harmless; what is wrong with it in this block is a FileError."""
    try:
        with open(path, "rb") as file:  # lxml takes a name for a URL, in which %20 is a space
            check_prolog(file)
            file.seek(0)
            yield file
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from None
    except XmlError as error:
        raise FileError(f"{path}: {error}") from None
    except etree.XMLSyntaxError as error:
        raise FileError(f"{path}: not well-formed XML: {error}") from None


def xml_root(content: bytes) -> etree._Element:
    """The root of a text in XML that stands in a file of something else.

    Raises
    ------
    XmlError
        if it is not well-formed, or declares a document type
    """
    check_prolog(io.BytesIO(content))
    try:
        return etree.fromstring(content, etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False))
    except etree.XMLSyntaxError as error:
        raise XmlError(f"not well-formed XML: {error}") from None


def write_xml(tree: etree._ElementTree, path: str | Path, **settings: Any) -> None:
    """Write an XML file, whole or not at all; `settings` are those of lxml's `write`."""
    with whole_file(path) as beside, open(beside, "wb") as file:
        tree.write(file, **settings)
