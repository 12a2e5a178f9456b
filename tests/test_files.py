import pytest

from ppiscs_jax.files import output_problem, replacing


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
