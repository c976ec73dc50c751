"""Finds out who a request comes from, and that a form was sent by the page it belongs to.

Owns cookies, tokens, the header of a trusted proxy, and protection against forged requests (CSRF). Does not own what
somebody may do (``dashboard.access.permissions``).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response

from dashboard.access.audit import Audit
from dashboard.access.permissions import ROLES, Principal
from dashboard.access.sessions import Sessions
from dashboard.access.throttle import Throttle
from dashboard.access.users import User, Users, UsersFault
from dashboard.http import Refusal
from runtime.dashboard_tables import DashboardSettings

LINK_NAME: Final = "one-time link"
"""Who signs in by the link of the first run. No user can be called so."""
_HASHINGS_MAX: Final = 2
"""Passwords checked at a time: each takes 64 MiB for some tenths of a second."""
_FORM_TYPE: Final = re.compile(
    r'application/x-www-form-urlencoded[ \t]*(;[ \t]*charset="?utf-8"?[ \t]*)?', re.IGNORECASE
)
"""What browsers send our forms as. Multipart could name an encoding that fails, or that makes what is no text."""
_FIELDS_MAX: Final = 200
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Who comes in. For one event loop."""

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        throttle: Throttle,
        audit: Audit,
        settings: DashboardSettings,
        now_seconds: Callable[[], int],
        secret: bytes,
    ) -> None:
        """Take what it decides by; ``secret`` makes the form tokens of those whom a proxy signed in."""
        self.users = users
        self.sessions = sessions
        self.throttle = throttle
        self.audit = audit
        self.settings = settings
        self._now_seconds = now_seconds
        self._secret = secret
        self._proxies = [ip_network(network) for network in settings.trusted_proxies]
        self._hashing = asyncio.Semaphore(_HASHINGS_MAX)
        self.is_https = settings.public_url.startswith("https://")
        # The prefix makes browsers refuse the cookie from anywhere but this very host.
        self.cookie = "__Host-convometer" if self.is_https else "convometer"

    @property
    def has_own_sign_in(self) -> bool:
        """Tell whether people sign in here, and not at a proxy."""
        return not self.settings.trusted_header

    async def identify(self, request: Request) -> Principal | None:
        """Return who a request comes from; None = nobody known.

        A request with a token is the token's, whatever else it carries: a wrong one is nobody.

        Raises:
            Refusal: 503, whether a session still counts cannot be told at the moment.
        """
        token = token_of(request)
        if token is not None:
            return self._by_token(request, token)
        if self.settings.trusted_header:
            return self._by_header(request)
        return self._by_session(request)

    def _by_token(self, request: Request, token: str) -> Principal | None:
        now = datetime.fromtimestamp(self._now_seconds(), UTC)
        principal = self.users.principal_of_token(token, now)
        if principal is None:
            self.note(request, "token_refused", "", "", request.url.path)
        return principal

    def _by_header(self, request: Request) -> Principal | None:
        if not self._is_proxy(_peer(request)):
            return None
        names = request.headers.getlist(self.settings.trusted_header)
        if len(names) != 1:
            return None
        user = self.users.find(names[0].strip().lower())
        return None if user is None else user.principal("header", self._form_token(user))

    def _form_token(self, user: User) -> str:
        return hmac.new(self._secret, user.name.encode(), hashlib.sha256).hexdigest()

    def _by_session(self, request: Request) -> Principal | None:
        session_id = request.cookies.get(self.cookie, "")
        session = self.sessions.find(session_id, self._now_seconds()) if session_id else None
        if session is None:
            return None
        if session.name == LINK_NAME:
            return Principal(LINK_NAME, ROLES["admin"], None, "session", session.csrf_token, "admin")
        try:
            user = self.users.look_up(session.name)
        except UsersFault as fault:
            # The session stays: a file that is damaged for a moment is not to sign everybody out.
            raise Refusal(
                503, "Who may come in cannot be read at the moment. Try again later.", {"Retry-After": "30"}
            ) from fault
        if user is None or not hmac.compare_digest(user.fingerprint, session.fingerprint):
            self.sessions.forget(session_id, self._now_seconds())
            return None
        return user.principal("session", session.csrf_token)

    async def check_form(self, request: Request, principal: Principal) -> None:
        """Make sure that a form comes from a page of ours that was made for this visitor.

        Raises:
            Refusal: 403, or 415 where it is no form.
        """
        self.check_origin(request)
        # Here for tokens too: handlers read the form after this.
        check_form_type(request)
        if principal.kind == "token":
            return
        sent = request.headers.get("x-csrf-token", "")
        if not sent:
            form = await form_of(request)
            sent = str(form.get("csrf", ""))
        if not principal.csrf_token or not hmac.compare_digest(sent.encode(), principal.csrf_token.encode()):
            raise Refusal(403, "This form is not of your session. Load the page again and send it once more.")

    def check_origin(self, request: Request) -> None:
        """Make sure that another site's page did not send a request.

        Raises:
            Refusal: 403.
        """
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refusal(403, "This was sent by a page of another site.")
        origin = request.headers.get("origin")
        if origin is None and (referrer := request.headers.get("referer")):
            origin = _origin_of(referrer)
        if origin is not None and origin != self.own_origin(request):
            raise Refusal(
                403,
                "This was sent by a page of another address. Behind a proxy, `dashboard.public_url` says which "
                "one is ours.",
            )

    def own_origin(self, request: Request) -> str:
        """Return the origin that our pages have."""
        return self.settings.public_url or f"{request.url.scheme}://{request.headers.get('host', '')}"

    async def verify(self, name: str, password: str) -> User | None:
        """Return the user whose password this is."""
        async with self._hashing:
            return await asyncio.to_thread(self.users.verify, name, password)

    def sign_in(self, response: Response, name: str, fingerprint: str, old_session_id: str) -> None:
        """Begin a session and give its cookie; a session of before ends, so that nobody else can know the new one."""
        if old_session_id:
            self.sessions.end(old_session_id)
        session_id = self.sessions.begin(name, fingerprint, self._now_seconds())
        response.set_cookie(
            self.cookie,
            session_id,
            max_age=int(self.settings.session_hours * 3600),
            path="/",
            secure=self.is_https,
            httponly=True,
            samesite="lax",
        )

    def sign_out(self, request: Request, response: Response) -> None:
        """End the request's session."""
        self.sessions.end(request.cookies.get(self.cookie, ""))
        response.delete_cookie(self.cookie, path="/", secure=self.is_https, httponly=True, samesite="lax")

    def address_of(self, request: Request) -> str:
        """Return the client's address: what the last proxy that is not ours was reached from."""
        address = _peer(request)
        if not self._is_proxy(address):
            return address
        forwarded = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
        for hop in reversed([each.strip() for each in forwarded if each.strip()]):
            if not _is_address(hop):
                break
            address = hop
            if not self._is_proxy(hop):
                break
        return address

    def _is_proxy(self, address: str) -> bool:
        if not _is_address(address):
            return False
        parsed = ip_address(address)
        return any(parsed in network for network in self._proxies)

    def note(self, request: Request, event: str, who: str, role: str, what: str = "") -> None:
        """Write into the audit log."""
        self.audit.write(
            event,
            who=who,
            role=role,
            account="",
            what=what,
            address=self.address_of(request),
            at=datetime.fromtimestamp(self._now_seconds(), UTC),
        )

    def now_seconds(self) -> int:
        """Return the time in UTC seconds."""
        return self._now_seconds()


def token_of(request: Request) -> str | None:
    """Return the API token that a request carries, "" for an empty one; None = it carries none.

    Other schemes are of proxies: nginx passes on the password that it has checked itself.
    """
    for header in request.headers.getlist("authorization"):
        scheme, *rest = header.split(None, 1) or [""]
        if scheme.lower() == "bearer":
            return rest[0].strip() if rest else ""
    return None


def check_form_type(request: Request) -> None:
    """Make sure that a body, if there is one, is a form as browsers send ours.

    Raises:
        Refusal: 415.
    """
    sent = request.headers.get("content-type", "").strip()
    if sent and not _FORM_TYPE.fullmatch(sent):
        raise Refusal(415, "A form has to be sent as application/x-www-form-urlencoded, in UTF-8.")


async def form_of(request: Request) -> FormData:
    """Return the fields of a form; what is no UTF-8 in them is replaced.

    Raises:
        Refusal: 415.
    """
    check_form_type(request)
    return await request.form(max_files=0, max_fields=_FIELDS_MAX)


def _origin_of(url: str) -> str:
    """Return the origin of a page, "null" where there is none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "null"
    return f"{parts.scheme}://{parts.netloc}"


def _peer(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def local_path(text: str) -> str:
    """Return a path of ours to go on to; anything else becomes the overview."""
    if not text.startswith("/") or text.startswith("//") or "\\" in text or not text.isprintable():
        return "/overview"
    parts = urlsplit(text)
    return "/overview" if parts.scheme or parts.netloc else text
