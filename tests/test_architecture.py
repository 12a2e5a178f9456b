"""Imports only go down, heavy libraries are imported in one folder each, modules stay small."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ppiscs_jax

PACKAGE = Path(ppiscs_jax.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

LAYERS = (
    ("constants", "types", "units", "errors", "files", "reading", "config", "progress"),
    ("crystal",),
    ("settings",),
    ("settings_config",),
    ("multislice",),
    ("simulation",),
    ("io",),
    ("plots",),
    ("campaign", "surrogate"),
    ("inverse",),
    ("counting", "interop"),
    ("explorer", "doctor"),
    ("cli",),
    ("__main__",),
)
"""Modules and folders of the package, lowest layer first."""

LAYER = {name: level for level, names in enumerate(LAYERS) for name in names}

ONLY_IN = {
    "h5py": "io",
    "dask": "campaign",
    "distributed": "campaign",
    "orbax": "surrogate",
    "numpyro": "inverse",
    "abtem": "interop",
    "ase": "interop",
    "flax": "surrogate",
    "optax": "surrogate",
    "matplotlib": "plots",
    "typer": "cli",
    "rich": "cli",
}
"""Heavy libraries, and the folder in which they are imported."""

LINES = 400


def folder_of(module: Path) -> str:
    """The top-level module or folder of the package in which a file lies."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


@cache
def imports(module: Path) -> set[str]:
    """Full names of all that a file imports, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def by_name(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


@pytest.mark.parametrize("module", MODULES, ids=by_name)
def test_imports_only_go_down(module):
    folder = folder_of(module)
    if folder == "__init__":
        return
    assert folder in LAYER, f"{folder} is in no layer: add it here and in CONTRIBUTING.md"
    for name in imports(module):
        top, *below = name.split(".")
        # The command line shows the package's own version.
        if top == "ppiscs_jax" and not (folder == "cli" and not below):
            assert LAYER[below[0]] <= LAYER[folder], f"{name} is above {folder}"


def test_no_import_cycles():
    """Modules can be put into an order in which each imports only earlier ones."""
    names = {
        ".".join(("ppiscs_jax", *m.relative_to(PACKAGE).with_suffix("").parts)): m for m in MODULES
    }
    graph = {}
    for name, module in names.items():
        used = imports(module)
        graph[name] = {other for other in names if other != name and _uses(used, other)}
    TopologicalSorter(graph).prepare()  # CycleError names the cycle


def _uses(imported: set[str], module: str) -> bool:
    return any(name == module or name.rpartition(".")[0] == module for name in imported)


@pytest.mark.parametrize("module", MODULES, ids=by_name)
def test_heavy_libraries_are_imported_in_one_folder(module):
    tops = {name.split(".")[0] for name in imports(module)}
    for library, folder in ONLY_IN.items():
        assert library not in tops or folder_of(module) == folder


def test_abtem_is_imported_lazily_in_one_module():
    """Its licence is another: nothing depends on it but what asks for it."""
    importers = [m for m in MODULES if "abtem" in {name.split(".")[0] for name in imports(m)}]
    assert list(map(by_name, importers)) == ["interop/abtem.py"]
    of_module = ast.parse(importers[0].read_text(encoding="utf-8")).body
    lines = [
        ast.unparse(node) for node in of_module if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not [line for line in lines if line.split()[1].split(".")[0] in ("abtem", "ase")]


@pytest.mark.parametrize("module", MODULES, ids=by_name)
def test_modules_are_small(module):
    assert len(module.read_text(encoding="utf-8").splitlines()) <= LINES


def test_importing_the_package_is_light():
    code = "import ppiscs_jax, sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    loaded = set(result.stdout.split())
    assert "ppiscs_jax" in loaded
    heavy = {"matplotlib", "h5py", "typer", "rich", "dask", "distributed", "flax", "abtem"}
    assert not loaded & heavy
