"""The release command: its parts here, the whole of it in the long tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import release
import sbom

README = (release.ROOT / "README.md").read_text("utf-8")


def test_the_version_stands_in_one_place_and_the_changelog_tells_of_it(tmp_path: Path) -> None:
    from aiki_kernel import __version__

    assert release.stated_version() == __version__
    (tmp_path / "aiki_kernel").mkdir()
    (tmp_path / "aiki_kernel" / "version.py").write_text('__version__ = "9.9"\n')
    package = tmp_path / "widgets" / "labextension" / "package.json"
    package.parent.mkdir(parents=True)
    package.write_text('{"version": "9.8"}')
    with pytest.raises(release.ReleaseError, match=r"package\.json is not of version 9\.9"):
        release.stated_version(tmp_path)
    package.write_text('{"version": "9.9"}')
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## 9.8\n")
    with pytest.raises(release.ReleaseError, match=r"no section '## 9\.9'"):
        release.stated_version(tmp_path)


def test_the_badge_has_its_place_and_comes_once() -> None:
    first = release.with_badge(README, "kari/aiki")
    assert first.count("mybinder.org/v2/gh/kari/aiki/HEAD?urlpath=lab/tree/") == 1
    again = release.with_badge(first, "ola/aiki")
    assert again.count("[![Binder]") == 1
    assert "gh/kari" not in again
    for wrong in ("kari", "a/b/c", "https://github.com/a/b"):
        with pytest.raises(release.ReleaseError, match="OWNER/NAME"):
            release.with_badge(README, wrong)
    with pytest.raises(release.ReleaseError, match="no place"):
        release.with_badge("# Another\n", "a/b")


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("https://github.com/kari/aiki-kernel.git", "kari/aiki-kernel"),
        ("git@github.com:kari/aiki.kernel.git", "kari/aiki.kernel"),
        ("ssh://git@github.com/kari/aiki", "kari/aiki"),
        ("https://example.org/kari/aiki.git", ""),
        ("", ""),
    ],
)
def test_the_repository_is_that_of_origin(address: str, named: str, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    if address:
        words = ["git", "-C", str(tmp_path), "remote", "add", "origin", address]
        subprocess.run(words, check=True)
    assert release.origin(tmp_path) == named


def test_the_page_of_pypi_has_no_link_into_nowhere() -> None:
    text = release.absolute(README, "kari/aiki")
    assert "](https://github.com/kari/aiki/raw/HEAD/docs/images/welcome.png)" in text
    assert "](https://github.com/kari/aiki/blob/HEAD/docs/index.md)" in text
    assert not re.search(r"\]\((?!https://|#)", text)


def test_builds_that_differ_are_no_release(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "x.whl", tmp_path / "b" / "x.whl"
    for path, text in ((one, "same"), (other, "same"), (other, "other")):
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(zipfile.ZipInfo("a.py"), "same")
            wheel.writestr(zipfile.ZipInfo("b.py"), text)
        if text == "same" and path == other:
            release.compare([one], [other])
    with pytest.raises(release.ReleaseError, match=r"x\.whl differ in b\.py\."):
        release.compare([one], [other])


def test_a_wheel_without_its_notices_is_no_release(tmp_path: Path) -> None:
    wheel = tmp_path / "x.whl"
    for notices, missing in ((release.NOTICES, None), (release.NOTICES[:1], release.NOTICES[1])):
        with zipfile.ZipFile(wheel, "w") as made:
            for notice in notices:
                made.writestr(f"x-1.dist-info/{notice}", "text")
        if missing is None:
            release.judge(wheel)
    with pytest.raises(release.ReleaseError, match=f"no {missing}"):
        release.judge(wheel)
    wheel.write_bytes(bytes(release.LARGEST))
    with pytest.raises(release.ReleaseError, match="1,500,000 is most"):
        release.judge(wheel)


def test_a_list_of_parts_is_whole_and_the_same_again(tmp_path: Path) -> None:
    wheel = tmp_path / "aiki_kernel.whl"
    wheel.write_bytes(b"a wheel")
    made = sbom.document(wheel)
    assert json.dumps(made) == json.dumps(sbom.document(wheel))
    named = {part["name"] for part in made["components"]}
    assert {"numpy", "openai", "qdrant-edge-py", "jupyterlab", "traitlets"} <= named
    assert not {"pytest", "ruff"} & named
    references = {part["bom-ref"] for part in made["components"]}
    references.add(made["metadata"]["component"]["bom-ref"])
    for row in made["dependencies"]:
        assert {row["ref"], *row["dependsOn"]} <= references
    bare = [part["name"] for part in made["components"] if "licenses" not in part]
    assert not bare, f"no licence is stated by {bare}"


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_the_release_command() -> None:
    command = [sys.executable, str(release.ROOT / "tests" / "release.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "two builds: the same bytes" in done.stdout
    assert (release.DIST / "sbom.cdx.json").is_file()
