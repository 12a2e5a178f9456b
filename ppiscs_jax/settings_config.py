"""Settings in configuration files: the fields of `Settings`, declared once for every config."""

from typing import Any

from ppiscs_jax.config import Model
from ppiscs_jax.settings import Settings


class _Shared(Model):
    element: str
    zone_axis: str
    voltage_kv: float
    convergence_mrad: float


class Illuminated(_Shared):
    """A specimen and its illumination, in the fields of `Settings`."""

    rmsd_angstrom: float

    def settings(self, detector_mrad: tuple[float, float], **aberrations: Any) -> Settings:
        """Settings with a detector (inner, outer) [mrad].

        Raises:
            InputError: a value is out of range.
        """
        fields: dict[str, Any] = self.model_dump(include=set(Illuminated.model_fields))
        inner, outer = detector_mrad
        return Settings(**fields, inner_mrad=inner, outer_mrad=outer, **aberrations)


class Nominal(_Shared):
    """Nominal settings, in the fields of `Settings`; rmsd_angstrom or temperature_k is needed."""

    inner_mrad: float
    outer_mrad: float
    rmsd_angstrom: float | None = None
    temperature_k: float | None = None
    c30_mm: float = 0.0
    c10_angstrom: float = 0.0

    def settings(self) -> Settings:
        """The settings; raises InputError for values out of range."""
        return Settings(**self.model_dump())
