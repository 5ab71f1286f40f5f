"""Files of lines: gone on with at the very byte, cut where a crash left half a line."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dqn.system.line_file import LineFile


@given(
    lines=st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))),
    num_kept=st.integers(0, 20),
    junk=st.binary(max_size=30),
)
def test_file_goes_on_from_any_position(tmp_path_factory, lines, num_kept, junk):
    path = tmp_path_factory.mktemp("lines") / "lines"
    file = LineFile(path)
    position = file.position()
    for number, line in enumerate(lines):
        file.write(line)
        if number < num_kept:
            position = file.position()
    file.close()
    with path.open("ab") as opened:
        opened.write(junk)
    resumed = LineFile(path, json.loads(json.dumps(position)))
    assert resumed.is_as_saved
    for line in lines[num_kept:]:
        resumed.write(line)
    resumed.close()
    assert path.read_bytes().decode() == "".join(line + "\n" for line in lines)


def test_without_a_position_the_file_begins_anew(tmp_path):
    (tmp_path / "lines").write_text("old\n")
    file = LineFile(tmp_path / "lines")
    file.write("new")
    file.close()
    assert (tmp_path / "lines").read_text() == "new\n"


def test_half_written_line_is_taken_back_and_written_whole_later(tmp_path, monkeypatch):
    file = LineFile(tmp_path / "lines")
    file.write("first")
    pwrite, is_full = os.pwrite, True

    def write_three_bytes_then_refuse(descriptor, data, offset):
        if not is_full:
            return pwrite(descriptor, data, offset)
        if len(data) > 3:
            return pwrite(descriptor, data[:3], offset)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", write_three_bytes_then_refuse)
    for line in ("second", "third"):
        with pytest.raises(OSError, match="No space"):
            file.write(line)
        assert (tmp_path / "lines").read_text() == "first\n"
    position = file.position()
    assert position["pending"] == "second\nthird\n"
    is_full = False
    file.flush()
    assert (tmp_path / "lines").read_text() == "first\nsecond\nthird\n"
    file.close()
    resumed = LineFile(tmp_path / "lines", position)
    resumed.flush()
    assert (tmp_path / "lines").read_text() == "first\nsecond\nthird\n"
    resumed.close()
