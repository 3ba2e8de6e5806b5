"""The command line: parse and print only.

Exit codes: 0 good; 1 the verdict is no; 2 bad input or usage; 3 the device or link failed.
"""

from __future__ import annotations

import signal
import sys
from importlib import metadata
from types import FrameType
from typing import Annotated

import typer

from exporter.commands import (
    building,
    convert,
    device,
    devices,
    gate,
    inspect,
    layer_times,
    operators,
    package,
    release,
    sensitivity,
)
from exporter.errors import INSTALL_EXPORT, EdgewrightError

app = typer.Typer(
    name="edgewright",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (
    building.init,
    building.run,
    building.export,
    sensitivity.sensitivity,
    layer_times.layer_times,
    convert.convert,
    release.verify,
    package.pack,
    package.unpack,
    package.reader,
    inspect.inspect,
    operators.ops,
    device.bench,
    device.smoke,
    gate.check,
    gate.compare,
    gate.report,
    gate.history,
):
    app.command()(command)
app.add_typer(package.keys, name="keys")
app.add_typer(devices.app, name="devices")
app.command()(devices.doctor)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"edgewright {metadata.version('edgewright')}")
        raise typer.Exit


@app.callback()
def edgewright(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="print the version, and end"
        ),
    ] = False,
) -> None:
    """PyTorch vision models to int8 TFLite and ONNX Runtime files that give one answer."""


def main() -> None:
    """Run a command; errors go to stderr with what was expected, found and to do."""
    # As a CI server ends a job: what runs on devices is stopped, and work directories go.
    signal.signal(signal.SIGTERM, _end)
    try:
        app()
    except EdgewrightError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None
    except ModuleNotFoundError as error:
        print(
            f"error: this command needs the package '{error.name}'\n  to do:    {INSTALL_EXPORT}",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    except OSError as error:
        print(f"error: {_unusable(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def _unusable(error: OSError) -> EdgewrightError:
    """The error for a file or directory that cannot be read or written; no command expects it."""
    path = error.filename2 or error.filename
    return EdgewrightError(
        "a file or directory cannot be used" if path is None else f"{path} cannot be used",
        expected="files that can be read, and room to write beside them",
        found=error.strerror or str(error),
        remedy="name another path, or mend this one",
    )


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
