"""Fetch the browser packages that frontend.toml names, check their hashes and unpack the few files that are needed.

Run by bootstrap.sh; does nothing when all are there. The index is the one that npm would ask: `npm_config_registry`
in the environment, else `registry` in .npmrc, else the public one, as the package URL standard has it.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import io
import os
import re
import shutil
import sys
import tarfile
import time
import tomllib
import urllib.request
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "scripts" / "frontend.toml"
PACKAGES = ROOT / "workers" / "gateway" / "static" / "packages"
STAMP = ".lock"
FETCH_S = 60.0
ATTEMPTS, PAUSE_S = 3, 2.0
MOST_BYTES = 64 * 2**20


class Failed(Exception):
    """Why a package cannot be had, and what to do."""


@dataclass(frozen=True)
class Package:
    """One entry of the lock file."""

    name: str
    version: str
    integrity: str
    into: str
    files: list[str]


def main() -> int:
    """Bring `packages/` to what the lock file says."""
    text = LOCK.read_bytes()
    stamp, wanted = PACKAGES / STAMP, hashlib.sha256(text).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return 0
    packages = [Package(**entry) for entry in tomllib.loads(text.decode())["package"]]
    fresh = PACKAGES.with_name("packages.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        for package in packages:
            unpack(fetch(package), package, fresh / package.into)
    except Failed as error:
        shutil.rmtree(fresh, ignore_errors=True)
        print(f"The browser packages are not complete: {error}", file=sys.stderr)
        return 1
    (fresh / STAMP).write_text(wanted)
    shutil.rmtree(PACKAGES, ignore_errors=True)
    fresh.rename(PACKAGES)
    return 0


def fetch(package: Package) -> bytes:
    """The package's tarball, whose hash is right."""
    url = tarball_url(package)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(url, timeout=FETCH_S) as answer:  # noqa: S310 - https, or what npm is set to
                content: bytes = answer.read(MOST_BYTES)
            break
        except OSError as error:
            if attempt == ATTEMPTS:
                raise Failed(
                    f"{package.name} {package.version} cannot be fetched from {urlsplit(url).netloc} ({error}). "
                    "Name an index that this machine reaches, as for npm: npm_config_registry=https://…"
                ) from error
            time.sleep(PAUSE_S)
    check(content, package)
    return content


def check(content: bytes, package: Package) -> None:
    """Raises Failed unless the content is what was locked (W3C Subresource Integrity, section 3.2)."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()
    if found != package.integrity:
        raise Failed(
            f"{package.name} {package.version} is not what {LOCK.name} says (it has {found}). "
            "Ask who runs the index; if the package was renewed on purpose, change the file."
        )


def tarball_url(package: Package, environment: dict[str, str] | None = None) -> str:
    """Where the index has it; a private one keeps the paths of the public one."""
    try:
        from packageurl import PackageURL
        from packageurl.contrib.purl2url import get_download_url
    except ModuleNotFoundError as error:
        raise Failed("packageurl-python is not installed. Run scripts/bootstrap.sh.") from error
    namespace, _, name = package.name.rpartition("/")
    url = str(get_download_url(PackageURL("npm", namespace, name, package.version).to_string()))
    registry = chosen_registry(dict(os.environ) if environment is None else environment)
    return registry.rstrip("/") + urlsplit(url).path if registry else url


def chosen_registry(environment: dict[str, str]) -> str:
    """The index that npm is told to use; empty where nobody told it."""
    for name, value in environment.items():
        if name.lower() == "npm_config_registry" and value:
            return value
    home = Path(environment.get("HOME", "/"))
    for file in (ROOT / ".npmrc", home / ".npmrc", Path("/etc/npmrc")):
        if file.is_file() and (
            match := re.search(r"(?m)^\s*registry\s*=\s*[\"']?([^\s\"']+)", file.read_text())
        ):
            return match[1]
    return ""


def unpack(content: bytes, package: Package, target: Path) -> None:
    """Write the files that the lock file asks for; raises Failed if one of its patterns finds none."""
    left = set(package.files)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
        for member in archive:
            path = PurePosixPath(*PurePosixPath(member.name).parts[1:])
            found = {
                pattern
                for pattern in package.files
                if fnmatch.fnmatch(str(path), pattern.replace("**/", "*"))
            }
            if not found or not member.isfile() or ".." in path.parts:
                continue
            left -= found
            file = target / path
            file.parent.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            assert source is not None  # noqa: S101 - it is a file
            file.write_bytes(source.read())
    if left:
        raise Failed(f"{package.name} {package.version} has no {', '.join(sorted(left))}.")


if __name__ == "__main__":
    sys.exit(main())
