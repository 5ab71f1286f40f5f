"""Who computed a run: the commit of the code, and a line for every process."""

import json
import os
import shutil
import subprocess
from importlib.metadata import version

import pytest
from helpers.tiny_runs import read_lines, tiny_config

from dqn.run import lifecycle
from dqn.run.provenance import append_provenance, code_version

RELEASED = version("rmsprop-dqn")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def git(root, *arguments):
    # Nothing of the caller's: neither the repository of a hook that tests nor settings.
    environment = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    return subprocess.run(
        ["git", *identity, *arguments],
        cwd=root,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init")
    (root / "code.py").write_text("1")
    git(root, "add", "code.py")
    git(root, "commit", "-m", "first")
    code_version.cache_clear()
    yield root
    code_version.cache_clear()


@needs_git
def test_code_of_a_checkout_is_known_by_its_commit_even_where_there_are_tags(checkout):
    git(checkout, "tag", "-a", "v9", "-m", "another name for it")
    (checkout / "notes.txt").write_text("not tracked, not code")
    head = git(checkout, "rev-parse", "HEAD")
    assert code_version(checkout) == f"{RELEASED} ({head[:12]})"


@needs_git
def test_changed_code_is_not_taken_for_its_commit(checkout):
    (checkout / "code.py").write_text("2")
    head = git(checkout, "rev-parse", "HEAD")
    assert code_version(checkout) == f"{RELEASED} ({head[:12]}-dirty)"


@needs_git
def test_asking_for_the_commit_writes_nothing_beside_who_may_be_committing(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    os.utime(checkout / "code.py", (0, 0))  # Saved again as it was: git would note that.
    index = (checkout / ".git" / "index").read_bytes()
    assert code_version(checkout) == f"{RELEASED} ({head[:12]})"
    assert (checkout / ".git" / "index").read_bytes() == index


@needs_git
def test_the_callers_repository_is_not_ours(checkout, tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init")
    head = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))  # as a hook of theirs would hand it on
    assert code_version(checkout) == f"{RELEASED} ({head[:12]})"
    # A package installed inside somebody's checkout.
    installed = checkout / "environment"
    installed.mkdir()
    assert code_version(installed) == RELEASED
    (installed / ".git").mkdir()  # and no repository for all that
    code_version.cache_clear()
    assert code_version(installed) == RELEASED


def test_without_git_the_version_is_known(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path))
    code_version.cache_clear()
    assert code_version(tmp_path) == RELEASED
    code_version.cache_clear()


def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path):
    append_provenance(tmp_path, 0, {"code": "1"})
    path = tmp_path / "provenance.jsonl"
    with path.open("a") as file:
        file.write('{"step": 50, "co')
    append_provenance(tmp_path, 100, {"code": "é"})
    first, _, last = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(first) == {"step": 0, "code": "1"}
    assert json.loads(last) == {"step": 100, "code": "é"}


def test_a_link_in_a_run_that_came_from_elsewhere_is_not_followed(tmp_path):
    (tmp_path / "mine").write_text("precious")
    (tmp_path / "provenance.jsonl").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="provenance"):
        append_provenance(tmp_path, 0, {"code": "1"})
    assert (tmp_path / "mine").read_text() == "precious"


def test_every_process_that_worked_at_a_run_has_its_line(tmp_path, monkeypatch, capsys):
    run_dir = tmp_path / "run"
    monkeypatch.setattr("dqn.run.provenance.code_version", lambda root: "1.0 (aaaa)")
    lifecycle.train(tiny_config(run_dir, "total_agent_steps=100"), label="run")
    stood_at = read_lines(run_dir / "evaluations.jsonl")[-1]["step"]
    monkeypatch.setattr("dqn.run.provenance.code_version", lambda root: "1.0 (bbbb)")
    lifecycle.train(tiny_config(run_dir, "total_agent_steps=200"), label="run")
    assert "the last bits of results may differ from now on: code 1.0 (aaaa) -> 1.0 (bbbb)" in (
        capsys.readouterr().err
    )
    lines = read_lines(run_dir / "provenance.jsonl")
    assert [(line["step"], line["code"]) for line in lines] == [
        (0, "1.0 (aaaa)"),
        (stood_at, "1.0 (bbbb)"),
    ]
    assert lines[0]["torch"] == version("torch")
    # Nothing is left to do: nobody has worked at it.
    lifecycle.train(tiny_config(run_dir, "total_agent_steps=200"), label="run")
    assert len(read_lines(run_dir / "provenance.jsonl")) == 2
    # Begun anew, it is computed by nobody else.
    lifecycle.train(tiny_config(run_dir, "overwrite=true", "total_agent_steps=100"), label="run")
    assert len(read_lines(run_dir / "provenance.jsonl")) == 1
