"""Base class of results, with export to JSON and to tables."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ppiscs_jax.errors import InputError
from ppiscs_jax.files import output_problem, replacing


@dataclass(frozen=True)
class Record(ABC):
    """A result that saves itself."""

    def contents(self) -> dict[str, Any]:
        """The values that are saved, by name; by default all attributes."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @abstractmethod
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Rows of its table, with the same keys."""

    def save(self, path: str | Path, **about: Any) -> None:
        """Write `contents` to a .json file, whole or not at all.

        Args:
            path: the file.
            about: what else the file is to say, by name; it comes first.

        Raises:
            InputError: the path cannot be written.
        """
        if problem := output_problem(path, (".json",)):
            raise InputError(problem)
        versions = {package: version(package) for package in ("ppiscs-jax", "jax", "scipy")}
        content = {**about, **self.contents(), "versions": versions}
        text = json.dumps(to_plain(content), ensure_ascii=False, indent=1, allow_nan=False)
        with replacing(Path(path)) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def to_dataframe(self) -> Any:
        """Its table as a pandas DataFrame; pandas must be installed."""
        import pandas

        return pandas.DataFrame([dict(row) for row in self.rows()])


def to_plain(value: Any) -> Any:
    """For JSON: arrays as lists, what is not a finite number as null."""
    if isinstance(value, Mapping):
        return {name: to_plain(v) for name, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [to_plain(v) for v in np.asarray(value, dtype=object).tolist()]
    return None if isinstance(value, float) and not np.isfinite(value) else value
