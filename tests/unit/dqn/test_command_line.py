"""How a console script ends: exit statuses of refusals, reported failures and Ctrl-C."""

import pytest

from dqn.command_line import guard
from dqn.config import ConfigError
from dqn.system.exit_status import ReportedFailure


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch):
    monkeypatch.setattr("sys.argv", ["dqn-train"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")


def raises(error):
    def application():
        raise error

    return application


def end(application, finish=None):
    with pytest.raises(SystemExit) as status:
        guard(application, program="dqn-train", config_name="train", finish=finish)
    return status.value.code


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("seed=-1: must be at least 0"), 2, "dqn-train: seed=-1: must be at least 0\n"),
        (ReportedFailure("seed=1: killed"), 1, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_ends_an_application_decides_the_status(error, status, message, capsys):
    assert end(raises(error)) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(("finish_status", "status"), [(None, 1), (143, 143)])
def test_a_status_of_the_end_replaces_that_of_a_reported_failure(finish_status, status):
    assert end(raises(ReportedFailure("")), finish=lambda: finish_status) == status


def test_other_errors_keep_their_traceback_and_the_end_still_comes():
    ends = []
    with pytest.raises(ZeroDivisionError):
        guard(
            raises(ZeroDivisionError()),
            program="dqn-train",
            config_name="train",
            finish=lambda: ends.append("came"),
        )
    assert ends == ["came"]


def test_the_end_of_a_finished_application_changes_no_status():
    guard(lambda: None, program="dqn-train", config_name="train", finish=lambda: 143)
