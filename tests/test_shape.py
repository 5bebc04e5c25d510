"""The shape of the tree itself: sizes, names, sources, and where SQL may stand.

A budget may grow only in RAISED, with its reason beside it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import config

ROOT = Path(__file__).parent.parent
PACKAGES = ("config", "federation", "homeserver")
FILE_LINES, FUNCTION_LINES, PARAMETERS, PUBLIC_METHODS = 500, 60, 6, 12
RAISED: dict[str, str] = {}
"""Place -> reason, for the places that may be larger than the budget."""

BANNED = re.compile(r"(^|_)(utils?|helpers?|common|base|misc|managers?|handlers?|impl)(_|$)", re.IGNORECASE)
SPEC = re.compile(r"Spec: ([a-z0-9/-]+)#([A-Za-z0-9_-]+)")
ENDPOINT = re.compile(r"^(get|put|post|delete|options)_")
SQL = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM|CREATE TABLE)\b", re.DOTALL)


def _sources() -> Iterator[tuple[str, str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            text = path.read_text()
            yield str(path.relative_to(ROOT)), text, ast.parse(text)


def _definitions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node


def _code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the def to the end, the docstring left out: a long promise is no long function."""
    first = node.body[0]
    documented = ast.get_docstring(node) is not None and first.end_lineno is not None
    docstring = (first.end_lineno - first.lineno + 1) if documented and first.end_lineno else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def test_no_file_is_longer_than_its_budget() -> None:
    long = {place: n for place, text, _ in _sources() if (n := text.count("\n")) > FILE_LINES and place not in RAISED}
    assert not long


def test_no_function_is_longer_than_its_budget_or_takes_too_much() -> None:
    wrong = []
    for place, _, tree in _sources():
        for node in _definitions(tree):
            if isinstance(node, ast.ClassDef):
                continue
            name = f"{place}:{node.name}"
            arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
            if name not in RAISED and (_code_lines(node) > FUNCTION_LINES or len(arguments) > PARAMETERS):
                wrong.append(name)
    assert not wrong


def test_no_class_has_more_public_methods_than_its_budget() -> None:
    wrong = []
    for place, _, tree in _sources():
        for node in _definitions(tree):
            if not isinstance(node, ast.ClassDef):
                continue
            methods = [n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
            public = [
                m
                for m in methods
                if not m.name.startswith("_")
                and not any(isinstance(d, ast.Name) and d.id == "property" for d in m.decorator_list)
            ]
            if len(public) > PUBLIC_METHODS and f"{place}:{node.name}" not in RAISED:
                wrong.append((place, node.name, len(public)))
    assert not wrong


def test_names_are_nouns_of_the_field() -> None:
    banned = [place for place, _, _ in _sources() if BANNED.search(Path(place).stem)]
    banned += [
        f"{place}:{node.name}"
        for place, _, tree in _sources()
        for node in _definitions(tree)
        if isinstance(node, ast.ClassDef) and re.search(r"(Util|Helper|Manager|Handler|Base|Impl)", node.name)
    ]
    assert not banned


def test_every_anchor_named_exists_in_the_specification() -> None:
    known = set()
    for line in (ROOT / "tests/vectors/anchors.tsv").read_text().splitlines()[1:]:
        page, anchor, *_ = line.split("\t")
        known.add((page.removesuffix(".md").removesuffix("/_index"), anchor))
        if page.startswith("client-server-api/"):  # the modules are rendered into the one page
            known.add(("client-server-api", anchor))
    for event_type in (ROOT / "tests/vectors/event-types.txt").read_text().split():
        known.add(("client-server-api", event_type.replace(".", "")))
    wrong = [
        (place, page, anchor)
        for place, text, _ in _sources()
        for page, anchor in SPEC.findall(text)
        if not ENDPOINT.match(anchor) and (page, anchor) not in known
    ]
    assert not wrong


def test_sql_stands_in_storage_only() -> None:
    outside = []
    for place, _, tree in _sources():
        if place.startswith("homeserver/storage/"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value):
                outside.append(f"{place}:{node.lineno}")
    assert not outside


def test_the_settings_package_is_ours() -> None:
    assert config.__file__ is not None
    assert Path(config.__file__).is_relative_to(ROOT)
