"""The manifest of a packed episode: which program wrote it, how its streams are stored, and its files."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from model.errors import EpisodeError, UnsafeFileError
from trainer.files import (
    MANIFEST,
    FileEntry,
    FolderKind,
    check_hash,
    is_sha256,
    listed_files,
    new_folder,
    read_checked,
    read_manifest,
)

from .schema import ENCODINGS, SCHEMA, VERSION, Encoding

PACKED_EPISODE = FolderKind(
    name="a packed episode", remedy="copy or pack the episode again", error=EpisodeError, unsafe=UnsafeFileError
)


@dataclass(frozen=True, kw_only=True)
class EpisodeManifest:
    """The content of manifest.json.

    Attributes:
        folder: Where it lies.
        encoding: How the streams are stored.
        content_hash: sha256 of the recording itself; the same in both encodings (see `content.content_hash`).
        files: Every other file of the folder.
    """

    folder: Path
    encoding: Encoding
    content_hash: str
    files: dict[str, FileEntry]

    def read_checked(self, name: str) -> bytes:
        """Reads a whole small file and compares its sha256 with the manifest's."""
        return read_checked(self.folder / name, self._entry(name), PACKED_EPISODE)

    def check_hash(self, name: str) -> None:
        """As `read_checked`, but streams the file and returns nothing."""
        check_hash(self.folder / name, self._entry(name), PACKED_EPISODE)

    def _entry(self, name: str) -> FileEntry:
        if name not in self.files:
            raise EpisodeError(f"{self.folder / MANIFEST}: does not name '{name}'; this episode is incomplete")
        return self.files[name]


def new_episode_folder(
    folder: Path, encoding: Encoding, content_hash: str, *, durable: bool = True
) -> AbstractContextManager[Path]:
    """`trainer.files.new_folder` with the manifest of a packed episode.

    Raises:
        EpisodeError: When `folder` exists already (and is not an empty folder).
    """
    facts = {"schema": SCHEMA, "version": VERSION, "encoding": encoding, "content_hash": content_hash}
    return new_folder(folder, facts, EpisodeError, durable=durable)


def read_episode_manifest(folder: Path) -> EpisodeManifest:
    """Reads manifest.json and checks that every file it names is there with its size. Hashes are not computed.

    Raises:
        EpisodeError: Not a packed episode, another version, or a file missing or truncated.
        UnsafeFileError: The manifest names files outside its folder.
    """
    where = folder / MANIFEST
    fields = read_manifest(folder, PACKED_EPISODE)
    if fields.get("schema") != SCHEMA:
        raise EpisodeError(f"{where}: field 'schema' is {fields.get('schema')!r:.60}, not '{SCHEMA}'")
    if fields.get("version") != VERSION:
        raise EpisodeError(
            f"{where}: field 'version' is {fields.get('version')!r:.60}, this program reads {VERSION}; pack it again"
        )
    encoding: Encoding | None = next((known for known in ENCODINGS if known == fields.get("encoding")), None)
    if encoding is None:
        raise EpisodeError(f"{where}: field 'encoding' is {fields.get('encoding')!r:.60}, not {' or '.join(ENCODINGS)}")
    content_hash = fields.get("content_hash")
    if not is_sha256(content_hash):
        raise EpisodeError(f"{where}: field 'content_hash' is not a sha256")
    listed = listed_files(folder, fields, PACKED_EPISODE)
    return EpisodeManifest(folder=folder, encoding=encoding, content_hash=content_hash, files=listed)
