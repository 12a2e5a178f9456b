"""The house: imports only go down, heavy libraries stay in their rooms, modules stay small."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import ppiscs_jax

PACKAGE = Path(ppiscs_jax.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS = (
    (
        "constants",
        "types",
        "units",
        "errors",
        "files",
        "reading",
        "schema",
        "npz",
        "matfile",
        "config",
    ),
    ("crystal",),
    ("settings",),
    ("multislice",),
    ("curve",),
    ("kernel", "sampling"),
    ("plan",),
    ("accelerator",),
    ("batches",),
    ("levels",),
    ("averaging",),
    ("simulate", "differentiable", "scan"),
    ("image",),
    ("dataset",),
    ("surrogate",),
    ("inverse",),
    ("plots",),
    ("counting",),
    ("explorer", "doctor"),
    ("cli",),
)
"""Rooms, lowest floor first. Rooms of one floor may import each other."""

FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

ONLY_IN = {
    "h5py": "dataset",
    "dask": "dataset",
    "distributed": "dataset",
    "orbax": "surrogate",
    "numpyro": "inverse",
    "flax": "surrogate",
    "optax": "surrogate",
    "matplotlib": "plots",
    "typer": "cli",
    "rich": "cli",
}

LINES = 400


def room_of(module: Path) -> str:
    """The top-level module or folder of the package in which a file lies."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


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
    room = room_of(module)
    if room == "__init__":
        return
    assert room in FLOOR, f"{room} has no floor: give it one here and in CONTRIBUTING.md"
    for name in imports(module):
        top, *below = name.split(".")
        # The command line shows the package's own version.
        if top == "ppiscs_jax" and not (room == "cli" and not below):
            assert FLOOR[below[0]] <= FLOOR[room], f"{name} is above {room}"


@pytest.mark.parametrize("module", MODULES, ids=by_name)
def test_heavy_libraries_stay_in_their_rooms(module):
    tops = {name.split(".")[0] for name in imports(module)}
    for library, room in ONLY_IN.items():
        assert library not in tops or room_of(module) == room
    # The independent program that tests compare with.
    assert "abtem" not in tops


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
