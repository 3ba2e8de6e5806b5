"""Paths that cannot be read or written end a command with a message that names them."""

from __future__ import annotations

import pytest
from tiny import edgewright, write_recipe


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ("init file", "file"),
        ("reader -o file/reader.pyz", "file"),
        ("reader -o folder", "folder"),
        ("pack file -o file/x.ewp", "file"),
        ("pack file -o folder", "folder"),
        ("keys new file/key", "file"),
        ("run recipe.toml --out file", "file"),
    ],
)
def test_a_path_that_cannot_be_written_is_bad_input(tmp_path, words, path):
    write_recipe(tmp_path)
    (tmp_path / "file").write_text("content")
    (tmp_path / "folder" / "more").mkdir(parents=True)
    done = edgewright(*words.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert f"error: {path}" in done.stderr
    assert "found: " in done.stderr
    assert (tmp_path / "file").read_text() == "content"
