"""Which files ``{open:FILE}`` may read: yours, and none that are there to be kept.

The rule. The path is that of the notebook's folder; links are followed before anything is
judged. Read are plain files below your home, the notebook's folder and the folders of
``attachments.folders``. Never read are files that hold keys by their name or place (``.ssh``,
``.env``, ``keys.toml``, ...), nor those of ``AIKI_HOME``. Every refusal is one line, and no model
is asked a question whose file is not there.
"""

from __future__ import annotations

import difflib
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path

from aiki_kernel.attachments.errors import AttachmentError

_SECRET_FOLDERS = (
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".gcloud",
    "gcloud",
    ".password-store",
    "keyrings",
    ".mozilla",
    ".thunderbird",
    ".electrum",
    ".bitcoin",
)
_SECRET_NAMES = re.compile(
    r".*\.env(?:\..*)?|\.?envrc|\.netrc|_netrc|\.pgpass|\.pypirc|\.npmrc|\.git-credentials|"
    r"\.htpasswd|\.my\.cnf|keys\.toml|credentials(?:\.\w+)?|secrets?\.(?:toml|ya?ml|json|env|txt)|"
    r"id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|g?shadow-?|.*\.(?:pem|key|p12|pfx|kdbx|jks|keystore|asc)|"
    r"\.?(?:bash|zsh|python|sqlite|psql)_history",
    re.IGNORECASE,
)
_NO_CALL = "No model was asked."


def place(path: str, folder: Path, allowed: Iterable[str], aiki_home: Path) -> Path:
    """The file that ``path`` means, links followed. Raises :class:`AttachmentError`."""
    if "://" in path:
        raise AttachmentError(
            f"{path} is an address, and only files are opened: save it beside the notebook. "
            f"{_NO_CALL}"
        )
    try:
        typed = Path(path).expanduser()
        found = Path(os.path.realpath(folder / typed))
        info = found.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise AttachmentError(_missing(path, folder)) from None
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise AttachmentError(f"{path} cannot be opened ({why}). {_NO_CALL}") from None
    for one in (typed, found):
        _refuse_secret(path, one)
    if _within(found, Path(os.path.realpath(aiki_home))):
        raise AttachmentError(
            f"{path} is in AIKI_HOME, where keys and memories are: it is not sent. {_NO_CALL}"
        )
    roots = [Path.home(), folder, *(Path(one).expanduser() for one in allowed)]
    if not any(_within(found, root) for root in map(_real, roots) if root != Path(root.anchor)):
        raise AttachmentError(
            f"{path} is outside of your home and the notebook's folder: copy it there, or allow "
            f"its folder with `aiki config set attachments.folders {found.parent}`. {_NO_CALL}"
        )
    if stat.S_ISDIR(info.st_mode):
        raise AttachmentError(f"{path} is a folder: name one file in it. {_NO_CALL}")
    if not stat.S_ISREG(info.st_mode):
        raise AttachmentError(f"{path} is no plain file: it is not read. {_NO_CALL}")
    return found


def read(path: str, found: Path, most_mb: float) -> bytes:
    """All bytes of a file. Raises :class:`AttachmentError` when it is too large or unreadable."""
    most = int(most_mb * 1e6)
    try:
        # Without waiting: a pipe may stand there by now.
        handle = os.open(found, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise AttachmentError(f"{path} is no plain file: it is not read. {_NO_CALL}")
            data = file.read(most + 1)
    except OSError as error:
        raise AttachmentError(
            f"{path} cannot be read ({error.strerror}): check its permissions. {_NO_CALL}"
        ) from None
    if len(data) > most:
        size = found.stat().st_size / 1e6
        raise AttachmentError(
            f"{path} has {size:,.1f} MB, and {most_mb:g} MB are read: attach a part of it, or "
            f"raise attachments.file_mb. {_NO_CALL}"
        )
    return data


def offers(typed: str, folder: Path, limit: int = 200) -> list[str]:
    """The paths that ``typed`` may become: Tab after ``{open:``. Folders end in a slash."""
    head, slash, prefix = typed.rpartition("/")
    start = folder / Path(f"{head}{slash}").expanduser() if slash else folder
    found = []
    try:
        with os.scandir(start) as entries:
            for entry in entries:
                name = entry.name
                if not name.startswith(prefix) or (name.startswith(".") and not prefix):
                    continue
                if _SECRET_NAMES.fullmatch(name) or name in _SECRET_FOLDERS:
                    continue
                if not set(name) & set('{}\n"'):
                    found.append(f"{head}{slash}{name}{'/' if _is_folder(entry) else ''}")
                if len(found) >= 10 * limit:
                    break
    except OSError:
        return []
    return sorted(found)[:limit]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _refuse_secret(path: str, one: Path) -> None:
    kept = [part for part in one.parts[:-1] if part.lower() in _SECRET_FOLDERS]
    if kept or _SECRET_NAMES.fullmatch(one.name) or one.name.lower() in _SECRET_FOLDERS:
        raise AttachmentError(
            f"{path} is a file in which keys are kept: it is not sent to a model. Copy what is "
            f"needed into a file of another name. {_NO_CALL}"
        )


def _missing(path: str, folder: Path) -> str:
    head, slash, _ = path.rpartition("/")
    near = difflib.get_close_matches(path, offers(f"{head}{slash}", folder), 1, 0.6)
    guess = f"; did you mean {near[0]}?" if near else ": Tab after {open: lists what is there."
    return f"There is no file {path} in {folder}{guess} {_NO_CALL}"


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))


def _within(path: Path, folder: Path) -> bool:
    return path == folder or folder in path.parents
