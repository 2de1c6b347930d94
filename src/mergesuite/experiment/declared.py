"""What there is by name, read without importing torch.

A method declares its parameters once, as annotated `Field`s in its class body. `method_fields`
reads those lines from the source file, so that a whole spec is checked before the DAG is built
and without the seconds that importing torch takes.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from mergesuite.errors import UserError, nearest
from mergesuite.experiment.datasets import DATASET_INFO
from mergesuite.experiment.strict import explain

METHODS_FOLDER = Path(__file__).parents[1] / "methods"

CITATIONS = {
    "mega2024": "Yun: MeGA, arXiv 2406.04607 (2024)",
    "darwin2024": "Du et al.: Impacts of Darwinian Evolution on Pre-trained Deep Neural Networks, "
    "arXiv 2408.05563 (2024)",
    "cade2024": "Jiang et al.: Cosine Annealing Differential Evolution for Spiking Neural "
    "Networks, arXiv 2406.02349 (2024)",
    "sashade2024": "Evolving Neural Network's Weights at Imagenet Scale, "
    "ICLR 2024 submission 690 (2023)",
    "storn1997": "Storn & Price: Differential Evolution, J. Global Optimization 11 (1997)",
    "qin2009": "Qin, Huang & Suganthan: SaDE, IEEE Trans. Evol. Comp. 13 (2009)",
    "tanabe2013": "Tanabe & Fukunaga: SHADE, IEEE CEC (2013)",
    "awad2016": "Awad et al.: LSHADE-EpSin, IEEE CEC (2016)",
    "fan2003": "Fan & Lampinen: trigonometric mutation, J. Global Optimization 27 (2003)",
    "izmailov2018": "Izmailov et al.: Averaging Weights Leads to Wider Optima, UAI (2018)",
    "wortsman2022": "Wortsman et al.: Model Soups, ICML (2022)",
    "huang2017": "Huang et al.: Snapshot Ensembles, ICLR (2017)",
    "hansen2001": "Hansen & Ostermeier: CMA-ES, Evolutionary Computation 9 (2001)",
    "control": "a control of this suite",
}


class MethodEntry(BaseModel):
    """One registered method, as its source file declares it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: str
    cite: str
    kind: Literal["population", "one-step"]
    summary: str
    module: str
    params: type[BaseModel]


def datasets() -> dict[str, dict[str, Any]]:
    """Facts about every data set, by name."""
    return DATASET_INFO


@functools.cache
def methods() -> dict[str, MethodEntry]:
    """Every method of the methods folder, by name."""
    found: dict[str, MethodEntry] = {}
    for file in sorted(METHODS_FOLDER.glob("[!_]*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and (entry := _entry(node, file.stem, tree)):
                found[entry.name] = entry
    return dict(sorted(found.items()))


def method_fields(name: str) -> MethodEntry:
    """The entry called `name`.

    Raises:
        UserError: there is none; the nearest name is given.
    """
    known = methods()
    if name not in known:
        raise UserError(
            f"no method is called {name!r}{nearest(name, known)}; "
            "`mergesuite list methods` shows them all"
        )
    return known[name]


def check_params(name: str, params: dict[str, Any]) -> dict[str, Any]:
    """`params` of method `name` with defaults filled in.

    Raises:
        UserError: an unknown parameter or a bad value; all are listed in one line.
    """
    entry = method_fields(name)
    try:
        return entry.params.model_validate(params).model_dump()
    except ValidationError as error:
        raise UserError(
            f"method {name}: " + "; ".join(explain(error, entry.params.model_fields))
        ) from None


def _entry(node: ast.ClassDef, module: str, tree: ast.Module) -> MethodEntry | None:
    """The entry that `@method("name", cite="key")` above a class makes, if there is one."""
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "method":
            name = ast.literal_eval(call.args[0])
            cite = ast.literal_eval(call.keywords[0].value)
            classes = {c.name: c for c in tree.body if isinstance(c, ast.ClassDef)}
            fields = _fields(node, classes)
            return MethodEntry(
                name=name,
                cite=cite,
                kind="one-step" if _is_one_step(node, classes) else "population",
                summary=(ast.get_docstring(node) or "").split("\n")[0],
                module=module,
                params=create_model(
                    name, __config__=ConfigDict(extra="forbid", frozen=True), **fields
                ),
            )
    return None


def _bases(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[ast.ClassDef]:
    """The class itself after its bases from the same file, nearest last."""
    found = [
        base
        for b in node.bases
        if isinstance(b, ast.Name) and b.id in classes
        for base in _bases(classes[b.id], classes)
    ]
    return [*found, node]


def _is_one_step(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> bool:
    names = {getattr(b, "id", "") for c in _bases(node, classes) for b in c.bases}
    return not names.isdisjoint({"OneStep", "FurtherTraining"})


def _fields(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, Any]:
    """`{name: (type, FieldInfo)}` of the lines `name: type = Field(...)` in a class body."""
    scope: dict[str, Any] = {"Field": Field, "Literal": Literal}
    fields: dict[str, Any] = {}
    for cls in _bases(node, classes):
        for line in cls.body:
            if (
                isinstance(line, ast.AnnAssign)
                and isinstance(line.target, ast.Name)
                and isinstance(line.value, ast.Call)
                and getattr(line.value.func, "id", "") == "Field"
            ):
                code = [
                    compile(ast.Expression(part), "<field>", "eval")
                    for part in (line.annotation, line.value)
                ]
                fields[line.target.id] = tuple(eval(part, scope) for part in code)
    return fields


def modules(*, build: str = "", data: str = "", method: str = "") -> tuple[str, ...]:
    """The files that a network, a data set and a method bring in: see `core.digests`."""
    found = []
    if method:
        found.append(f"methods.{method_fields(method).module}")
    return tuple(found)
