"""Opening and renaming below a directory, so that no symlink and no `..` leads out of it.

`openat2` with RESOLVE_BENEATH (openat2(2), Linux 5.6) lets the kernel decide, race-free. Where it is missing every
step is opened by itself and no symlink is followed at all.
"""

from __future__ import annotations

import ctypes
import errno
import os

# The same number on every architecture (Linux, include/uapi/asm-generic/unistd.h).
_OPENAT2 = 437
_NO_MAGICLINKS, _BENEATH = 0x02, 0x08
_NOREPLACE = 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_libc = ctypes.CDLL(None, use_errno=True)


class _How(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def open_beneath(root: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open a relative path below the open directory `root`.

    Raises OSError: EXDEV for what would lead out, else what open(2) raises.
    """
    how = _How(flags | os.O_CLOEXEC, mode, _BENEATH | _NO_MAGICLINKS)
    handle = _libc.syscall(
        _OPENAT2, root, ctypes.c_char_p(path or b"."), ctypes.byref(how), ctypes.sizeof(how)
    )
    if handle >= 0:
        return int(handle)
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EPERM, errno.E2BIG):  # an old kernel, or a filter that does not know it
        return open_stepwise(root, path, flags, mode)
    raise OSError(number, os.strerror(number), os.fsdecode(path))


def open_stepwise(root: int, path: bytes, flags: int, mode: int = 0) -> int:
    """The same without openat2: each step by itself, and never through a symlink."""
    steps = [step for step in path.split(b"/") if step not in (b"", b".")]
    if b".." in steps or path.startswith(b"/"):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), os.fsdecode(path))
    handle = os.open(".", _DIRECTORY, dir_fd=root)
    if not steps:
        return handle
    try:
        for step in steps[:-1]:
            inner = os.open(step, _DIRECTORY, dir_fd=handle)
            os.close(handle)
            handle = inner
        return os.open(steps[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=handle)
    finally:
        os.close(handle)


def rename(source_dir: int, source: bytes, target_dir: int, target: bytes, *, replace: bool) -> None:
    """Rename in one step. Raises FileExistsError where something has the new name and `replace` is not given."""
    if replace:
        os.rename(source, target, src_dir_fd=source_dir, dst_dir_fd=target_dir)
        return
    if _libc.renameat2(source_dir, source, target_dir, target, _NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), os.fsdecode(target))
