"""`openraas login`: sign in to a master, and trust it from then on."""

from __future__ import annotations

import hashlib
import socket
import ssl
import sys

import click
import httpx

from common.addresses import MasterAddress
from common.cli import json_option
from common.errors import Unauthorized, Unavailable
from master.cli import target
from master.cli.client import CONNECT_S, Client, check, unreachable
from master.cli.output import done


@click.command()
@click.argument("url")
@click.option("--name", help="Your name; asked for if it is missing.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the password from standard input instead of asking."
)
@click.option("--fingerprint", help="sha256 of the master's certificate authority, to trust it unasked.")
@json_option
def login(url: str, name: str | None, password_stdin: bool, fingerprint: str | None, as_json: bool) -> None:
    """Sign in to the master at URL; the token is kept in ~/.config/openraas, readable by you alone."""
    server = MasterAddress.parse(url, field="URL").url
    authority, public = _trust(server, fingerprint, may_ask=not password_stdin)
    base = target.Target(server=server, token="", authority=authority, public=public)
    name = name or click.prompt("Name", err=True)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, err=True)
    body = {"user": name, "password": password, "name": f"openraas on {socket.gethostname()}"[:64]}
    with Client(base) as client:
        token = client.send("POST", "/tokens", body)["token"]
    target.save(base.model_copy(update={"token": token}))
    done(
        f"You are signed in to {server} as {name}.",
        {"server": server, "user": name, "file": str(target.file())},
        as_json=as_json,
    )


def _trust(server: str, fingerprint: str | None, *, may_ask: bool) -> tuple[str, bool]:
    """The installation's own authority, and whether the master has a certificate that browsers trust.

    An authority of its own is believed by its fingerprint, given or confirmed. Raises Unauthorized.
    """
    try:
        with httpx.Client(timeout=CONNECT_S) as client:
            return _fetch(client, server), True
    except httpx.ConnectError as error:
        if not isinstance(_cause(error), ssl.SSLCertVerificationError):
            raise unreachable(f"The master at {server}", error) from error
    # Nothing is believed here but what the person compares; no secret is sent over this connection.
    with httpx.Client(timeout=CONNECT_S, verify=False) as client:  # noqa: S501
        pem = _fetch(client, server)
    try:
        found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except ValueError as error:
        raise Unavailable(
            f"{server} shows no certificate authority.", remedy="See that this is the address of a master."
        ) from error
    if fingerprint is not None and fingerprint.replace(":", "").lower() != found:
        raise Unauthorized(
            f"{server} has another certificate authority: its fingerprint is {found}.",
            remedy="Check the address; nothing was sent to it.",
        )
    if fingerprint is None and not may_ask:
        raise Unauthorized(
            f"{server} has a certificate authority of its own, and nobody can be asked whether it is the right one.",
            field="--fingerprint",
            remedy=f"If the operator sees the same with openraas box token, add --fingerprint {found}. "
            "Nothing was sent.",
        )
    if fingerprint is None:
        click.echo(
            f"{server} has a certificate authority of its own with the fingerprint\n  {found}", err=True
        )
        click.echo("The operator sees the same with: openraas box token", err=True)
        click.confirm("Is this right?", abort=True, err=True)
    return pem, False


def _fetch(client: httpx.Client, server: str) -> str:
    try:
        return check(client.get(f"{server}/ca.crt")).text
    except httpx.ConnectError:
        raise
    except httpx.HTTPError as error:
        raise unreachable(f"The master at {server}", error) from error


def _cause(error: BaseException) -> BaseException:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error
