"""Joining: the box proves that it knows a one-time token, and gets a certificate and its own Redis user.

Private keys are made here and never leave. The token carries the fingerprint of the master's CA, so that its
secret part is only ever sent to the master that made it.
"""

from __future__ import annotations

import hashlib
import json
import ssl
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from common.addresses import MasterAddress
from common.errors import BadInput, Conflict, OpenRaaSError, Unauthorized, Unavailable
from common.files import write_atomically, write_secret
from common.join import JoinAnswer, JoinRequest, JoinToken
from common.signing import SealKey
from workers.box.certificates import certificate_request
from workers.box.config import CONFIG_FILE, IDENTITY_FILE, BoxConfig, BoxPaths, Identity

JOIN_PATH = "/api/v1/boxes/join"
AUTHORITY_PATH = "/ca.crt"
TIMEOUT_S = 20.0
_MAX_ANSWER = 1 << 20


@dataclass(frozen=True)
class Master:
    """The master that a box joins, by its portal."""

    address: MasterAddress

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, context: ssl.SSLContext | None = None
    ) -> tuple[int, bytes]:
        """Status and body of the answer; raises Unavailable if there is none."""
        connection = (
            HTTPSConnection(self.address.host, self.address.port, timeout=TIMEOUT_S, context=context)
            if self.address.tls
            else HTTPConnection(self.address.host, self.address.port, timeout=TIMEOUT_S)
        )
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_ANSWER)
        except (OSError, HTTPException) as error:
            raise Unavailable(
                f"The master at {self.address.url} does not answer: {error}.",
                remedy="See that it runs (openraas status there) and that the address is right.",
            ) from error
        finally:
            connection.close()


def join(master: Master, token_text: str, config: BoxConfig, *, again: bool = False) -> Identity:
    """Join and write identity, certificate and `box.toml`. Raises OpenRaaSError; then nothing was written."""
    try:
        token = JoinToken.parse(token_text)
    except ValidationError as error:
        raise BadInput(
            "This is not a join token.", field="TOKEN", remedy="Make one on the master: openraas box token."
        ) from error
    if (config.state_dir / IDENTITY_FILE).exists() and not again:
        raise Conflict(
            f"{config.state_dir} belongs to a box that has joined already.",
            remedy="Give another --state-dir, or --again to join anew.",
        )
    key = ec.generate_private_key(ec.SECP256R1())
    seal_key = SealKey.generate()
    request = _request(config, token, key, seal_key)
    status, body = master.ask(
        "POST", JOIN_PATH, request.model_dump_json().encode(), context=_trust(master, token)
    )
    identity = Identity(answer=_read_answer(status, body, token), seal_key=seal_key)
    _save(config, identity, key)
    return identity


def _request(
    config: BoxConfig, token: JoinToken, key: ec.EllipticCurvePrivateKey, seal_key: str
) -> JoinRequest:
    return JoinRequest(
        secret=token.secret,
        box=config.box,
        kind=config.kind,
        roles=config.roles,
        open=config.open,
        fixed=config.fixed,
        address=config.address,
        owner=config.owner,
        certificate_request=certificate_request(config.box, key),
        seal_key=SealKey(seal_key).public_key,
    )


def _trust(master: Master, token: JoinToken) -> ssl.SSLContext | None:
    """A context that trusts the token's CA alone; raises Unauthorized if the master has another one."""
    if not master.address.tls:
        return None
    # Nothing is believed here but a certificate whose hash is in the token, which came by another road.
    blind = ssl.create_default_context()
    blind.check_hostname, blind.verify_mode = False, ssl.CERT_NONE
    status, body = master.ask("GET", AUTHORITY_PATH, context=blind)
    if status != 200 or _fingerprint(body) != token.fingerprint:
        raise Unauthorized(
            f"{master.address.url} is not the master that made this token.",
            remedy="Check the address; nothing was sent to it.",
        )
    return ssl.create_default_context(cadata=body.decode())


def _fingerprint(pem: bytes) -> str:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
    except ValueError:
        return ""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def _read_answer(status: int, body: bytes, token: JoinToken) -> JoinAnswer:
    if status // 100 != 2:
        try:
            problem = json.loads(body)
            message, field, remedy = str(problem["message"]), problem.get("field"), problem.get("remedy")
        except (ValueError, KeyError, TypeError):
            message, field, remedy = f"The master answered with status {status}.", None, None
        raise (BadInput if status == 422 else OpenRaaSError)(message, field=field, remedy=remedy)
    try:
        answer = JoinAnswer.model_validate_json(body)
    except ValidationError as error:
        raise OpenRaaSError(
            "The master's answer is not understood.", remedy="Install the same version on both machines."
        ) from error
    if _fingerprint(answer.authority.encode()) != token.fingerprint:
        raise Unauthorized(
            "The master's CA is not the one that this token names.",
            remedy="Check the address, and make a new token there: openraas box token.",
        )
    return answer


def _save(config: BoxConfig, identity: Identity, key: ec.EllipticCurvePrivateKey) -> None:
    config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths = BoxPaths(config.state_dir)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    write_secret(paths.private_key, pem.decode())
    write_atomically(paths.certificate, identity.answer.certificate)
    write_atomically(paths.authority, identity.answer.authority)
    paths.trust.unlink(missing_ok=True)  # what another master said
    write_configuration(config)
    identity.save(config.state_dir)  # last: with it the box counts as joined


def write_configuration(config: BoxConfig) -> Path:
    """Write what the owner chose to `box.toml`."""
    chosen = config.model_dump(mode="json", exclude_unset=True, exclude={"state_dir"})
    chosen["box"] = config.box
    path = config.state_dir / CONFIG_FILE
    lines = [f"{key} = {_toml(value)}\n" for key, value in chosen.items() if value is not None]
    write_atomically(
        path, "# Options of this box; `openraas box join --help` explains them.\n" + "".join(lines)
    )
    return path


def _toml(value: Any) -> str:
    """A value in TOML, whose basic strings are JSON's (TOML 1.0, "String")."""
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)
