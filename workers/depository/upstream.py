"""A registry elsewhere: manifests and blobs of one repository, with the token protocol and ranges.

Distribution specification 1.1 ("Pull") and CNCF distribution's "Token Authentication Specification". Imported when
something is mirrored, not before: the HTTP library costs an idle box memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import httpx

from common.oci.manifests import INDEX_TYPES, LIMIT_BYTES, MANIFEST_TYPES
from common.oci.remote import Remote
from workers.depository.errors import TransferError

CONNECT_S = 5.0
# A registry that sends nothing for so long is asked again, from where it stopped.
SILENCE_S = 20.0
_CHALLENGE = re.compile(r'([a-zA-Z_]+)="([^"]*)"')
_ACCEPT = ", ".join(sorted(MANIFEST_TYPES | INDEX_TYPES))


class UpstreamError(TransferError):
    """The registry does not give it; trying again would not help."""

    usual_remedy = "Check the image's name, and with --user the name and password there."


class UpstreamBroke(UpstreamError):
    """The connection broke or the registry is overloaded; trying again may help."""

    usual_remedy = "Try again later: what has come is kept."


class Upstream:
    """One repository; use as a context manager. `credentials` are name and password.

    With `ca` (certificates in PEM) it is asked by TLS only, and trusted by them or by the usual authorities.
    """

    def __init__(self, remote: Remote, credentials: tuple[str, str] | None, ca: str | None = None) -> None:
        trusted = httpx.create_ssl_context()
        if ca is not None:
            trusted.load_verify_locations(cadata=ca)
        self._remote = remote
        self._credentials = credentials
        self._authorization = ""
        # Redirects lead to other hosts (blobs lie at content networks); httpx takes no credentials there.
        self._http = httpx.Client(
            base_url=remote.url(tls=ca is not None),
            verify=trusted,
            timeout=httpx.Timeout(SILENCE_S, connect=CONNECT_S),
            follow_redirects=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def manifest(self, reference: str) -> tuple[bytes, str]:
        """A manifest and its media type. Raises UpstreamError that says what to do."""
        with self._get(f"manifests/{reference}", {"Accept": _ACCEPT}) as answer:
            data = bytearray()
            for piece in answer.iter_bytes():
                data += piece
                if len(data) > LIMIT_BYTES:
                    raise UpstreamError(f"A manifest of {self._remote} is larger than {LIMIT_BYTES} bytes.")
            return bytes(data), answer.headers.get("Content-Type", "")

    @contextmanager
    def blob(self, digest: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """From where on the registry sends the blob (0 if it knows no ranges), and the bytes."""
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with self._get(f"blobs/{digest}", headers) as answer:
            resumed = answer.status_code == httpx.codes.PARTIAL_CONTENT
            if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
                raise UpstreamError(
                    f"{self._remote.registry} answered with another range than was asked for."
                )
            yield (offset if resumed else 0), answer.iter_raw()

    @contextmanager
    def _get(self, path: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        target = f"/v2/{self._remote.repository}/{path}"
        try:
            for is_last in (False, True):
                sent = {**headers, **({"Authorization": self._authorization} if self._authorization else {})}
                with self._http.stream("GET", target, headers=sent) as answer:
                    if answer.status_code == httpx.codes.UNAUTHORIZED and not is_last:
                        self._authenticate(answer.headers.get("WWW-Authenticate", ""))
                        continue
                    self._check(answer)
                    yield answer
                    return
        except httpx.HTTPError as error:
            raise self._broke(self._remote.registry, error) from error

    def _broke(self, host: str, error: httpx.HTTPError) -> UpstreamError:
        why = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in why:
            return UpstreamError(
                f"{host} shows a certificate that this box does not trust.",
                remedy="Give the certificate of its authority with --ca.",
            )
        if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)):
            return UpstreamError(
                f"{host} cannot be reached from this box ({why}).",
                remedy="Is there a connection to it? Without one, push the image: openraas image push.",
            )
        return UpstreamBroke(f"{host} broke off ({why}).")

    def _check(self, answer: httpx.Response) -> None:
        status, name = answer.status_code, self._remote
        if answer.is_success:
            return
        if status in (401, 403):
            told = (
                "does not accept this name and password" if self._credentials else "wants a name and password"
            )
            raise UpstreamError(
                f"{name.registry} {told} for {name.repository} (or has no such image).",
                remedy="Give them with --username.",
            )
        if status == 404:
            raise UpstreamError(f"{name.registry} has no {name.repository}:{name.reference}.")
        if status == 429:
            raise UpstreamError(
                f"{name.registry} takes no more requests from here for now.",
                remedy="Wait, or give a name and password with --username.",
            )
        kind = UpstreamBroke if status >= 500 else UpstreamError
        raise kind(f"{name.registry} answered {status} for {name.repository}.")

    def _authenticate(self, challenge: str) -> None:
        """Answer a challenge with name and password, or with a token that its realm gives for them."""
        scheme, _, rest = challenge.partition(" ")
        if scheme.lower() == "basic" and self._credentials:
            self._authorization = httpx.BasicAuth(*self._credentials)._auth_header
        elif scheme.lower() == "bearer":
            self._authorization = f"Bearer {self._token(dict(_CHALLENGE.findall(rest)))}"

    def _token(self, fields: dict[str, str]) -> str:
        realm = httpx.URL(fields.get("realm", ""))
        # Credentials never travel in the clear, wherever a registry sends us for a token.
        if realm.scheme != "https" and not (self._remote.is_on_loopback and realm.scheme == "http"):
            raise UpstreamError(f"{self._remote.registry} names no safe place for tokens.")
        query: dict[str, str] = {key: fields[key] for key in ("service", "scope") if key in fields}
        query.setdefault("scope", f"repository:{self._remote.repository}:pull")
        try:
            answer = self._http.get(realm, params=query, auth=self._credentials)
            value = answer.json() if answer.is_success else {}
        except httpx.HTTPError as error:
            raise self._broke(realm.host, error) from error
        except ValueError:
            value = {}
        token = value.get("token") or value.get("access_token") if isinstance(value, dict) else None
        if not isinstance(token, str):
            self._check(answer)
            raise UpstreamError(f"{realm.host} gives no token for {self._remote.repository}.")
        return token
