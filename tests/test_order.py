"""The package imports one way: each module only what is listed above it in `helpers/__init__.py`."""

import ast
import re

import pytest
from conftest import ROOT

PACKAGE = ROOT / "helpers"


def listed(package) -> list[str]:
    """The modules in the order of the package's docstring."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    return re.findall(r"^(\w+) {2,}\S", text, re.MULTILINE)


def modules(package) -> dict[str, list]:
    """Name -> its files: one for a module, all of them for a package within."""
    found = {path.stem: [path] for path in package.glob("*.py") if path.stem != "__init__"}
    return found | {path.parent.name: list(path.parent.glob("*.py")) for path in package.glob("*/__init__.py")}


def imports(package, path) -> set[str]:
    """The modules of the package that a file imports, wherever in it."""
    depth = len(path.parent.relative_to(package.parent).parts)  # 1 for a module, 2 for one in a package within
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
            found |= {name.split(".")[1] for name in names if name.startswith(f"{package.name}.")}
        elif isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".") if node.module else []
            if node.level == depth or (node.level == 0 and parts[:1] == [package.name]):
                parts = parts if node.level else parts[1:]
                found |= {parts[0]} if parts else {alias.name for alias in node.names}
    return found


def violations(package) -> list[str]:
    order = listed(package)
    return [
        f"{name} imports {other}"
        for name, files in modules(package).items()
        for path in files
        for other in sorted(imports(package, path))
        if name not in order or other not in order[: order.index(name)]
    ]


def test_the_list_names_every_module_once():
    assert sorted(listed(PACKAGE)) == sorted(modules(PACKAGE))


def test_every_module_imports_only_what_is_listed_above_it():
    assert violations(PACKAGE) == []


@pytest.mark.parametrize("name", ["lens", "measure", "direction", "widgets"])
def test_how_a_model_refuses_is_its_bots_own_affair(name):
    assert "REFUSAL" not in (PACKAGE / f"{name}.py").read_text(encoding="utf-8")


# --- the checker itself ---------------------------------------------------------------------------


@pytest.fixture
def made(tmp_path):
    """A package of three modules, the last one a package itself."""
    package = tmp_path / "made"
    (package / "roof").mkdir(parents=True)
    (package / "__init__.py").write_text('"""A house.\n\nfloor     below\nwall      between\nroof      above\n"""\n')
    (package / "floor.py").write_text("import os\n")
    (package / "wall.py").write_text("from . import floor\nfrom .floor import os\n")
    (package / "roof" / "__init__.py").write_text("from .tile import RED\n")
    (package / "roof" / "tile.py").write_text("from ..wall import floor\nRED = 1\n")
    return package


def test_a_house_in_order_has_no_violation(made):
    assert violations(made) == [] and listed(made) == ["floor", "wall", "roof"] == sorted(
        modules(made), key=listed(made).index
    )


@pytest.mark.parametrize(
    "line",
    [
        "from . import wall",
        "from .wall import x",
        "from .wall.door import x",
        "import made.wall",
        "from made import wall",
        "from made.wall import x",
        "def f():\n    from . import wall",
        "try:\n    from . import wall\nexcept ImportError:\n    pass",
    ],
)
def test_an_import_from_above_is_found(made, line):
    (made / "floor.py").write_text(line + "\n")
    assert violations(made) == ["floor imports wall"]


def test_an_import_from_above_by_a_package_within_is_found(made):
    (made / "__init__.py").write_text('"""A house.\n\nfloor     below\nroof      above\nwall      between\n"""\n')
    assert violations(made) == ["roof imports wall"]
