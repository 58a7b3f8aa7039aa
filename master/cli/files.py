"""`openraas files`: list, put, get, move, remove and share what lies in one's home."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import click
import httpx

from common.cli import json_option, print_json
from common.errors import BadInput
from common.units import parse_duration
from common.words import Endpoint
from master.cli.client import CONNECT_S, Client, check, part, unreachable
from master.cli.output import age, details, done, listing, progress, size

PIECE_BYTES = 16 * 2**20
SILENCE_S = 600.0
PER_CALL = 1000


@click.group()
def files() -> None:
    """Your home: the files that applications see. Paths begin at its top."""


@files.command("ls")
@click.argument("path", default="")
@json_option
def list_command(path: str, as_json: bool) -> None:
    """What is in a folder."""
    entries: list[dict[str, Any]] = []
    with Client() as client:
        while True:
            found = client.get("/files", path=_encoded(path), offset=len(entries), limit=PER_CALL)
            entries += found["entries"]
            if not found["entries"] or len(entries) >= found["total"]:
                break
    listing(
        entries,
        {
            "NAME": lambda item: item["name"] + ("/" if item["kind"] == "folder" else ""),
            "SIZE": lambda item: size(item["size_bytes"]) if item["kind"] == "file" else "-",
            "CHANGED": lambda item: age(item["modified_at"]),
        },
        as_json=as_json,
        empty="Nothing is in there.",
    )


@files.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("path", default="")
@click.option("--replace", is_flag=True, help="What has the name already.")
@json_option
def put(file: Path, path: str, replace: bool, as_json: bool) -> None:
    """Put FILE at PATH (a folder if it ends in '/'). What broke off goes on when it is put again."""
    name = path + file.name if not path or path.endswith("/") else path
    facts = file.stat()
    query = {
        "path": _encoded(name),
        "size": facts.st_size,
        "modified": int(facts.st_mtime * 1000),
        "replace": int(replace),
    }
    with Client() as client, _home(client) as (box, home), file.open("rb") as content:
        try:
            _upload(home, query, content, facts.st_size, name)
        except httpx.HTTPError as error:
            raise unreachable(f"The box {box}", error) from error
    done(
        f"{name} ({size(facts.st_size)}) is there.",
        {"path": name, "size_bytes": facts.st_size},
        as_json=as_json,
    )


def _upload(home: httpx.Client, query: dict[str, Any], content: BinaryIO, whole: int, name: str) -> None:
    offset = int(check(home.get("upload", params=query)).json()["offset"])
    with progress(name, whole) as advance:
        advance(offset)
        while True:
            content.seek(offset)
            piece = content.read(PIECE_BYTES)
            told = check(home.patch("upload", params={**query, "offset": offset}, content=piece)).json()
            advance(len(piece))
            offset = int(told["offset"])
            if told["done"]:
                return
            if not piece:
                raise BadInput(f"{name} became shorter while it was read.", remedy="Put it again.")


@files.command()
@click.argument("path")
@click.argument("target", type=click.Path(path_type=Path), default=".")
@json_option
def get(path: str, target: Path, as_json: bool) -> None:
    """Get the file at PATH; of a folder, one tar archive."""
    place = target / (Path(path.rstrip("/")).name or "home") if target.is_dir() else target
    with Client() as client, _home(client) as (box, home):
        try:
            with home.stream("GET", "content", params={"path": _encoded(path)}) as answer:
                check(answer)
                if answer.headers["Content-Type"] == "application/x-tar" and target.is_dir():
                    place = place.with_name(f"{place.name}.tar")
                whole = int(answer.headers.get("Content-Length", 0))
                with progress(path, whole) as advance, place.open("xb") as file:
                    for piece in answer.iter_bytes():
                        file.write(piece)
                        advance(len(piece))
        except FileExistsError as error:
            raise BadInput(f"{place} exists.", field="target", remedy="Name another place.") from error
        except httpx.HTTPError as error:
            raise unreachable(f"The box {box}", error) from error
    done(f"{path} is in {place}.", {"path": path, "file": str(place)}, as_json=as_json)


@files.command()
@click.argument("path")
@json_option
def mkdir(path: str, as_json: bool) -> None:
    """Make a folder."""
    with Client() as client:
        client.send("POST", "/files/folder", {"path": _encoded(path)})
    done(f"{path} is made.", {"path": path}, as_json=as_json)


@files.command()
@click.argument("path")
@click.argument("to")
@json_option
def mv(path: str, to: str, as_json: bool) -> None:
    """Move or rename PATH; TO is its whole new path."""
    with Client() as client:
        client.send("POST", "/files/move", {"path": _encoded(path), "to": _encoded(to)})
    done(f"{path} is {to} now.", {"path": to}, as_json=as_json)


@files.command()
@click.argument("path")
@json_option
def rm(path: str, as_json: bool) -> None:
    """Remove a file, or a folder with all in it."""
    with Client() as client:
        client.send("DELETE", "/files", path=_encoded(path))
    done(f"{path} is removed.", {"removed": path}, as_json=as_json)


@files.command()
@click.argument("path", default="")
@click.option("--add", "kind", flag_value="add", help="Let others put files in, and see none.")
@click.option("--read", "kind", flag_value="read", default=True, help="Let others read it.")
@click.option("--ttl", default="7d", show_default=True, help="How long the link holds.")
@json_option
def share(path: str, kind: str, ttl: str, as_json: bool) -> None:
    """Make a link by which others use a file or folder without signing in."""
    try:
        ttl_s = parse_duration(ttl)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--ttl") from error
    with Client() as client:
        made = client.send("POST", "/files/shares", {"path": _encoded(path), "kind": kind, "ttl_s": ttl_s})
    done(made["url"], made, as_json=as_json)


@files.command()
@json_option
def shares(as_json: bool) -> None:
    """Your links that hold."""
    with Client() as client:
        found = client.get_all("/files/shares", "shares")
    listing(
        found,
        {
            "LINK": lambda item: item["id"],
            "PATH": lambda item: item["path"] or "/",
            "FOR": lambda item: item["kind"],
            "AGE": lambda item: age(item["created_at"]),
        },
        as_json=as_json,
        empty="You have no links.",
    )


@files.command()
@json_option
def usage(as_json: bool) -> None:
    """How full your home is, and what takes most room."""
    with Client() as client:
        found = client.get("/files/usage")
    if as_json:
        print_json(found)
        return
    details({"Free": size(found["free_bytes"]), "Of": size(found["size_bytes"])})
    columns = {"SIZE": lambda item: size(item["size_bytes"]), "PATH": lambda item: item["shown"]}
    listing(found["largest"], columns, as_json=False, empty="There is nothing in it.")


@files.command()
@click.argument("link")
@json_option
def unshare(link: str, as_json: bool) -> None:
    """Take a link back."""
    with Client() as client:
        client.send("DELETE", f"/files/shares/{part(link)}")
    done(f"The link {link} does not hold any more.", {"removed": link}, as_json=as_json)


@files.command()
@json_option
def address(as_json: bool) -> None:
    """Where file managers and rclone reach your home by WebDAV."""
    with Client() as client:
        told = client.send("POST", "/files/ticket", {})
    if as_json:
        print_json({"box": told["box"], "webdav_url": told["webdav_url"]})
    else:
        click.echo(told["webdav_url"])


def _encoded(path: str) -> str:
    return quote(path.strip("/"), safe="/")


@contextmanager
def _home(client: Client) -> Iterator[tuple[str, httpx.Client]]:
    """The box on which the home lies, by its name, and a connection to it."""
    told = client.send("POST", "/files/ticket", {})
    endpoint = Endpoint.model_validate(told["endpoint"])
    with httpx.Client(
        base_url=f"{endpoint.url}{urlsplit(told['url']).path}/",
        headers={"Authorization": f"Bearer {told['ticket']}"},
        verify=client.target.tls() if endpoint.tls else True,
        timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
        trust_env=False,
    ) as home:
        yield told["box"], home
