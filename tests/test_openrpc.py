"""The document says what the server takes and gives."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest
from attrs import field, frozen, validators
from referencing import Registry as Documents
from referencing.jsonschema import DRAFT7

from hephaes_rpc.context import RequestContext
from hephaes_rpc.errors import KINDS
from hephaes_rpc.glossary import MEANINGS
from hephaes_rpc.methods import register_all
from hephaes_rpc.openrpc import Schemas, document, recorded
from hephaes_rpc.registry import REGISTRY, Lane, Registry

register_all()
DOCUMENT = document()
PUBLISHED = Path(__file__).parent / "data" / "openrpc"


@frozen
class Leaf:
    """A leaf."""

    kind: Literal["leaf"]
    size: float


@frozen
class Tree:
    """A tree.

    It has more to say.
    """

    kind: Literal["tree"]
    children: list["Tree | Leaf"] = field(factory=list)


@frozen
class Everything:
    """All sorts."""

    name: str = field(validator=[validators.min_len(1), validators.max_len(80)], metadata={"doc": "what it is called"})
    seen_ns: int
    limit: int = field(default=100, validator=[validators.ge(1), validators.le(500)])
    ratio: float | None = field(default=None, validator=validators.optional([validators.gt(0), validators.lt(1)]))
    stamps_ns: list[int] | None = None
    tree: Tree | Leaf | None = None
    when: datetime | None = None
    level: Literal["low", "high"] = "low"
    free: Any = None
    table: dict[str, int] = field(factory=dict)
    code: str = field(default="a", validator=validators.matches_re("[a-z]"))
    wide: int = field(default=0, validator=validators.le(2**63 - 1))


def test_every_method_and_notification_is_in_it() -> None:
    names = [method["name"] for method in DOCUMENT["methods"]]
    assert sorted(names) == sorted([*REGISTRY.methods, *REGISTRY.outgoing])
    assert names[:2] == ["initialize", "initialized"]
    assert len(names) == len(set(names))
    for method in DOCUMENT["methods"]:
        outgoing = method["name"] in REGISTRY.outgoing
        notification = outgoing or REGISTRY.methods[method["name"]].notification
        is_request = outgoing and REGISTRY.outgoing[method["name"]].request
        assert ("result" not in method) == (notification and not is_request)
        assert (method.get("x-direction") == "server-to-client") == outgoing
        assert method["paramStructure"] == "by-name"
        assert method["summary"]
        required = [param["required"] for param in method["params"]]
        assert required == sorted(required, reverse=True)


def test_every_param_is_described() -> None:
    silent = [
        (method["name"], param["name"])
        for method in DOCUMENT["methods"]
        for param in method["params"]
        if not param.get("description")
    ]
    assert silent == []


def test_every_entry_of_the_glossary_is_used() -> None:
    text = json.dumps(DOCUMENT)
    assert [name for name, meaning in MEANINGS.items() if json.dumps(meaning) not in text] == []


def test_every_kind_of_error_is_in_it() -> None:
    errors = DOCUMENT["components"]["errors"]
    assert {kind: error["code"] for kind, error in errors.items()} == {
        kind: known.code for kind, known in KINDS.items()
    }


def test_it_is_valid_by_the_published_schema_of_openrpc() -> None:
    published, drafts = (
        json.loads((PUBLISHED / name).read_bytes()) for name in ("schema-1.3.json", "json-schema-draft-7.json")
    )
    resource = DRAFT7.create_resource(drafts)
    known = Documents().with_resources((f"https://meta.json-schema.tools{end}", resource) for end in ("", "/"))
    validator = jsonschema.Draft7Validator(published, registry=known)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(DOCUMENT)] == []
    broken = {**DOCUMENT, "methods": [{"name": "a"}]}
    assert not validator.is_valid(broken)


def test_every_schema_is_of_draft_7() -> None:
    described = [param["schema"] for method in DOCUMENT["methods"] for param in method["params"]]
    described += [method["result"]["schema"] for method in DOCUMENT["methods"] if "result" in method]
    for schema in (*described, *DOCUMENT["components"]["schemas"].values()):
        jsonschema.Draft7Validator.check_schema(schema)


def judge(schema: Any, value: Any, where: str) -> None:
    """Hold a value against a schema of the document."""
    validator = jsonschema.Draft7Validator({**schema, "components": DOCUMENT["components"]})
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)] == [], where


def test_recorded_calls_fit_their_schemas() -> None:
    methods = {method["name"]: method for method in DOCUMENT["methods"]}
    for name, calls in recorded().items():
        method = methods[name]
        params = {param["name"]: param for param in method["params"]}
        for call in calls:
            where = f"{name}, {call['name']}"
            if "error" in call:
                kind = call["error"]["data"]["kind"]
                judge(DOCUMENT["x-error-data"], call["error"]["data"], where)
                assert {"$ref": f"#/components/errors/{kind}"} in method["errors"], where
                assert call["error"]["code"] == KINDS[kind].code
                continue
            assert call["params"].keys() <= params.keys(), where
            assert {n for n, param in params.items() if param["required"]} <= call["params"].keys(), where
            for param, value in call["params"].items():
                judge(params[param]["schema"], value, f"{where}: {param}")
            if "result" in call:
                judge(method["result"]["schema"], call["result"], where)


def test_every_reference_leads_somewhere_and_every_schema_is_used() -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return found + [ref for item in value.values() for ref in references(item)]
        return [ref for item in value for ref in references(item)] if isinstance(value, list) else []

    found = set(references(DOCUMENT))
    known = {f"#/components/{part}/{name}" for part, table in DOCUMENT["components"].items() for name in table}
    assert found <= known
    assert {ref for ref in known if "/schemas/" in ref} <= found


def test_a_class_is_rendered_once_for_each_direction() -> None:
    schemas = Schemas()
    assert schemas.of(Everything, inward=True) == {"$ref": "#/components/schemas/EverythingInput"}
    assert schemas.of(Everything, inward=False) == {"$ref": "#/components/schemas/Everything"}
    inward, outward = schemas.components["EverythingInput"], schemas.components["Everything"]
    assert inward["required"] == ["name"]
    assert inward["allOf"] == [{"anyOf": [{"required": ["seen_ns"]}, {"required": ["seen_ns_str"]}]}]
    assert inward["additionalProperties"] is False
    assert outward["required"] == list(outward["properties"])
    assert "additionalProperties" not in outward
    properties = inward["properties"]
    text = {"type": "string", "pattern": "^-?[0-9]+$"}
    assert properties["name"] == {
        "type": "string",
        "minLength": 1,
        "maxLength": 80,
        "description": "what it is called",
    }
    assert properties["seen_ns"] == {"type": "integer"}
    assert properties["seen_ns_str"] == text
    assert properties["limit"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}
    assert properties["ratio"] == {
        "type": ["number", "null"],
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 1,
        "default": None,
    }
    assert properties["stamps_ns_str"] == {"anyOf": [{"type": "array", "items": text}, {"type": "null"}]}
    assert properties["when"]["anyOf"] == [{"type": "string", "format": "date-time"}, {"type": "null"}]
    assert properties["level"] == {"type": "string", "enum": ["low", "high"], "default": "low"}
    assert properties["free"] == {"default": None}
    assert properties["table"] == {"type": "object", "additionalProperties": {"type": "integer"}, "default": {}}
    assert properties["code"]["pattern"] == "[a-z]"
    assert "maximum" not in properties["wide"]
    assert properties["tree"]["anyOf"][:2] == [
        {"allOf": [{"$ref": "#/components/schemas/TreeInput"}, {"required": ["kind"]}]},
        {"allOf": [{"$ref": "#/components/schemas/LeafInput"}, {"required": ["kind"]}]},
    ]
    children = schemas.components["Tree"]["properties"]["children"]
    assert children["items"]["anyOf"][0] == {"$ref": "#/components/schemas/Tree"}
    assert schemas.components["Tree"]["description"] == "A tree."


def test_what_has_no_schema_is_refused() -> None:
    with pytest.raises(TypeError, match="no JSON Schema"):
        Schemas().of(set[int], inward=False)
    schemas = Schemas()
    schemas.of(Leaf, inward=False)
    twin = type("Leaf", (), {"__annotations__": {"x": int}})
    with pytest.raises(TypeError, match="two classes"):
        schemas.of(frozen(twin), inward=False)


def test_methods_with_progress_take_a_token() -> None:
    registry = Registry()

    @registry.method("a/b", params=Leaf, result=list[Tree], errors=("asset_not_found",), lane=Lane.LONG, progress=True)
    async def handler(ctx: RequestContext, params: Leaf) -> list[Tree]:
        """Grow.

        Slowly.
        """
        return []

    registry.sends("window/ask", Leaf, "A question.", request=True)
    method, question = document(registry)["methods"]
    assert (method["summary"], method["description"]) == ("Grow.", "Slowly.")
    assert [param["name"] for param in method["params"]] == ["kind", "size", "workDoneToken"]
    assert method["params"][-1]["schema"] == {"type": ["string", "integer"]}
    kinds = [error["$ref"].rpartition("/")[2] for error in method["errors"]]
    assert {"invalid_params", "bug", "cancelled", "not_initialized", "asset_not_found"} <= set(kinds)
    assert question["x-request"] is True
    assert question["x-direction"] == "server-to-client"
