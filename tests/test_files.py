import errno

import pytest

from ppiscs_jax import InputError
from ppiscs_jax.files import claimed, output_problem, replacing, require_file


def test_writes_whole(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_leaves_the_old_file_after_an_error(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("old")

    def interrupted():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_output_problem_leaves_nothing(tmp_path):
    assert output_problem(tmp_path / "x.csv", (".csv",)) is None
    assert list(tmp_path.iterdir()) == []


def test_output_problems(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in output_problem(tmp_path / "folder.csv", (".csv",))
    assert "does not exist" in output_problem(tmp_path / "none" / "x.csv", (".csv",))
    assert "must end in one of .csv, .h5" in output_problem(tmp_path / "x.txt", (".csv", ".h5"))


def test_inputs_are_not_overwritten(tmp_path):
    """By another path to the same file, too."""
    path, link = tmp_path / "x.csv", tmp_path / "link.csv"
    assert output_problem(path, (".csv",), [path]) is None
    path.write_text("settings")
    link.symlink_to(path)
    for output in (path, link, tmp_path / ".." / tmp_path.name / "x.csv"):
        assert "would overwrite an input" in output_problem(output, (".csv",), [path])
    assert output_problem(path, (".csv",), [tmp_path / "none"]) is None


def test_what_is_no_file_to_read(tmp_path):
    """Bad input both, and a missing file is a FileNotFoundError as well."""
    with pytest.raises(InputError, match=r"x\.csv: no such file"):
        require_file(tmp_path / "x.csv")
    with pytest.raises(FileNotFoundError, match=r"x\.csv: no such file"):
        require_file(tmp_path / "x.csv")
    with pytest.raises(InputError, match="is a folder, not a file"):
        require_file(tmp_path)


def test_failures_name_the_file(tmp_path):
    """The one that was asked for, not the temporary one; with the system's number."""
    path = tmp_path / "x.csv"
    with pytest.raises(OSError, match=r"No space left on device: .*/x\.csv") as error:
        write_to_a_full_disk(path)
    assert error.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def write_to_a_full_disk(path):
    with replacing(path):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_folder_has_one_writer(tmp_path):
    """The next one may enter once the first has left."""
    folder = tmp_path / "new"
    for _ in range(2):
        with (
            claimed(folder),
            pytest.raises(InputError, match="another process works in it"),
            claimed(folder),
        ):
            pass


def test_a_file_system_without_locks(tmp_path, monkeypatch):
    """Flock is not implemented there, which is no other process."""
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claimed(tmp_path), pytest.raises(InputError, match="another process"), claimed(tmp_path):
        pass
    with claimed(tmp_path):
        pass
