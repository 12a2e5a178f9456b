"""Config files: TOML read into pydantic models, every problem named at once."""

import difflib
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from ppiscs_jax.errors import InputError


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
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"config {path}: {error}") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(f"config {path}: {_problem(e, model)}" for e in error.errors()) from error


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
    return f"{place} = {error['input']!r}: {message}" if place else message


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
