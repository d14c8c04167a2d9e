"""``hephaes-rpc schema``: the JSON Schema of spec documents, for editors and other programs."""

import argparse
import json
import sys
from typing import Any

SCHEMA_VERSION = "https://json-schema.org/draft/2020-12/schema"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""
    del parser


def run(arguments: argparse.Namespace) -> int:
    """Print the schema."""
    del arguments
    json.dump(document_schema(), sys.stdout, indent=2)
    print()
    return 0


def document_schema() -> dict[str, Any]:
    """The JSON Schema of a spec document in its full form; the short forms that are also read are not described."""
    from hephaes_rpc.engine.specs.document import SpecDocument
    from hephaes_rpc.openrpc import Schemas

    schemas = Schemas("#/$defs/", "", has_text_twins=False)
    schemas.of(SpecDocument, inward=True)
    definitions = dict(sorted(schemas.components.items()))
    document = definitions.pop(SpecDocument.__name__)
    return {"$schema": SCHEMA_VERSION, "title": "Conversion spec", **document, "$defs": definitions}
