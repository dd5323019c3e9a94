"""Door: the command line. Every command prints text or, with --json, one JSON object; exit 0 done, 1 failed, 2 gate or usage."""

import sys

import typer

from app.cli import asking, auditing, caring, evaluating, loading, policies, running
from app.errors import PortcullisError

app = typer.Typer(
    name="portcullis",
    help="A governed knowledge gateway. Start with `portcullis demo`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (running, loading, asking, caring):
    module.register(app)
app.add_typer(policies.app, name="policy")
app.add_typer(auditing.app, name="audit")
app.add_typer(evaluating.app, name="eval")


def main() -> None:
    """Entry point. No error ends in a stack trace."""
    try:
        app()
    except PortcullisError as error:
        sys.stderr.write(f"portcullis: {error.detail}\n")
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
