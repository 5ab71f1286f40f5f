"""A file that is replaced in one step, whatever lies in its way."""

import os

import pytest

from dqn.system.whole_file import replace_file


@pytest.mark.parametrize(
    "name", ["config.yaml", f".tmp-config.yaml-{os.getpid()}"], ids=["its own", "the temporary"]
)
def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path, name):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / name).symlink_to(tmp_path / "mine")
    replace_file(tmp_path / "config.yaml", b"seed: 1")
    assert (tmp_path / "mine").read_text() == "precious"
    assert not (tmp_path / "config.yaml").is_symlink()
    assert (tmp_path / "config.yaml").read_bytes() == b"seed: 1"
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "config.yaml"}
