import pytest

from ppiscs_jax import InputError
from ppiscs_jax.units import parse_fraction, parse_pair


@pytest.mark.parametrize(
    ("text", "value"), [("0.5%", 0.005), ("0.005", 0.005), (" 20 % ", 0.2), ("1", 1.0)]
)
def test_fraction(text, value):
    assert parse_fraction(text, "error") == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize("text", ["", "%", "abc", "0", "-1%", "nan", "inf", "150%", "0.5%%"])
def test_bad_fraction_names_the_field(text):
    with pytest.raises(InputError, match=r"^error = "):
        parse_fraction(text, "error")


def test_pair():
    assert parse_pair("60 200.5", "detector", "mrad") == (60.0, 200.5)


@pytest.mark.parametrize("text", ["", "60", "60 200 300", "60 x"])
def test_bad_pair_names_field_and_unit(text):
    with pytest.raises(InputError, match=r"^detector = .*two numbers \[mrad\]"):
        parse_pair(text, "detector", "mrad")
