import pytest

from adapter_twin.version import __version__


def test_the_version_is_printed(adaptwin):
    result = adaptwin("--version")
    assert result.exit_code == 0
    assert result.stdout == f"adaptwin {__version__}\n"


def test_help_lists_every_command(adaptwin):
    result = adaptwin("--help")
    for command in ("plan", "twin", "predictor", "operator"):
        assert command in result.stdout


@pytest.mark.parametrize("command", ["twin", "predictor", "operator"])
def test_commands_of_the_packages_are_reached(adaptwin, command):
    result = adaptwin(command, "--help")
    assert result.exit_code == 0, result.output
    assert f"adaptwin {command}" in result.output or f"root {command}" in result.output


def test_an_unknown_command_is_a_usage_error(adaptwin):
    assert adaptwin("plot").exit_code == 2
