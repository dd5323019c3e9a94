"""The list of commands is written down so that `--help` need not import the gateway; it must say what there is."""

import subprocess
import sys

from app.cli import _MODULES, _SUMMARIES
from app.cli import app as commands
from tests.conftest import ROOT


def test_the_written_list_names_every_command_and_no_other() -> None:
    names = {one.name for one in commands.registered_commands} | {one.name for one in commands.registered_groups}
    assert names == set(_MODULES) == set(_SUMMARIES)


def test_help_imports_no_flow_and_no_model() -> None:
    look = "print('app.wiring' in sys.modules, 'spacy' in sys.modules)"
    code = f"import sys; from app.cli import main\ntry: main()\nexcept SystemExit: {look}"
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "False False"
