"""Keys of the case file whose value is a name from a table of the package."""

from collections.abc import Iterable
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class OneOf:
    """`Annotated[str, OneOf(TABLE)]`: one of the table's names, in the messages and in the JSON schema too.

    names : of the table, in the order in which messages list them
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))
