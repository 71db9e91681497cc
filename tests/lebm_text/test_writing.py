"""Files are complete or absent, and what is no plain file stays what it is."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lebm_text.errors import InputError
from lebm_text.store import fresh_directory, sha256_file
from lebm_text.writing import atomic_write_bytes, atomic_write_text, atomic_writer, check_writable

from .system_calls import replace_call

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX files")


def _names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_text_is_written_as_it_is(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a", "é\r\n\n")
    assert (tmp_path / "a").read_bytes() == b"\xc3\xa9\r\n\n"
    assert sha256_file(tmp_path / "a") == hashlib.sha256(b"\xc3\xa9\r\n\n").hexdigest()
    assert _names(tmp_path) == ["a"]


def test_failure_before_the_rename_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    atomic_write_text(tmp_path / "a", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert _names(tmp_path) == ["a"]


def test_mode_and_links_survive(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("old")
    target.chmod(0o640)
    (tmp_path / "link").symlink_to(target)
    atomic_write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"
    assert target.stat().st_mode & 0o777 == 0o640


def test_a_device_is_written_to_not_replaced() -> None:
    atomic_write_bytes(Path(os.devnull), b"gone")
    assert not Path(os.devnull).is_file()


def test_check_writable_names_the_problem(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    with pytest.raises(InputError, match="is a directory"):
        check_writable(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        check_writable(tmp_path / "no" / "file")


def test_a_stream_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    with atomic_writer(tmp_path / "deep" / "a") as stream:
        stream.write(b"one\n")
        stream.write(memoryview(b"two\n"))
        assert not (tmp_path / "deep" / "a").exists()
    assert (tmp_path / "deep" / "a").read_bytes() == b"one\ntwo\n"
    assert _names(tmp_path / "deep") == ["a"]


def test_an_error_within_the_block_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_writer(tmp_path / "a") as stream:
        stream.write(b"new")
        raise KeyboardInterrupt
    assert (tmp_path / "a").read_text() == "old"
    assert _names(tmp_path) == ["a"]


def test_gz_is_gzip_and_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz"):
        atomic_write_text(tmp_path / name, "text\n" * 1000)
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == b"text\n" * 1000
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert (tmp_path / "a.gz").read_bytes()[4:8] == bytes(4)  # no time


@posix
@pytest.mark.parametrize("through_link", [False, True])
def test_a_fifo_gets_all_and_stays_one(tmp_path: Path, through_link: bool) -> None:
    fifo = name = tmp_path / "fifo"
    os.mkfifo(fifo)
    if through_link:
        name = tmp_path / "link"
        name.symlink_to("fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    reader.start()
    check_writable(name)
    atomic_write_bytes(name, b"text\n" * 50_000)
    reader.join()
    assert got == [b"text\n" * 50_000]
    assert fifo.is_fifo()


@posix
@pytest.mark.parametrize("name", ["/dev/fd/{}", "/proc/self/fd/{}"])
def test_an_open_descriptor_is_written_to_where_it_stands(tmp_path: Path, name: str) -> None:
    if not Path(name.format("")).is_dir():
        pytest.skip("this system has no such names")
    with (tmp_path / "a").open("wb") as stream:
        stream.write(b"before\n")
        stream.flush()
        inode = os.fstat(stream.fileno()).st_ino
        path = Path(name.format(stream.fileno()))
        check_writable(path)
        atomic_write_bytes(path, b"new\n")
        stream.write(b"after\n")
    assert (tmp_path / "a").read_bytes() == b"before\nnew\nafter\n"
    assert (tmp_path / "a").stat().st_ino == inode
    read, write = os.pipe()
    atomic_write_bytes(Path(name.format(write)), b"to a pipe")
    assert os.read(read, 100) == b"to a pipe"
    with pytest.raises(InputError, match="reading only"):
        check_writable(Path(name.format(read)))
    os.close(read)
    os.close(write)
    with pytest.raises(InputError, match="not open"):
        check_writable(Path(name.format(write)))


@posix
def test_a_dangling_link_makes_the_file_that_it_names(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("file")
    atomic_write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


@posix
def test_links_in_a_circle_are_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(InputError, match="cannot write"):
        check_writable(tmp_path / "a")
    with pytest.raises(OSError, match="a"):
        atomic_write_bytes(tmp_path / "a", b"new")


@posix
@pytest.mark.parametrize("name", [os.fsdecode(b"caf\xe9"), "x" * 255, "a\nb", "*[a]", ".a.1.tmp"])
def test_any_name_that_the_system_takes(tmp_path: Path, name: str) -> None:
    for text in ("one", "two"):
        check_writable(tmp_path / name)
        atomic_write_text(tmp_path / name, text)
    assert (tmp_path / name).read_text() == "two"
    assert _names(tmp_path) == [name]


@posix
def test_a_full_disk_is_told_with_the_name_that_was_asked_for(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    (tmp_path / "link").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space") as caught:
        atomic_write_bytes(tmp_path / "link", b"new")
    assert caught.value.filename == str(tmp_path / "link")


@posix
def test_a_file_larger_than_the_disk_takes_leaves_nothing(tmp_path: Path) -> None:
    program = """
import resource, signal, sys
from pathlib import Path
from lebm_text.writing import atomic_write_bytes
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
try:
    atomic_write_bytes(Path(sys.argv[1]), bytes(1 << 20))
except OSError as error:
    print(error.filename)
"""
    told = subprocess.run([sys.executable, "-c", program, tmp_path / "a"], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == str(tmp_path / "a")
    assert _names(tmp_path) == []


@posix
def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    gone = 1 << 30  # no system has so many: a number that was given back may be given to another
    of_the_dead = [f".a.{gone}.tmp", f".a.{gone}-0a1b2c3d.tmp", f".a.{os.getpid()}-0a1b2c3d.tmp"]
    others = [f".b.{gone}.tmp", f".a.{os.getppid()}.tmp", ".a.tmp", ".a.old.tmp"]
    for name in of_the_dead + others:
        (tmp_path / name).touch()
    with atomic_writer(tmp_path / "a"):
        writing = set(_names(tmp_path)) - {*of_the_dead, *others}
        atomic_write_text(tmp_path / "a", "another thread's")
        assert writing <= set(_names(tmp_path))  # not swept: it is held
    assert _names(tmp_path) == sorted([*others, "a"])


@posix
def test_what_a_killed_process_left_of_a_directory_is_swept_and_nothing_else(tmp_path: Path) -> None:
    program = """
import os, signal, sys
from pathlib import Path
from lebm_text.store import fresh_directory
with fresh_directory(Path(sys.argv[1])) as fresh:
    (fresh / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program, tmp_path / "a"], check=False)
    (left,) = _names(tmp_path)
    gone = int(left.split(".")[2].split("-")[0])
    others = [f".b.{gone}-0a1b2c3d.tmp", f".a.{os.getppid()}-0a1b2c3d.tmp", f".a.{gone}.tmp", ".a.tmp"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / f".a.{gone}-4e5f6a7b.tmp").symlink_to(tmp_path / others[0])
    with fresh_directory(tmp_path / "a") as fresh:
        assert left not in _names(tmp_path)
        with fresh_directory(tmp_path / "a") as another:
            (another / "b").touch()
        (fresh / "c").touch()  # not swept: it is held
    assert _names(tmp_path / "a") == ["c"]
    assert _names(tmp_path) == sorted([*others, f".a.{gone}-4e5f6a7b.tmp", "a"])


@posix
def test_a_file_in_a_directory_that_takes_no_new_names_is_written_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old and longer")

    def refuse(target: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(target))

    monkeypatch.setattr("lebm_text.writing._temporary", refuse)
    atomic_write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    with pytest.raises(PermissionError):
        atomic_write_text(tmp_path / "b", "new")


@posix
def test_an_error_names_the_file_that_was_asked_for_not_its_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(temporary: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError) as refused:
        atomic_write_text(tmp_path / "a", "new")
    assert refused.value.filename == str(tmp_path / "a")


@posix
def test_a_mount_point_is_written_to_since_it_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("old and longer")
    inode = (tmp_path / "a").stat().st_ino

    def busy(_old: object, _new: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    replace_call(monkeypatch, "replace", busy)
    atomic_write_text(tmp_path / "a", "new")
    assert ((tmp_path / "a").read_text(), (tmp_path / "a").stat().st_ino) == ("new", inode)
    assert _names(tmp_path) == ["a"]
