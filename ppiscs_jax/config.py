"""Config files: TOML read into pydantic models, every problem named at once."""

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ppiscs_jax.errors import MOST_LISTED, InputError, shown
from ppiscs_jax.reading import read_text

MOST_CONFIG = 64 * 2**10
"""Bytes of a config file: twenty times the longest of this package."""

_DOTTED = re.compile(r"""(?<![\w-])(?:("[^"\n]*"|'[^'\n]*'|[\w-]+)[ \t]*\.[ \t]*){20}""")
"""A key of more than twenty parts: tomllib takes a time that grows with the square of their number,
and configs have three."""


class Model(BaseModel):
    """A part of a config file. Unknown keys are errors: a misspelt one would do nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


AnyModel = TypeVar("AnyModel", bound=Model)


def load_config(path: str | Path, model: type[AnyModel]) -> AnyModel:
    """Read a TOML file into a model.

    Raises:
        InputError: the file cannot be read, or naming every unknown key, with the nearest
            valid one, and every bad value.
    """
    try:
        text = read_text(path, MOST_CONFIG)
        if _DOTTED.search(text):
            raise InputError(f"{path}: a key has more than twenty parts")
        data = tomllib.loads(text)
    except InputError as error:
        raise InputError(f"config {problem}" for problem in error.problems) from error
    except FileNotFoundError as error:
        raise InputError(f"config {error}") from error
    except RecursionError:
        raise InputError(f"config {path}: lists or tables are nested too deeply") from None
    except ValueError as error:
        raise InputError(f"config {path}: {error}") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        errors = error.errors()
        problems = [_problem(e, model) for e in errors[:MOST_LISTED]]
        if len(errors) > MOST_LISTED:
            problems[-1] = f"{len(errors) - MOST_LISTED + 1} more problems"
        raise InputError(f"config {path}: {problem}" for problem in problems) from error


def first_problem(error: ValidationError) -> str:
    """The first of what pydantic found, in one line."""
    first, *others = error.errors()
    place = ".".join(map(str, first["loc"]))
    more = f", and {len(others)} more problems" if others else ""
    return f"{place} = {shown(first['input'])}: {first['msg']}{more}"


def _problem(error: Any, model: type[BaseModel]) -> str:
    """One line on one error of pydantic: which key, what is wrong."""
    location = error["loc"]
    place = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in location).lstrip(".")
    if error["type"] == "extra_forbidden":
        valid = _keys_at(model, location[:-1])
        near = difflib.get_close_matches(str(location[-1]), valid, 1, cutoff=0.0)
        return f"{place}: unknown key" + (f"; nearest valid one: {near[0]}" if near else "")
    if error["type"] == "missing":
        return f"{place}: missing"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place} = {shown(error['input'])}: {message}" if place else message


def _keys_at(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """Valid keys of the part of a model that an error's location leads to."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            inner = _model_in(model.model_fields[part].annotation)
            if inner is None:
                return []
            model = inner
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a type is, or holds: of `list[Case] | None`, Case."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
