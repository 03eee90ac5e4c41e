"""Generate JSON schemas of configs/ from the signatures in the code, for completion and checks in an editor.

python -m {{ cookiecutter.package_name }}.engine.cli.schema     writes .vscode/schemas/; again after a change of arguments
"""

import json
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from ..arguments import Switches
from ..config.files import read_config
from ..config.modules import locate
from ..config.signatures import signature
from ..config.tree import all_nodes
from ..config.values import STRICT

Schema = dict[str, Any]
ROOT = Path(__file__).resolve().parents[3]
INTERPOLATION: Schema = {"type": "string", "pattern": r"^(\$\{|\?\?\?$)"}  # ${monitor}, or ??? for a missing value
OBJECT: Schema = {"$ref": "#/$defs/object"}


def of_type(type_: Any) -> Schema:
    """Return the schema of a type; {} if pydantic has none. A mapping may also be a node with a `_target_`."""
    try:
        schema = TypeAdapter(type_, config=STRICT).json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError, PydanticInvalidForJsonSchema):
        return {}
    if not schema or "$defs" in schema:
        return {}
    choices = [OBJECT if choice.get("type") == "object" else choice for choice in schema.get("anyOf", [schema])]
    return {"anyOf": [*choices, INTERPOLATION]}


def arguments(target: str) -> Schema:
    """Return the schema of a target's arguments; {} if its signature can't be read."""
    takes = signature(locate(target))
    if takes is None:
        return {}
    known = {name: of_type(parameter.type()) for name, parameter in takes.parameters.items()}
    own: Schema = {"_target_": {"type": "string"}, "_args_": {"type": "array"}, "_convert_": {}, "defaults": {}}
    return {"properties": {**known, **own}, "additionalProperties": takes.open}


def schemas(root: Path) -> dict[str, Schema]:
    """Return the schema of each kind of config file, by name."""
    files = {path.relative_to(root / "configs"): read_config(path) for path in root.glob("configs/**/*.yaml")}
    known = sorted({node["_target_"] for content in files.values() for _, node in all_nodes("", content)})
    cases = [
        {"if": {"properties": {"_target_": {"const": each}}, "required": ["_target_"]}, "then": arguments(each)}
        for each in known
    ]
    definition = {
        "type": ["object", "null"],
        "properties": {"_target_": {"anyOf": [{"enum": known}, {"type": "string"}]}},
        "allOf": cases,
    }
    shared: Schema = {"$schema": "http://json-schema.org/draft-07/schema#", "$defs": {"object": definition}}
    trainer = arguments(files[Path("trainer", "default.yaml")]["_target_"])
    switches = {key: of_type(type_) for key, type_ in get_type_hints(Switches, include_extras=True).items()}
    groups: Schema = {name: {"type": "object"} for name in ("model", "datamodule", "callbacks", "logger", "hydra")}
    defaults: Schema = {"defaults": {"type": "array"}}
    keys: Schema = {**switches, **groups, **defaults, "trainer": {"type": "object", **trainer}}
    own: dict[str, Schema] = {"train": {}}
    own |= {name: {key: {} for key in files[Path(f"{name}.yaml")]} for name in ("evaluate", "predict")}
    commands = {
        name: {**shared, "type": "object", "properties": {**more, **keys}, "additionalProperties": False}
        for name, more in own.items()
    }
    return {
        "object": {**shared, **OBJECT},
        "objects": {**shared, "type": "object", "additionalProperties": OBJECT},
        "trainer": {**shared, "type": "object", **trainer},
        **commands,
    }


def main() -> None:
    folder = ROOT / ".vscode" / "schemas"
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas(ROOT).items():
        (folder / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
    print(f"Schemas of configs/ are in {folder.relative_to(ROOT)}/; VS Code's YAML extension reads them.")


if __name__ == "__main__":
    main()
