import sys

import pytest

from adapter_twin.version import __version__

COMMANDS = (
    *("plan", "what-if", "twin", "predictor", "compare", "operator"),
    *("agent", "gateway", "load", "emulate"),
)


def test_the_version_is_printed(adaptwin):
    result = adaptwin("--version")
    assert result.exit_code == 0
    assert result.stdout == f"adaptwin {__version__}\n"


def test_help_lists_every_command(adaptwin):
    result = adaptwin("--help")
    for command in COMMANDS:
        assert command in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_packages_are_reached(adaptwin, command):
    result = adaptwin(command, "--help")
    assert result.exit_code == 0, result.output
    assert f"{command} " in result.output


def test_a_command_whose_libraries_are_missing_says_what_to_install(adaptwin, monkeypatch):
    for module in [name for name in sys.modules if name.startswith("adapter_operator.gateway")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "grpc", None)
    result = adaptwin("gateway", "bootstrap")
    assert result.exit_code == 2
    assert result.stderr == "error: grpc is not installed: pip install 'adaptwin[gateway]'\n"


def test_an_unknown_command_is_a_usage_error(adaptwin):
    assert adaptwin("plot").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("predictor", "explain", "-p", "llama-3.1-8b-instruct-h100-64gb", "--plot", "missing/tree.svg"),
        ("twin", "calibrate", "llama-3.1-8b-instruct-h100-64gb", "-o", "missing/profile.json"),
    ],
)
def test_a_file_that_cannot_be_written_is_one_sentence(adaptwin, monkeypatch, tmp_path, arguments):
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    result = adaptwin(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "missing/" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
