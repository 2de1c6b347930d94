"""The JSON schema of paper.yaml, for editors: made from the models of `spec`, not written by hand.

`python -m mergesuite.experiment.schema > workflow/schemas/paper.schema.json` makes it again. It
knows the shorthands too (`shorthand`), so it asks for less than loading does: what `like` brings in
is not seen here. Whatever loads is valid by it; whether names lead somewhere only loading knows, so
a new method or data set leaves the file as it is.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from mergesuite.experiment import shorthand
from mergesuite.experiment.spec import OVERLAYS, Paper

Schema = dict[str, Any]

LIKE: Schema = {
    "type": "string",
    "description": "takes over the values of shared.NAME; what stands beside it is laid over them",
}
SHARED: Schema = {
    "type": "object",
    "additionalProperties": {"type": "object"},
    "description": "named values that any mapping takes over with `like: NAME`",
}
OVER: Schema = {
    "type": "object",
    "additionalProperties": {
        "type": "object",
        "additionalProperties": {"type": ["string", "number"]},
    },
    "description": "one claim CLAIM-ROW for each row; every {word} of the claim is filled in from "
    "the row; {row} is the name of the row, {name} that of the claim",
}


def schema() -> Schema:
    """The schema: the base is a whole experiment, a profile any part of one."""
    base, overlay = _definitions("base", whole=True), _definitions("overlay", whole=False)
    paper = base.pop("base.Paper")
    paper["properties"]["profiles"] = {
        "type": "object",
        "description": "laid over the base: mappings merge, anything else replaces, null removes",
        "properties": {name: {"$ref": "#/$defs/overlay.Paper"} for name in OVERLAYS},
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **paper,
        "$defs": {**base, **overlay},
    }


def _definitions(kind: str, *, whole: bool) -> dict[str, Schema]:
    """Every model as `KIND.NAME`, with the shorthands; of a whole one, required keys are asked."""
    made = Paper.model_json_schema()
    found = {"Paper": {k: v for k, v in made.items() if k != "$defs"}, **made["$defs"]}
    controls = shorthand.Controls.model_json_schema()
    found["Controls"] = {k: v for k, v in controls.items() if k != "$defs"}
    found["Paper"]["properties"] |= {
        "shared": SHARED,
        "controls": {"$ref": "#/$defs/Controls", "description": found["Controls"]["description"]},
    }
    found["Claim"]["properties"]["over"] = OVER
    for name in ("subject", "against", "split"):  # a {word} may stand in them
        found["Claim"]["properties"][name] = {
            "type": "string",
            "description": found["Claim"]["properties"][name]["description"],
        }
    return {f"{kind}.{name}": _relaxed(entry, kind, name, whole) for name, entry in found.items()}


def _relaxed(entry: Schema, kind: str, name: str, whole: bool) -> Schema:
    """One model's schema with `like`, with nulls, and without what another place may say."""
    made: Schema = _referring(entry, kind)
    required = made.pop("required", [])
    if made.get("type") != "object":
        return made
    made["properties"] = {k: _nullable(v) for k, v in made["properties"].items()}
    if name == "Paper":
        return {**made, "required": [k for k in required if k != "methods"]} if whole else made
    made["properties"]["like"] = LIKE
    if whole and required and name != "Method":  # a control's `use` is known without being said
        made["anyOf"] = [{"required": required}, {"required": ["like"]}]
    return made


def _referring(value: Any, kind: str) -> Any:
    """`value` with references to the definitions of `kind`, and without titles."""
    if isinstance(value, list):
        return [_referring(part, kind) for part in value]
    if not isinstance(value, dict):
        return value
    return {
        key: part.replace("#/$defs/", f"#/$defs/{kind}.")
        if key == "$ref"
        else _referring(part, kind)
        for key, part in value.items()
        if key not in ("title", "flag") or not isinstance(part, str)
    }


def _nullable(value: Schema) -> Schema:
    """A property that may be null too, and so may every entry of a table."""
    null = {"type": "null"}
    if tables := value.get("patternProperties"):
        entries = {name: {"anyOf": [entry, null]} for name, entry in tables.items()}
        return {**value, "patternProperties": entries, "additionalProperties": False}
    if "$ref" in value:
        rest = {key: part for key, part in value.items() if key != "$ref"}
        return {"anyOf": [{"$ref": value["$ref"]}, null], **rest}
    if "type" not in value:
        return value
    made = {**value, "type": [value["type"], "null"]}
    return {**made, "enum": [*value["enum"], None]} if "enum" in value else made


def text() -> str:
    """The schema as it is written to its file."""
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
