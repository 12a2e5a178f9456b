"""Config files, and what they are refused for."""

import pytest

from ppiscs_jax import InputError
from ppiscs_jax.config import Model, load_config


class Inner(Model):
    value: float = 0.0


class Config(Model):
    number: int
    inner: Inner = Inner()


def written(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"number = 3\n[inner]\nvalue = 2.5\n",
        b"\xef\xbb\xbfnumber = 3\r\n[inner]\r\nvalue = 2.5\r\n",
        "number = 3\n[inner]\nvalue = 2.5\n".encode("utf-16"),
    ],
)
def test_byte_order_marks(tmp_path, content):
    """As editors of Windows write files."""
    assert load_config(written(tmp_path, content), Config) == Config(number=3, inner={"value": 2.5})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("number = " + 5000 * "9", "4300 digits"),
        ("[inner]\nvalue = 0x" + 9000 * "f", "inner.value = int too large to show"),
        ("number = " + 5000 * "[", "nested too deeply"),
        (30_000 * "a." + "a = 1\nnumber = 3", "a key has more than twenty parts"),
        ("[" + 15_000 * "'a'." + "a]\n", "a key has more than twenty parts"),
        ("number = '" + 5000 * "x" + "'", "number = 'x{79}…: Input should be a valid integer"),
        ("".join(f"k{i} = {i}\n" for i in range(500)), "482 more problems"),
        ("#" * 2**17, "larger than 65536 bytes"),
        ("number = 'a\x1b[2J'", "invalid character"),
        (b"number = 3\n\xff", "not a text file"),
    ],
)
def test_hostile_files_are_refused(tmp_path, content, said):
    """In a message of a few lines, whatever the file holds."""
    with pytest.raises(InputError, match=said) as error:
        load_config(written(tmp_path, content), Config)
    assert len(str(error.value)) < 6000
    with pytest.raises(InputError, match=r"none\.toml: no such file"):
        load_config(tmp_path / "none.toml", Config)
