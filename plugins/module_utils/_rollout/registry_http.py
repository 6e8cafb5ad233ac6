# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# Copyright (c) 2026 billing.infrastructure contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speak HTTP to one registry: bounded in time and size, with the credentials that the Docker client would use.

Sources: OCI distribution specification 1.1; token authentication of github.com/distribution/distribution.
"""

from __future__ import annotations

import email.utils
import http.client
import json
import queue
import re
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any, Callable

from .registry_grants import Grants
from .registry_login import Login, credentials
from .release import Reference, RolloutError

DOCKER_HUB = "https://registry-1.docker.io"
INSECURE = "insecure+"  # Marks an endpoint whose certificate is not checked.
LONGEST_WAIT = 10.0  # Seconds. What a registry may ask to wait; also what is waited where it does not say how long.
_LARGEST_BODY = 4 << 20  # Bytes. What the specification wants a registry to accept as a manifest.
_ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_TOKEN_SECONDS = 60.0  # How long a token is good whose server does not say so; the specification's own number.
_PARAMETER = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,"]+))')


@dataclass(frozen=True)
class RegistryFiles:
    """Where the Docker client and daemon keep what a registry needs; the engine reads the same files.

    `grants` is the engine's own: see registry_grants.
    """

    config: Path = Path("/root/.docker/config.json")
    certs: Path = Path("/etc/docker/certs.d")
    daemon: Path = Path("/etc/docker/daemon.json")
    grants: Path | None = None


@dataclass(frozen=True)
class Answer:
    """One complete answer; `url` is where it came from after redirects."""

    status: int
    headers: Message
    body: bytes
    url: str


class TransientError(RolloutError):
    """A failure that may be gone at the next try; `wait` is how many seconds the registry wants that to be away."""

    wait: float | None = None


class Deadline:
    """The time for one question with all its requests, retries and waits: three times that of a single request."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._end = time.monotonic() + 3 * timeout

    @property
    def left(self) -> float:
        """Seconds until the question is given up, never negative."""
        return max(0.0, self._end - time.monotonic())


class Session:
    """The requests to one endpoint about one image: they share the TLS context and the authorization."""

    def __init__(
        self, reference: Reference, image: str, files: RegistryFiles, endpoint: str, deadline: Deadline
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            reference: names the registry and the repository.
            image: how messages name the image.
            files: credentials and certificate authorities.
            endpoint: base URL, with INSECURE before it where its certificate is not checked.
            deadline: bounds all requests together.
        """
        self.registry = reference.registry
        self.image = image
        self._repository = reference.repository
        self._config = files.config
        self._deadline = deadline
        self._base = endpoint[len(INSECURE) :] if endpoint.startswith(INSECURE) else endpoint
        self._host = urllib.parse.urlsplit(self._base).netloc
        tls = ssl.create_default_context()
        for authority in sorted((files.certs / self._host).glob("*.crt")):
            tls.load_verify_locations(cafile=str(authority))
        if endpoint != self._base:
            tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
        self._opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=tls), _Redirects())
        self._grants = Grants(files.grants)
        self._key = f"{self._base} {self._repository}"
        self._authorization = self._granted()

    def ask(self, method: str, path: str) -> Answer:
        """Return the answer about `path` in the repository; a challenge is answered once.

        Raises:
            RolloutError: image_unknown, registry_unauthorized, registry_throttled, registry_unreachable,
                registry_invalid.
        """
        url = f"{self._base}/v2/{self._repository}/{path}"
        answer = self._send(method, url, self._authorization)
        if answer.status == 401 and _origin(answer.url) == _origin(url):
            self._authorization = self._answer(answer.headers.get_all("WWW-Authenticate", []))
            if self._authorization:
                answer = self._send(method, url, self._authorization)
        if answer.status == 404:
            what = "image" if path.startswith("manifests/") else f"{path.replace('/', ' ')} of"
            raise RolloutError(
                "image_unknown",
                f"{self.registry} has no {what} {self.image}; check name and tag, or push it",
                {"image": self.image, "status": 404},
            )
        if answer.status != 200:
            raise self._refusal(answer)
        return answer

    def _send(self, method: str, url: str, headers: Mapping[str, str], data: bytes | None = None) -> Answer:
        request = urllib.request.Request(  # noqa: S310 - the scheme is https or http: see _endpoints and _realm
            url, data, {"Accept": _ACCEPT, "User-Agent": "billing-rollout", **headers}, method=method
        )
        seconds = min(self._deadline.timeout, self._deadline.left)
        try:
            return within(seconds, lambda: self._exchange(request, seconds))
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            distrusted = isinstance(reason, ssl.SSLCertVerificationError)
            hint = (
                f"give its CA certificate as /etc/docker/certs.d/{self.registry}/ca.crt (role docker does it)"
                if distrusted
                else "check that the registry is up and that this host can reach it"
            )
            kind = RolloutError if distrusted else TransientError
            raise kind(
                "registry_unreachable",
                f"cannot ask {self.registry} for {self.image}: {reason or type(reason).__name__}; {hint}",
                {"image": self.image, "url": url},
            ) from error

    def _exchange(self, request: urllib.request.Request, seconds: float) -> Answer:
        try:
            with self._opener.open(request, timeout=seconds) as response:
                body = response.read(_LARGEST_BODY + 1)
                if len(body) > _LARGEST_BODY:
                    raise RolloutError(
                        "registry_invalid",
                        f"{self.registry} answers with more than {_LARGEST_BODY >> 20} MiB where it describes "
                        f"{self.image}; is this an image?",
                        {"image": self.image, "url": request.full_url},
                    )
                if request.get_method() != "HEAD" and len(body) < int(response.headers.get("Content-Length") or 0):
                    raise http.client.IncompleteRead(body)  # read(size) does not tell in every version of Python.
                return Answer(response.status, response.headers, body, response.geturl())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, b"", error.geturl())

    def _answer(self, challenges: list[str]) -> dict[str, str]:
        """Return the header that meets one of the challenges, {} for none; a token is preferred, as Docker does it."""
        schemes = {challenge.partition(" ")[0].lower(): challenge.partition(" ")[2] for challenge in challenges}
        login = self._login()
        if "basic" in schemes and "bearer" not in schemes and login.basic:
            self._grants.remember_basic(self._key)
            return {"Authorization": f"Basic {login.basic}"}
        if "bearer" in schemes:
            values = {key.lower(): quoted or bare for key, quoted, bare in _PARAMETER.findall(schemes["bearer"])}
            return {"Authorization": f"Bearer {self._token(values, login)}"}
        return {}

    def _login(self) -> Login:
        name = "docker.io" if self._base == DOCKER_HUB else self._host
        return credentials(name, self._config, min(LONGEST_WAIT, self._deadline.left))

    def _granted(self) -> dict[str, str]:
        """Return the header that satisfied this registry last time, {} for none."""
        token = self._grants.token(self._key)
        if token:
            return {"Authorization": f"Bearer {token}"}
        login = self._login() if self._grants.basic(self._key) else Login()
        return {"Authorization": f"Basic {login.basic}"} if login.basic else {}

    def _token(self, challenge: Mapping[str, str], login: Login) -> str:
        """Fetch a token from the server that the challenge names."""
        realm = self._realm(challenge.get("realm", ""))
        scope = challenge.get("scope") or f"repository:{self._repository}:pull"
        asked = {"service": challenge.get("service", ""), "scope": scope}
        if login.identity_token:
            form = {**asked, "grant_type": "refresh_token", "client_id": "billing-rollout"}
            form["refresh_token"] = login.identity_token
            answer = self._send("POST", realm, {}, urllib.parse.urlencode(form).encode())
        else:
            headers = {"Authorization": f"Basic {login.basic}"} if login.basic else {}
            joint = "&" if "?" in realm else "?"
            answer = self._send("GET", f"{realm}{joint}{urllib.parse.urlencode(asked)}", headers)
        if answer.status != 200:
            raise self._refusal(answer)
        try:
            body = json.loads(answer.body)
            token = str(body.get("token") or body["access_token"])
            self._grants.remember_token(self._key, token, float(body.get("expires_in") or _TOKEN_SECONDS))
            return token
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise RolloutError(
                "registry_invalid",
                f"the token server of {self.registry} gave no token for {self.image}; check its address",
                {"realm": realm},
            ) from error

    def _realm(self, realm: str) -> str:
        """Return the address of a token server if a password may be sent there."""
        allowed = ("https://",) if self._base.startswith("https://") else ("https://", "http://")
        if not realm.startswith(allowed):
            raise RolloutError(
                "registry_invalid",
                f"{self.registry} names {realm!r} as its token server, which is no {' or '.join(allowed)} address; "
                "repair the registry's authentication settings",
                {"realm": realm},
            )
        return realm

    def _refusal(self, answer: Answer) -> RolloutError:
        details: dict[str, Any] = {"image": self.image, "status": answer.status, "url": answer.url}
        if answer.status in (401, 403):
            return RolloutError(
                "registry_unauthorized",
                f"{self.registry} refused access to {self.image} (HTTP {answer.status}); check the user name and "
                "password for it in docker_registries, and that the repository exists",
                details,
            )
        if answer.status == 429:
            wait = retry_after(answer.headers)
            throttled = TransientError(
                "registry_throttled",
                f"{self.registry} answers no more requests for now; run again in {wait:.0f} s, "
                "or log in to it (docker_registries) for a higher limit",
                {**details, "retry_after": wait},
            )
            throttled.wait = wait
            return throttled
        passing = answer.status >= 500 or answer.status == 408
        if answer.status == 503 and answer.headers.get("Retry-After"):
            details["retry_after"] = retry_after(answer.headers)
        kind, code = (TransientError, "registry_unreachable") if passing else (RolloutError, "registry_invalid")
        return kind(
            code, f"{self.registry} answered HTTP {answer.status} for {self.image}; check the registry", details
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow a redirect by the same method; the authorization stays with the host that it is for."""

    # Python knows it since 3.11.
    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],  # noqa: ARG002 - the signature is urllib's
        code: int,  # noqa: ARG002
        msg: str,  # noqa: ARG002
        headers: Message,  # noqa: ARG002
        newurl: str,
    ) -> urllib.request.Request | None:
        if req.get_method() not in ("GET", "HEAD"):
            return None
        if not newurl.startswith(("https://",) if req.full_url.startswith("https://") else ("https://", "http://")):
            raise RolloutError(
                "registry_invalid",
                f"{req.host} sends from https to {newurl}; check that the address of the registry is right",
                {"url": req.full_url, "location": newurl},
            )
        kept = dict(req.header_items())
        if _origin(newurl) != _origin(req.full_url):
            kept.pop("Authorization", None)
        kept.pop("Host", None)
        return urllib.request.Request(newurl, headers=kept, method=req.get_method())  # noqa: S310 - checked above


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)


def within(seconds: float, exchange: Callable[[], Answer]) -> Answer:
    """Return what `exchange` returns, or raise TimeoutError after so many seconds.

    The timeout of a socket bounds one read alone: a name server that hangs or an answer that drips would outlast it.
    So a thread makes the exchange; one that is given up ends with its socket, or with the process.
    """
    done: queue.SimpleQueue[Answer | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            done.put(exchange())
        except BaseException as error:  # Raised again by the thread that waits.
            done.put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        result = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("no complete answer in time") from None
    if isinstance(result, BaseException):
        raise result
    return result


def retry_after(headers: Message) -> float:
    """Return the seconds that a Retry-After header asks for; a date counts from the Date of the same answer.

    Source: RFC 9110, section 10.2.3.
    """
    value = (headers.get("Retry-After") or "").strip()
    if value.isascii() and value.isdecimal():
        return float(value)
    try:
        until = email.utils.parsedate_to_datetime(value).timestamp()
        now = headers.get("Date")
        start = email.utils.parsedate_to_datetime(now).timestamp() if now else time.time()
    except (TypeError, ValueError, IndexError):
        return LONGEST_WAIT
    return max(0.0, until - start)
