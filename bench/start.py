"""From nothing to ready: warm start of the demo server, its memory after 50 searches, `--help`, and installed size; one JSON line.

With PORTCULLIS_SHARED the handbook is taken in first (by words alone: vectors are not what a start waits for), else the sample company
alone is. The baseline of the same run is a bare interpreter that imports the web framework and the model runtimes.
Run: `python bench/start.py`.
"""

import asyncio
import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distribution
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.cli.loading import LoadPlan, LoadReport, load
from app.cli.options import caller_as
from app.cli.seeding import seed
from app.settings import Settings
from app.wiring import demo_issuer, open_services
from bench.made import server
from bench.made.company import ROOT

SHARED = Path(os.environ.get("PORTCULLIS_SHARED", ROOT.parent / "shared"))
BASELINE = "import fastapi, uvicorn, sqlalchemy, onnxruntime, tokenizers, presidio_analyzer, numpy"
QUESTIONS = ("How much parental leave do I get?", "Who approves travel?", "When is the performance review?", "How do I get a laptop?")


def main() -> None:
    """Measure, print."""
    with tempfile.TemporaryDirectory(prefix="portcullis-bench-") as folder:
        print(json.dumps(measure(Path(folder) / "data")))


def measure(data: Path) -> dict[str, object]:
    """Take in the documents, then start twice: the second start counts."""
    settings = Settings(data=data, demo=True, port=server.free_port(), log_level="ERROR")
    documents = asyncio.run(take_in(settings))
    environment = {"PORTCULLIS_DATA": str(data), "PORTCULLIS_DEMO": "true"}
    with server.serving(environment, settings.port) as served:
        cold_s = served.ready_s
    with server.serving(environment, settings.port) as served:
        warm_s, rss_ready = served.ready_s, server.resident_mb(served.pid)
        connection = http.client.HTTPConnection(served.host, served.port, timeout=30)
        token = demo_issuer(settings).access_token("engineer")
        for number in range(50):
            server.search(connection, token, QUESTIONS[number % len(QUESTIONS)])
        connection.close()
        rss_used = server.resident_mb(served.pid)
    baseline_s = timed([sys.executable, "-c", BASELINE])
    return {
        "bench": "start",
        "documents": documents,
        "first_start_s": round(cold_s, 2),
        "warm_start_s": round(warm_s, 2),
        "bare_imports_s": round(baseline_s, 2),
        "ratio": round(warm_s / baseline_s, 2),
        "rss_ready_mb": round(rss_ready),
        "rss_after_50_searches_mb": round(rss_used),
        "help_s": round(min(timed([sys.executable, "-c", "from app.cli import main; main()", "--help"]) for _ in range(3)), 2),
        "models_mb": folder_mb(ROOT / "models"),
        "setup_packages_mb": packages_mb(ROOT / "requirements" / "setup.txt"),
        "load_1min": round(os.getloadavg()[0], 1),
    }


async def take_in(settings: Settings) -> int:
    """Seed the sample company and, when it is there, the handbook; returns the number of documents."""
    corpus = SHARED / "corpora" / "handbook"
    async with open_services(settings) as services:
        taken = await seed(services, is_embedding=False)
        if not corpus.is_dir():
            return taken
        report = LoadReport()
        plan = LoadPlan(corpus, tuple(sorted(corpus.rglob("*.md"))), "handbook", None, None, is_pruning=False)
        await load(services, await caller_as(services, "administrator"), plan, report, is_waiting=False)
        return taken + report.taken


def timed(command: list[str]) -> float:
    """Seconds a command takes."""
    started = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - fixed commands of this file
    return time.perf_counter() - started


def folder_mb(folder: Path) -> int:
    """Size of all files below a folder, in MB of 2**20 bytes."""
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20)


def packages_mb(lock: Path) -> int:
    """Installed size of the packages a lock names, by the records of their own installation."""
    names = [line.split("==")[0].split("[")[0] for line in lock.read_text(encoding="utf-8").splitlines() if "==" in line]
    total = 0
    for name in names:
        for file in distribution(name).files or ():
            path = Path(str(file.locate()))
            total += path.stat().st_size if path.is_file() else 0
    return round(total / 2**20)


if __name__ == "__main__":
    main()
