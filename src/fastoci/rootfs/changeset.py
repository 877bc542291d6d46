"""One layer's changeset applied beneath a directory (image-spec layer.md, "Applying Changesets").

What is in the way is removed and never written into, so that no hard link, symbolic link or device that stands at a
path changes what is elsewhere. Whiteouts hide what lower layers have, and never what is of their own layer.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from fastoci.errors import FastociError, StoreError
from fastoci.rootfs.attributes import Attributes
from fastoci.rootfs.beneath import Beneath, EntryError, Place, split
from fastoci.rootfs.directories import Directories, implied
from fastoci.rootfs.filedata import write_data
from fastoci.rootfs.limits import Usage
from fastoci.rootfs.plainfiles import PlainFiles, WritingError
from fastoci.rootfs.walker import DIRECTORY, remove
from fastoci.spec import whiteouts
from fastoci.tar.reader import TarEntry, TarReader, shown

if TYPE_CHECKING:
    from fastoci.rootfs.owners import Owners

__all__ = ["Rootfs"]

_META = whiteouts.PREFIX + whiteouts.PREFIX  # what aufs keeps for itself

_HINTS = {
    errno.ENOSPC: "make room on that file system, or unpack elsewhere",
    errno.EDQUOT: "the quota is used up: make room, or unpack elsewhere",
    errno.EROFS: "the file system is mounted read-only: unpack elsewhere",
    errno.EPERM: "--no-same-owner gives nothing away, which only root may",
    errno.EINVAL: "inside a user namespace not every owner can be had: --no-same-owner, or --uid-map and --gid-map",
    errno.ENAMETOOLONG: "this file system takes no names of that length: unpack elsewhere",
    errno.EMFILE: "raise the number of open files, as with ulimit -n 4096",
    errno.EIO: "the disk failed: see dmesg",
}

# linux/kdev_t.h: 12 and 20 bits.
_MAJORS = 1 << 12
_MINORS = 1 << 20

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY


class Rootfs:
    """A directory onto which layers are applied, the lowest first.

    Args:
        root: A descriptor of the directory; the caller's.
        path: What to call it in errors.
        owners: Whose the files become.
        usage: What was unpacked, held against the limits.
        occupied: Whether something may be in it already.
        is_new: Whether it was made for this, and becomes what a layer without an entry for it means.
        threads: How many threads make what is plain; 0: none does, all is made by the calling one.
    """

    def __init__(
        self,
        root: int,
        path: str,
        owners: Owners,
        usage: Usage,
        *,
        occupied: bool = False,
        is_new: bool = False,
        threads: int = 2,
    ) -> None:
        self._root = root
        self._path = path
        self._usage = usage
        self._attributes = Attributes(owners)
        basis = int.from_bytes(os.urandom(8))
        self._directories = Directories(basis, is_mapping=owners.is_mapping)
        self._plain = PlainFiles(root, self._directories.engine, basis, owners, threads, occupied=occupied)
        self._beneath = Beneath(root, self._plain.settle)
        # Where there is nothing lower, nothing can be hidden, and no note of what is this layer's own is needed.
        self._is_bare = not occupied
        self._own: set[bytes] = set()
        self._last: Place | None = None
        self._count = 0
        if is_new:
            self._directories.made(root, b".", b"", implied(b""))

    @property
    def refused(self) -> dict[str, int]:
        """How often something was left out, by what it was."""
        return dict(self._attributes.refused)

    def apply(self, pieces: Iterator[bytes], layer: str) -> int:
        """Apply a layer.

        Args:
            pieces: Its tar stream; it is read to its end.
            layer: What to call it in errors, as `the layer sha256:… of NAME`.

        Returns:
            How many entries it had.

        Raises:
            InvalidImageError: It is no valid layer, reaches beyond the directory, or goes beyond a limit.
            StoreError: The disk does not take it.
        """
        reader = TarReader(pieces, layer, self._usage)
        self._attributes.layer = layer
        self._own.clear()
        self._last = None
        self._count = 0
        try:
            for entry in reader.entries(self._take):
                self._count += 1
                try:
                    self._apply(entry, reader)
                except (FastociError, WritingError):
                    raise
                except EntryError as error:
                    raise reader.fail(f"{shown(entry.path)}: {error}") from error
                except OSError as error:
                    raise self._refusal(entry.path, error) from error
            self._plain.settle()
        except WritingError as error:
            raise self._refusal(error.path, error) from error
        self._is_bare = self._is_bare and self._count == 0
        return self._count

    def finish(self) -> None:
        """Give directories their modes and times; nothing may be applied after it.

        Raises:
            StoreError: The disk does not take it.
        """
        try:
            self._directories.finish(self._root, self._attributes)
        except WritingError as error:
            raise self._refusal(error.path, error) from error
        except OSError as error:
            what = f"cannot finish the directories in {self._path}"
            raise StoreError.from_os(error, what, path=self._path) from error

    def close(self) -> None:
        """Stop the threads, and close all descriptors but the root's."""
        self._plain.close()
        self._beneath.close()

    def _take(self, piece: bytes, at: int) -> int:
        """Take plain entries; see `TarReader.entries`."""
        end, count, held, paths = self._plain.take(piece, at, self._usage.entries_left, named=not self._is_bare)
        if count:
            # A link on the way to the last path may be another one by now.
            self._beneath.forget_links()
            for path in paths:
                self._add_own(path)
            self._usage.add_entry(self._attributes.layer, count)
            self._usage.hold(self._attributes.layer, held)
            self._count += count
        return end

    def _add_own(self, path: bytes) -> None:
        """Take note that a path is this layer's, and so are the directories on the way to it."""
        while path and path not in self._own:
            self._own.add(path)
            path = path.rpartition(b"/")[0]

    def _apply(self, entry: TarEntry, reader: TarReader) -> None:
        names = split(entry.path)
        if not names:
            if entry.kind != "directory":
                raise EntryError("the root can only be a directory")
            self._remember(self._root, b".", b"", entry)
            return
        name = names.pop()
        if name.startswith(whiteouts.PREFIX):
            self._hide(names, name)
            return
        place = self._enter(names)
        path = place.child(name)
        self._plain.settle_for(path)
        if not self._is_bare:
            self._own.add(path)
        match entry.kind:
            case "file":
                self._make(place, name, lambda: self._write_file(place, name, entry, reader))
            case "directory":
                self._make_directory(place, name, path, entry)
            case "symlink":
                self._make(place, name, lambda: os.symlink(entry.target, name, dir_fd=place.fd))
                self._attributes.give_name(place.fd, name, entry)
            case "hardlink":
                self._link(place, name, entry)
            case _:
                self._make_node(place, name, entry)

    def _enter(self, names: list[bytes]) -> Place:
        """Return the directory of a path, with what was missing of it made."""
        made: list[Place] = []
        place = self._beneath.place(names, made)
        if place is self._last:
            return place
        for directory in made:
            # A single entry may have two thousand of them.
            self._usage.add_entry(self._attributes.layer)
            above = self._beneath.place(directory.names[:-1], [])
            self._remember(above.fd, directory.names[-1], directory.path, implied(directory.path))
        if made:
            place = self._beneath.place(names, [])
        self._directories.entered(place)
        if not self._is_bare:
            self._add_own(place.path)
        self._last = place
        return place

    def _make(self, place: Place, name: bytes, make: Callable[[], None]) -> None:
        """Make something of a name, once what stands there is out of the way."""
        try:
            make()
        except FileExistsError:
            self._remove(place, name)
            make()

    def _write_file(self, place: Place, name: bytes, entry: TarEntry, reader: TarReader) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=place.fd)
        try:
            if entry.size:
                write_data(fd, entry, reader.data())
            self._attributes.give(fd, entry)
        finally:
            os.close(fd)

    def _make_directory(self, place: Place, name: bytes, path: bytes, entry: TarEntry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=place.fd)
        except FileExistsError:
            status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._remove(place, name)
                os.mkdir(name, 0o700, dir_fd=place.fd)
        self._remember(place.fd, name, path, entry)

    def _remember(self, directory: int, name: bytes, path: bytes, entry: TarEntry) -> None:
        held = len(path) + sum(len(key) + len(value) for key, value in entry.xattrs.items())
        self._usage.hold(self._attributes.layer, held)
        self._directories.made(directory, name, path, entry)

    def _make_node(self, place: Place, name: bytes, entry: TarEntry) -> None:
        kind = {"fifo": stat.S_IFIFO, "character": stat.S_IFCHR, "block": stat.S_IFBLK}[entry.kind]
        major, minor = entry.device
        if major >= _MAJORS or minor >= _MINORS:
            raise EntryError(f"a device of the numbers {major}, {minor}, which no system has")
        device = os.makedev(major, minor)
        try:
            self._make(place, name, lambda: os.mknod(name, kind | 0o600, device, dir_fd=place.fd))
        except PermissionError:
            if entry.kind == "fifo":
                raise
            self._attributes.refused["devices, which only root may make"] += 1
            return
        self._attributes.give_name(place.fd, name, entry)

    def _link(self, place: Place, name: bytes, entry: TarEntry) -> None:
        target = split(entry.target)
        source = self._beneath.find(target[:-1]) if target else None
        if source is None:
            raise EntryError(f"a hard link to {shown(entry.target)}, which is not there")
        last = target[-1]
        self._plain.settle_for(source.child(last))
        try:
            there = os.stat(last, dir_fd=source.fd, follow_symlinks=False)
        except FileNotFoundError as error:
            raise EntryError(f"a hard link to {shown(entry.target)}, which is not there") from error
        if stat.S_ISDIR(there.st_mode):
            raise EntryError(f"a hard link to {shown(entry.target)}, which is a directory")
        try:
            os.link(last, name, src_dir_fd=source.fd, dst_dir_fd=place.fd, follow_symlinks=False)
        except FileExistsError:
            here = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino):
                return
            self._remove(place, name)
            # What was in the way may have held the target.
            self._link(self._again(place), name, entry)

    def _again(self, place: Place) -> Place:
        return self._beneath.place(place.names, [])

    def _remove(self, place: Place, name: bytes) -> None:
        """Remove what stands at a name, and keep the descriptor of its directory good."""
        try:
            os.unlink(name, dir_fd=place.fd)
        except FileNotFoundError:
            return
        except OSError:
            # A directory, as a rule; what else it is, is found out once more.
            self._plain.settle()
            self._forget([*place.names, name])
            remove(place.fd, name)
        else:
            self._beneath.forget_links()

    def _forget(self, names: list[bytes]) -> None:
        """Take note that a name is about to be removed, from where it really is, with all that is beneath it."""
        self._beneath.forget(names)
        self._plain.leave()
        self._last = None

    def _hide(self, names: list[bytes], name: bytes) -> None:
        """Obey a whiteout (layer.md, "Whiteouts")."""
        if name != whiteouts.OPAQUE and name.startswith(_META):
            return
        hidden = name[len(whiteouts.PREFIX) :]
        if hidden in (b"", b".", b".."):
            raise EntryError("a whiteout of no name")
        if self._is_bare:
            return
        self._plain.settle()
        place = self._beneath.find(names)
        if place is None:
            return
        self._directories.entered(place)
        if name == whiteouts.OPAQUE:
            self._clear(place.names)
        else:
            self._hide_name(place.names, place.fd, hidden)

    def _hide_name(self, names: list[bytes], directory: int, name: bytes) -> None:
        whole = [*names, name]
        if b"/".join(whole) not in self._own:
            self._forget(whole)
            remove(directory, name)
        else:
            # Of this layer, and so to stay; but not what lower layers have beneath it.
            self._clear(whole)

    def _clear(self, names: list[bytes]) -> None:
        """Remove what lower layers have in a directory; of what is no directory there is nothing."""
        left = [names]
        while left:
            here = left.pop()
            place = self._beneath.find(here)
            if place is None or place.names != here:
                continue
            fd = os.open(b".", DIRECTORY, dir_fd=place.fd)
            try:
                for text in os.listdir(fd):
                    name = os.fsencode(text)
                    whole = [*here, name]
                    if b"/".join(whole) in self._own:
                        left.append(whole)
                    else:
                        self._forget(whole)
                        remove(fd, name)
            finally:
                os.close(fd)

    def _refusal(self, name: bytes, error: OSError) -> StoreError:
        path = f"{self._path}/{shown(name).lstrip('/')}"
        return StoreError.from_os(error, f"cannot unpack {path}", path=path, hint=_hint(error))


def _hint(error: OSError) -> str | None:
    return _HINTS.get(error.errno) if error.errno is not None else None
