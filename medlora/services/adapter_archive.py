"""An adapter's files out of a folder, a zip or a tar: only the kinds that are wanted, nothing beside them.

Covered: names that lead elsewhere, links and devices, a name given twice, archives that unpack to far more
than they weigh, too many or too large files, pickled weights.
"""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from medlora.errors import UserError

WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
_WANTED = {
    WEIGHTS: 8 << 30,
    SETTINGS: 1 << 20,
    "provenance.json": 8 << 20,
    "tokenizer.json": 128 << 20,
    "tokenizer_config.json": 8 << 20,
    "special_tokens_map.json": 1 << 20,
    "added_tokens.json": 8 << 20,
    "tokenizer.model": 64 << 20,
    "vocab.json": 64 << 20,
    "merges.txt": 64 << 20,
    "chat_template.jinja": 1 << 20,
    "README.md": 1 << 20,
}
_PICKLED = (".bin", ".pt", ".pth", ".pkl", ".ckpt")
_MOST_MEMBERS = 256
# Weights hardly shrink; whatever shrinks a hundredfold is a bomb or no weights.
_MOST_SHRUNK = 100
_SMALL = 1 << 20
_PIECE = 1 << 20


@dataclass(frozen=True)
class _Member:
    """One file of an archive. packed: its compressed size, None where the format does not say."""

    name: str
    size: int
    packed: int | None
    plain: bool


def unpack(source: Path, target: Path) -> None:
    """Copy the adapter's files from `source` into the folder `target`.

    Raises: UserError that says what is wrong with the source.
    """
    if source.is_dir():
        _copy_folder(source, target)
    elif zipfile.is_zipfile(source):
        with _reading(source), zipfile.ZipFile(source) as archive:
            members = [_zip_member(info) for info in archive.infolist() if not info.is_dir()]
            for member in _choose(source, members):
                with archive.open(member.name) as file:
                    _write(source, member, file, target)
    elif tarfile.is_tarfile(source):
        with _reading(source), tarfile.open(source) as archive:
            members = [_tar_member(info) for info in _tar_infos(source, archive) if not info.isdir()]
            for member in _choose(source, members):
                found = archive.extractfile(member.name)
                if found is not None:
                    with found as file:
                        _write(source, member, file, target)
    else:
        raise UserError(f"{source.name}: it is neither a folder nor a zip or tar archive; export it as a zip")


@contextmanager
def _reading(source: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, RuntimeError, NotImplementedError) as e:
        raise UserError(
            f"{source.name}: the archive cannot be read ({type(e).__name__}); fetch it again"
        ) from e


def _zip_member(info: zipfile.ZipInfo) -> _Member:
    kind = stat.S_IFMT(info.external_attr >> 16)
    return _Member(info.filename, info.file_size, info.compress_size, kind in (0, stat.S_IFREG))


def _tar_member(info: tarfile.TarInfo) -> _Member:
    return _Member(info.name, info.size, None, info.isreg())


def _tar_infos(source: Path, archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """Why one by one: reading all of a hostile archive's list could take for ever."""
    packed, infos = source.stat().st_size, []
    for info in archive:
        infos.append(info)
        if len(infos) > _MOST_MEMBERS or sum(member.size for member in infos) > _allowed(packed):
            raise UserError(f"{source.name}: the archive unpacks to far more than an adapter; it is refused")
    return infos


def _allowed(packed: int) -> int:
    return max(_SMALL * _MOST_SHRUNK, packed * _MOST_SHRUNK)


def _choose(source: Path, members: list[_Member]) -> list[_Member]:
    """The adapter's own files, all from the one folder that holds its settings.

    Raises: UserError for an archive that no honest export makes.
    """
    if len(members) > _MOST_MEMBERS:
        raise UserError(f"{source.name}: the archive holds {len(members)} files; an adapter has about ten")
    for member in members:
        path = PurePosixPath(member.name)
        outside = path.is_absolute() or ".." in path.parts or "\\" in member.name or ":" in member.name
        if outside or not member.plain:
            what = "a name that leads out of the archive" if outside else "a link or a device"
            raise UserError(f"{source.name}: the archive holds {what}; it is refused")
        shrunk = member.packed is not None and member.size > _SMALL
        if shrunk and member.size > _MOST_SHRUNK * max(1, member.packed or 0):
            raise UserError(f"{source.name}: the archive unpacks to far more than an adapter; it is refused")
    homes = [path.parent for m in members if (path := PurePosixPath(m.name)).name == SETTINGS]
    if len(homes) != 1:
        raise UserError(f"{source.name}: it must hold one {SETTINGS} (got {len(homes)})")
    inside = [member for member in members if PurePosixPath(member.name).parent == homes[0]]
    _check_names(source, [PurePosixPath(member.name).name for member in inside])
    return [member for member in inside if PurePosixPath(member.name).name in _WANTED]


def _check_names(source: Path, names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise UserError(f"{source.name}: the archive holds a file twice; it is refused")
    if SETTINGS not in names:
        raise UserError(
            f"{source.name or source}: there is no {SETTINGS}; choose the folder or the zip of one adapter"
        )
    if WEIGHTS not in names:
        pickled = any(name.endswith(_PICKLED) for name in names)
        why = "its weights are pickled, which can run code" if pickled else f"{WEIGHTS} is missing"
        raise UserError(f"{source.name}: {why}; only safetensors weights are taken")


def _copy_folder(source: Path, target: Path) -> None:
    paths = [path for path in source.iterdir() if path.is_file()]
    _check_names(source, [path.name for path in paths])
    for path in paths:
        if path.name not in _WANTED:
            continue
        if path.is_symlink():
            raise UserError(f"{source.name}: {path.name} is a link; copy the file itself")
        member = _Member(path.name, path.stat().st_size, None, True)
        with path.open("rb") as file:
            _write(source, member, file, target)


def _write(source: Path, member: _Member, file: IO[bytes], target: Path) -> None:
    """Why counted while copied: what an archive says of a size need not be so."""
    name = PurePosixPath(member.name).name
    left = min(_WANTED[name], member.size)
    if member.size > _WANTED[name]:
        raise UserError(f"{source.name}: {name} is too large (got {member.size} bytes)")
    if shutil.disk_usage(target).free < member.size + (64 << 20):
        raise UserError(f"{source.name}: the disk has no room for {name}; free some and try again")
    with (target / name).open("xb") as out:
        while piece := file.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise UserError(f"{source.name}: {name} unpacks to more than it says; it is refused")
            out.write(piece)
