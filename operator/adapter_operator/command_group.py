"""The root command's group: sub-commands are imported when called, errors are one sentence."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import typer
from typer.core import TyperGroup

from adapter_twin.errors import AdaptwinError

BAD_INPUT_EXIT_CODE = 2


@dataclass(frozen=True)
class DeferredApp:
    """A typer app named by module, so that listing commands does not import numba, kopf and the rest."""

    module: str
    help: str
    extra: str = ""
    """The extra of this distribution that the app needs."""

    def load(self) -> typer.Typer:
        """The app itself."""
        try:
            app = importlib.import_module(self.module).app
        except ModuleNotFoundError as error:
            if not self.extra:
                raise
            message = f"{error.name} is not installed: pip install 'adaptwin[{self.extra}]'"
            raise AdaptwinError(message) from error
        if not isinstance(app, typer.Typer):
            raise TypeError(f"{self.module}.app is not a typer app")
        return app


class DeferringGroup(TyperGroup):
    """A group whose `deferred` sub-apps are only imported when they are called."""

    deferred: ClassVar[Mapping[str, DeferredApp]] = {}

    def list_commands(self, ctx: Any) -> list[str]:
        """Own commands first, then the deferred ones."""
        return [*super().list_commands(ctx), *self.deferred]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command; a deferred app is stood for by its name and help, enough for listings."""
        if cmd_name in self.deferred:
            return TyperGroup(name=cmd_name, help=self.deferred[cmd_name].help)
        return super().get_command(ctx, cmd_name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command to call: here a deferred app is imported."""
        name = args[0]
        if name not in self.deferred:
            return super().resolve_command(ctx, args)
        command = typer.main.get_command(_explicit_group(self.deferred[name].load()))
        command.name = name
        return name, command, args[1:]

    def invoke(self, ctx: Any) -> Any:
        """Run; anything the user can mend is printed as one sentence each."""
        return report_errors(lambda: super(DeferringGroup, self).invoke(ctx))


def report_errors(run: Callable[[], Any]) -> Any:
    """Run something; print what the user can mend as `error: …` on stderr and exit with code 2.

    That is every AdaptwinError, and every file or folder that cannot be read or written.
    """
    try:
        return run()
    except AdaptwinError as error:
        for problem in str(error).splitlines():
            typer.echo(f"error: {problem}", err=True)
        raise typer.Exit(BAD_INPUT_EXIT_CODE) from error
    except OSError as error:
        if error.filename is None:
            raise
        typer.echo(f"error: {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(BAD_INPUT_EXIT_CODE) from error


def _explicit_group(app: typer.Typer) -> typer.Typer:
    """An app with a callback, which typer always treats as a group, also if it has one command only."""
    if app.registered_callback is None:
        app.callback()(_no_options)
    return app


def _no_options() -> None:
    """Stand for a group that has no options of its own."""
