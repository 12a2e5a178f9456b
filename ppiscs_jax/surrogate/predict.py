"""Predict curves with the shipped surrogates."""

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import cache, partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, overload

import jax
import numpy as np
from jaxtyping import Array, Float

from ppiscs_jax.crystal import specimen_name
from ppiscs_jax.errors import InputError, as_numbers, choice_problem
from ppiscs_jax.io.npz import npz_format
from ppiscs_jax.settings import RANGES, VECTOR_ORDER, Column, Settings, column
from ppiscs_jax.settings import SPECIMEN as SPECIMEN_COLUMNS
from ppiscs_jax.simulation.curve import Curve
from ppiscs_jax.surrogate.additive import AdditiveModel
from ppiscs_jax.surrogate.additive_file import load_additive
from ppiscs_jax.surrogate.ranges import SPECIMEN, TrainedRange
from ppiscs_jax.surrogate.sensitivity import SensitiveSurrogate

ADDITIVE = "additive"
WEIGHTS = {ADDITIVE: "additive.npz", "densenet": "densenet.npz"}
"""Files of the shipped surrogates, in the folder `weights`."""

Outside = Literal["warn", "raise"]
MOST_NAMED = 5
"""Rows that a warning or an error names."""

AT_ONCE = 4096
"""Rows predicted side by side: enough for a GPU, and not too many for memory."""

COMPILED_QUICKLY: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""Options of the compiler for what runs a few times: half the time to compile, half as fast."""

SIZES = (AT_ONCE, 256, 16)
"""Numbers of rows that are compiled; fewer than the last are filled up."""


class Surrogate(Protocol):
    """Interface of surrogates: a pytree with these methods.

    Attributes:
        kind: of surrogate, in a word.
        gathers: whether it mostly looks things up, which XLA does slowly for many at once on CPUs.
    """

    kind: ClassVar[str]
    gathers: ClassVar[bool]

    def curve(self, x: Any) -> Float[Array, " n"]:
        """PPISCS [Å²] at 1, 2, … atoms, for the nine numbers of `Settings.to_vector`."""

    def standard_error(self, x: Any, curve: Any = None) -> Float[Array, " n"]:
        """Standard error of `curve` [Å²], which may be given; NaN where it is not known."""

    def error_modes(self, x: Any, standard_error: Any = None) -> Float[Array, "modes n"]:
        """Modes of the error of `curve` [Å²]; no modes if they are not known."""

    @property
    def trained_range(self) -> TrainedRange:
        """Trained range."""


class OutsideTrainedRangeWarning(UserWarning):
    """Some settings are outside what a surrogate was made for; their curves are NaN."""


@overload
def load_surrogate(name: Literal["additive"] = ...) -> AdditiveModel: ...


@overload
def load_surrogate(name: str | Path) -> Surrogate: ...


def load_surrogate(name: str | Path = ADDITIVE) -> Surrogate:
    """A surrogate that comes with the package, or one from a file.

    Args:
        name: "additive", the default of everything; "densenet", a network of the paper's kind and
            size; or a file, .npz of this package or .mat as published.

    Returns:
        A pytree with the methods `curve`, `standard_error` and `error_modes`, the additive model
        also with `beyond` and `sensitivity_curve`, to which jit, vmap and grad apply.

    Raises:
        InputError, FileNotFoundError: there is no such surrogate, or the file holds none.

    Example:
        >>> import jax
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> surrogate = pp.load_surrogate()
        >>> x = settings.to_vector()
        >>> surrogate.curve(x).shape  # Å², at 1 to 87 atoms
        (87,)
        >>> jax.jacfwd(surrogate.curve)(x.astype("float32")).shape  # its slopes in the nine numbers
        (87, 9)
    """
    path = Path(name)
    if path.suffix.lower() in (".mat", ".npz"):
        return _read(path)
    if problem := choice_problem("name", str(name), WEIGHTS):
        raise InputError(problem)
    return _shipped(str(name))


@cache
def _shipped(name: str) -> Surrogate:
    with shipped_file(name) as path:
        return _read(path)


def surrogate_for(settings: Settings, name: str = ADDITIVE) -> Surrogate:
    """A surrogate for one specimen, as `load_surrogate` gives it for all.

    Of the additive one only this specimen is read, which takes a twentieth of the time.
    """
    if name != ADDITIVE:
        return load_surrogate(name)
    return _of_specimen(settings.element_data.atomic_number, settings.zone_axis_data.code)


@cache
def _of_specimen(atomic_number: int, zone_code: int) -> Surrogate:
    with shipped_file(ADDITIVE) as path:
        return _read(path, (atomic_number, zone_code))


def shipped_file(name: str = ADDITIVE) -> AbstractContextManager[Path]:
    """The file of a shipped surrogate, a path for as long as the context lasts."""
    return as_file(files("ppiscs_jax.surrogate") / "weights" / WEIGHTS[name])


def _read(path: Path, specimen: tuple[int, int] | None = None) -> Surrogate:
    # What is read while something is traced serves later calls too.
    with jax.ensure_compile_time_eval():
        if path.suffix.lower() == ".npz" and "network" not in npz_format(path):
            return load_additive(path, specimen)
        from ppiscs_jax.surrogate.network import load_network, read_network  # Flax is slow

        return load_network(path) if path.suffix.lower() == ".npz" else read_network(path)


@overload
def predict(x: Settings, *, surrogate: Surrogate | None = ..., outside: Outside = ...) -> Curve: ...


@overload
def predict(x: Any, *, surrogate: Surrogate | None = ..., outside: Outside = ...) -> np.ndarray: ...


def predict(
    x: Any, *, surrogate: Surrogate | None = None, outside: Outside = "warn"
) -> Curve | np.ndarray | Float[Array, "*batch n"]:
    """Predict PPISCS [Å²] against thickness: a `Curve` for `Settings`, an array for arrays.

    Args:
        x: settings, a list of them, or the nine numbers of `Settings.to_vector`, (…, 9).
        surrogate: from `load_surrogate`. Default: the additive one.
        outside: how settings outside the trained range are treated. "warn": their curves are NaN,
            and a warning is issued. "raise": an `InputError` is raised.

    Returns:
        For `Settings`, a `Curve` with standard errors, as from `simulate`, at the thicknesses of
        the training data. For a list of n settings or numbers of shape (…, 9), an array of shape
        (n, 87) or (…, 87) at 1, 2, … atoms, with NaN beyond the training data. If x is traced (in
        jit, grad or vmap), the result holds JAX arrays of all thicknesses, without standard errors,
        and no warning is issued.

    Raises:
        InputError: x has another shape, holds what is not a finite number, or inner angles that
            are not below outer ones; a crystal is mistilted; a row is outside and `outside` is
            "raise".

    Example:
        >>> import ppiscs_jax as pp
        >>> settings = pp.Settings("Au", "110", 300.0, 20.0, 60.0, 200.0, rmsd_angstrom=0.085)
        >>> curve = pp.predict(settings)
        >>> print(f"{curve.ppiscs[9]:.2f} Å² at {curve.n_atoms[9]} atoms")
        0.17 Å² at 10 atoms
        >>> x = settings.to_vector()
        >>> pp.predict([x, x, x]).shape
        (3, 87)
    """
    if problem := choice_problem("outside", outside, ("warn", "raise")):
        raise InputError(problem)
    if isinstance(x, Settings):
        return _curve(surrogate_for(x) if surrogate is None else surrogate, x, outside)
    model = load_surrogate() if surrogate is None else surrogate
    if isinstance(x, jax.core.Tracer):
        if x.ndim == 1:
            return model.curve(x)
        curves = _batch(model, x.reshape(-1, 9))
        return curves.reshape(*x.shape[:-1], curves.shape[-1])
    rows = as_rows(x)
    flat = rows.reshape(-1, 9)
    _check_range(model, flat, outside)
    curves = _in_batches(model, flat.astype(np.float32))
    return curves.reshape(*rows.shape[:-1], curves.shape[-1])


def _curve(model: Surrogate, settings: Settings, outside: Outside) -> Curve:
    """The prediction for settings, as a `Curve`."""
    x = settings.to_vector()
    described: dict[str, Any] = {"settings": settings, "seed": 0, "waves": 0, "batches": 0}
    described["model"] = model.kind
    if isinstance(x, jax.core.Tracer):
        traced: Any = model.curve(x)
        atoms = np.arange(1, traced.shape[-1] + 1)
        return Curve(atoms, traced, np.full(len(atoms), np.nan), **described)
    _check_range(model, x[None], outside)
    if isinstance(model, SensitiveSurrogate):
        described["sensitivity"] = model.at(x)
    predicted = _with_errors(model, x.astype(np.float32))
    ppiscs, error, modes = (np.asarray(part, dtype=float) for part in predicted)
    known = np.isfinite(ppiscs)
    if not np.any(known):
        known = np.ones(len(ppiscs), bool)
    return Curve(
        n_atoms=np.flatnonzero(known) + 1,
        ppiscs=ppiscs[known],
        standard_error=error[known],
        error_modes=modes[:, known] if len(modes) else None,
        **described,
    )


@partial(jax.jit, compiler_options=COMPILED_QUICKLY)
def _with_errors(model: Surrogate, x: Float[Array, " 9"]) -> tuple[Array, Array, Array]:
    """Curve, standard error and error modes in one program."""
    curve = model.curve(x)
    error = model.standard_error(x, curve)
    return curve, error, model.error_modes(x, error)


@jax.jit
def _batch(model: Surrogate, x: Float[Array, "batch 9"]) -> Float[Array, "batch n"]:
    one_by_one = model.gathers and jax.default_backend() == "cpu"
    return jax.lax.map(model.curve, x, batch_size=None if one_by_one else AT_ONCE)


def _in_batches(model: Surrogate, rows: np.ndarray) -> np.ndarray:
    """Curves of rows (n, 9), some at a time, so that few sizes are ever compiled."""
    if len(rows) == 1:
        return np.asarray(model.curve(rows[0]))[None]
    parts = []
    for size in SIZES:
        least = size if size > SIZES[-1] else 1
        while len(rows) >= least:
            padded = rows[np.minimum(np.arange(size), len(rows) - 1)]
            parts.append(_batch(model, padded)[: len(rows)])
            rows = rows[size:]
    if not parts:
        n_atoms = jax.eval_shape(model.curve, jax.ShapeDtypeStruct((9,), np.float32)).shape[0]
        return np.zeros((0, n_atoms), np.float32)
    return np.concatenate([np.asarray(part) for part in parts])


def as_rows(x: Settings | Any) -> np.ndarray:
    """Settings as the nine numbers, or the numbers checked.

    Raises:
        InputError: they are not settings.
    """
    if isinstance(x, Settings):
        return x.to_vector()
    if isinstance(x, Sequence) and len(x) and all(isinstance(row, Settings) for row in x):
        return np.stack([row.to_vector() for row in x])
    order = ", ".join(VECTOR_ORDER)
    rows = as_numbers("x", x, (*(None,) * (np.ndim(x) - 1), 9), order)
    flat = rows.reshape(-1, 9)
    problems = []
    if len(bad := np.flatnonzero(~np.all(np.isfinite(flat), axis=1))):
        problems.append(f"x: {_named(bad)} must be finite numbers")
    reversed_angles = flat[:, Column.INNER_MRAD] >= flat[:, Column.OUTER_MRAD]
    if len(bad := np.flatnonzero(reversed_angles)):
        problems.append(f"x: {_named(bad)} inner_mrad must be below outer_mrad")
    if problems:
        raise InputError(problems)
    return rows


def _check_range(model: Surrogate, rows: np.ndarray, outside: Outside) -> None:
    """Warn of rows outside the trained range, or refuse them."""
    problems = outside_problems(model, rows)
    if not problems:
        return
    if outside == "raise":
        raise InputError(problems)
    message = "outside the trained range, predicted as NaN: " + "; ".join(problems)
    warnings.warn(message, OutsideTrainedRangeWarning, stacklevel=4)


def outside_problems(
    model: Surrogate,
    rows: np.ndarray,
    what: str = "row",
    numbers: Sequence[int] | None = None,
) -> list[str]:
    """Say which settings (rows, 9) are outside of what a surrogate was made for.

    Rows are named by their index, or by `what` they are and their `numbers`.
    """
    trained = model.trained_range
    if trained.holds_all(rows):
        return []
    names = np.arange(len(rows)) if numbers is None else np.asarray(numbers)
    alone = len(rows) == 1 and numbers is None
    return [
        f"{_value(rows[0], field) if alone else f'{field}: {_named(names[~inside], what)}'}"
        f" must be {trained.allowed(field)}"
        for field, inside in trained.check(rows)
        if not inside.all()
    ]


def _value(row: np.ndarray, field: str) -> str:
    """`rmsd_angstrom = 0.05 Å:` of one row, or only the field where it is several numbers."""
    if field == SPECIMEN:
        return f"{field} = {specimen_name(*row[SPECIMEN_COLUMNS])}:"
    if field not in RANGES:
        return f"{field}:"
    return f"{field} = {row[column(field)]:.6g} {RANGES[field][2]}:"


def _named(rows: np.ndarray, what: str = "row") -> str:
    """`row 3, 5`, the first few."""
    more = f" and {len(rows) - MOST_NAMED} more" if len(rows) > MOST_NAMED else ""
    return f"{what} {', '.join(map(str, rows[:MOST_NAMED]))}{more}:"
