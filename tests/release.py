"""The release command: ``python3 tests/release.py`` on a machine with Python, git and pip.

From the last commit it builds the source archive and the wheel twice, in two folders and with
the Mojo kernels compiled anew, and compares them byte by byte; has them judged by twine and
check-wheel-contents; installs the wheel into an empty environment, writes down what is in it
(``sbom.cdx.json``, held against CycloneDX's schema), fetches the small model and chats with the
network cut off. What came out lies in ``dist/`` with its SHA-256. Nothing is published.

The page that PyPI shows leads to the repository on GitHub that the remote ``origin`` names, with
its Binder badge; ``--repository OWNER/NAME`` names another, and writes the badge into README.md.
``--once`` skips the second build.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
TOOLS = ("build", "check-wheel-contents", "cyclonedx-python-lib[json-validation]", "twine")
NOTICES = ("licenses/LICENSE", "licenses/LICENSES/README.md")
VALID = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
with open(sys.argv[1], encoding="utf-8") as file:
    sys.exit(JsonStrictValidator(SchemaVersion.V1_6).validate_str(file.read()))
"""
"""Ends with 0, or says what in a file is not CycloneDX 1.6."""
LARGEST = 1_500_000
_BADGE = re.compile(r"(<!-- binder:[^\n]*-->\n)(?:\[!\[Binder\][^\n]*\n)?")
_RELATIVE = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


class ReleaseError(Exception):
    """Something is not fit to be released; the text says what and what to do."""


def say(text: str) -> None:
    print(f"== {text}", flush=True)


def call(*words: str | Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed. Raises ReleaseError."""
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        name = " ".join(str(word) for word in words[:4])
        raise ReleaseError(f"`{name}` ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def stated_version(root: Path = ROOT) -> str:
    """The version, from the one place where it stands. The changelog has to tell of it."""
    text = (root / "aiki_kernel" / "version.py").read_text("utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    if found is None:
        raise ReleaseError("aiki_kernel/version.py states no version.")
    # JupyterLab demands a version in the extension's own file.
    extension = json.loads((root / "widgets/labextension/package.json").read_text("utf-8"))
    if extension["version"] != found[1]:
        raise ReleaseError(f"widgets/labextension/package.json is not of version {found[1]}.")
    told = (root / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## {re.escape(found[1])}\b", told, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has no section '## {found[1]}': write it.")
    return found[1]


def origin(root: Path = ROOT) -> str:
    """OWNER/NAME of the remote ``origin`` when that is on GitHub, else nothing."""
    words = ["git", "-C", str(root), "remote", "get-url", "origin"]
    address = subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip()
    found = re.fullmatch(r".*[@/]github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?", address)
    return found[1] if found else ""


def with_badge(readme: str, repository: str) -> str:
    """README with the Binder badge of a repository in the place that is kept for it."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ReleaseError(f"{repository!r} is no repository: write OWNER/NAME.")
    address = f"https://mybinder.org/v2/gh/{repository}/HEAD"
    badge = (
        f"[![Binder](https://mybinder.org/badge_logo.svg)]"
        f"({address}?urlpath=lab/tree/notebooks/welcome.ipynb)\n"
    )
    text, changed = _BADGE.subn(lambda found: found[1] + badge, readme, count=1)
    if not changed:
        raise ReleaseError("README.md keeps no place for the badge: a comment `<!-- binder: -->`.")
    return text


def absolute(readme: str, repository: str) -> str:
    """README as PyPI shows it: links to files lead to the repository."""
    base = f"https://github.com/{repository}"

    def link(found: re.Match[str]) -> str:
        kind = "raw" if found[1] else "blob"
        return f"{found[1]}[{found[2]}]({base}/{kind}/HEAD/{found[3]})"

    return _RELATIVE.sub(link, readme)


def digest(path: Path) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def environment(folder: Path, *packages: str | Path) -> Path:
    """An empty environment with some packages; returns its folder of programs."""
    venv.create(folder, with_pip=True, clear=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    words = ["-m", "pip", "install", "-q", "--disable-pip-version-check"]
    call(programs / "python", *words, *packages)
    return programs


def export(folder: Path, repository: str, commit: str) -> None:
    """The files of a commit, and nothing that happens to lie beside them."""
    folder.mkdir(parents=True)
    archive = folder.with_suffix(".tar")
    call("git", "archive", "-o", archive, commit)
    shutil.unpack_archive(archive, folder)  # git's own, of our own files
    if repository:
        readme = folder / "README.md"
        text = absolute(with_badge(readme.read_text("utf-8"), repository), repository)
        readme.write_text(text, "utf-8")


def build(programs: Path, folder: Path, repository: str, commit: str) -> list[Path]:
    """Archive and wheel out of a folder of their own, with kernels that are compiled anew."""
    export(folder / "source", repository, commit)
    env = {"XDG_CACHE_HOME": str(folder / "cache")}
    out = folder / "out"
    call(programs / "python", "-m", "build", "-o", out, cwd=folder / "source", env=env)
    return sorted(out.iterdir())


def compare(first: list[Path], second: list[Path]) -> None:
    """Raises ReleaseError unless two builds are the same to the last byte."""
    if [path.name for path in first] != [path.name for path in second]:
        raise ReleaseError(f"Two builds made different files: {first}, {second}.")
    for one, other in zip(first, second, strict=True):
        if one.read_bytes() != other.read_bytes():
            raise ReleaseError(f"Two builds of {one.name} differ{in_members(one, other)}.")


def in_members(one: Path, other: Path) -> str:
    """Which members of two wheels differ, for whoever has to find out why."""
    if one.suffix != ".whl":
        return ""
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        facts = [
            {i.filename: (i.CRC, i.external_attr) for i in z.infolist()} for z in (first, second)
        ]
    names = sorted(dict(facts[0].items() ^ facts[1].items()))
    return f" in {', '.join(names)}" if names else " in their order or times"


def judge(wheel: Path) -> None:
    """What the wheel must be besides: small, and with its notices. Raises ReleaseError."""
    if wheel.stat().st_size >= LARGEST:
        raise ReleaseError(f"The wheel has {wheel.stat().st_size:,} bytes; {LARGEST:,} is most.")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    for notice in NOTICES:
        if not any(name.endswith(f".dist-info/{notice}") for name in names):
            raise ReleaseError(f"The wheel has no {notice}.")


def cut_off() -> tuple[list[str], dict[str, str]]:
    """Words before a program, and variables, that keep it from the network."""
    dead = "http://127.0.0.1:9"
    env = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), dead)
    unshare = shutil.which("unshare")
    if unshare:
        words = [unshare, "--user", "--map-root-user", "--net"]
        if not subprocess.run([*words, "true"], capture_output=True, check=False).returncode:
            return words, env
    return [], env


def try_out(wheel: Path, folder: Path, version: str) -> tuple[str, Path, str]:
    """Install the wheel where nothing is, and chat. Returns the answer, the SBOM and how."""
    programs = environment(folder / "empty", wheel)
    home = {"AIKI_HOME": str(folder / "home"), "XDG_RUNTIME_DIR": str(folder / "run")}
    (folder / "run").mkdir(mode=0o700)
    aiki = programs / "aiki"
    if version not in call(aiki, "--version", cwd=folder, env=home):
        raise ReleaseError(f"The installed program is not {version}.")
    if "aiki" not in call(aiki, "kernel", "list", cwd=folder, env=home):
        raise ReleaseError("Jupyter does not find the kernel of the wheel.")
    call(aiki, "model", "pull", cwd=folder, env=home)
    before, env = cut_off()
    chat = {**home, **env, "AIKI_GENERATION__MAX_TOKENS": "24", "AIKI_DAEMON": "off"}
    words = [*before, aiki, "chat", "What is a kernel? One sentence."]
    answer = call(*words, cwd=folder, env=chat).strip()
    if not answer:
        raise ReleaseError("The installed program gave no answer.")
    sbom = DIST / "sbom.cdx.json"
    sbom.write_text(call(programs / "python", ROOT / "tests" / "sbom.py", wheel), "utf-8")
    return answer, sbom, "without a network device" if before else "with a dead proxy"


def release(repository: str, once: bool) -> None:
    """All of it. Raises ReleaseError at the first thing that is wrong."""
    began = time.monotonic()
    version = stated_version()
    if repository:
        readme = ROOT / "README.md"
        readme.write_text(with_badge(readme.read_text("utf-8"), repository), "utf-8")
    repository = repository or origin()
    if not repository:
        say("no repository on GitHub is known: links on PyPI's page stay relative (--repository)")
    if call("git", "status", "--porcelain"):
        say("the work tree has changes: what is built is the last commit")
    commit, epoch = call("git", "log", "-1", "--format=%H %ct").split()
    os.environ["SOURCE_DATE_EPOCH"] = epoch
    with tempfile.TemporaryDirectory(prefix="aiki-release-") as temporary:
        work = Path(temporary)
        programs = environment(work / "tools", *TOOLS)
        say(f"building {version}")
        made = build(programs, work / "one", repository, commit)
        if not once:
            say("building it again, elsewhere")
            compare(made, build(programs, work / "another-folder" / "two", repository, commit))
        say("judging")
        call(programs / "twine", "check", "--strict", *made)
        (wheel,) = (path for path in made if path.suffix == ".whl")
        call(programs / "check-wheel-contents", wheel)
        judge(wheel)
        shutil.rmtree(DIST, ignore_errors=True)
        DIST.mkdir()
        kept = [Path(shutil.copy2(path, DIST)) for path in made]
        say("installing the wheel into an empty environment, and chatting")
        answer, sbom, how = try_out(DIST / wheel.name, work, version)
        call(programs / "python", "-c", VALID, sbom)
    kept.append(sbom)
    sums = "".join(f"{digest(path)}  {path.name}\n" for path in kept)
    (DIST / "SHA256SUMS").write_text(sums, "utf-8")
    say(f"AIKI kernel {version}, of {time.strftime('%Y-%m-%d', time.gmtime(int(epoch)))}")
    print(f"answer {how}: {' '.join(answer.split())[:200]}")
    print("two builds: " + ("not compared" if once else "the same bytes"))
    print(sums + f"in {DIST}, after {time.monotonic() - began:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests/release.py", description=__doc__)
    parser.add_argument("--repository", default="", metavar="OWNER/NAME", help="on GitHub")
    parser.add_argument("--once", action="store_true", help="do not build twice")
    asked = parser.parse_args()
    try:
        release(asked.repository, asked.once)
    except ReleaseError as error:
        sys.exit(f"NOT RELEASED: {error}")


if __name__ == "__main__":
    main()
