"""The gateway's routes.

Owns paths, methods and the order of checks: size, signature, then contents. Nothing unsigned is parsed, kept or
logged. Does not own the server (uvicorn) nor the log.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ExceptionHandler, Receive, Scope, Send

from gateway.authentication import (
    SIGNATURE_HEADER,
    Credentials,
    Signer,
    check_bearer,
    credentials_of,
    is_one_of,
    parse_signature,
)
from gateway.body import BodyReader, header
from gateway.errors import (
    INTERNAL_ERROR,
    JsonResponse,
    RequestRefused,
    refusal_response,
    router_refusal,
)
from gateway.intake import Intake, Parse, unreadable_body
from gateway.port import EventLogPort
from gateway.windows import WINDOWS_PATH, WindowsEndpoint
from runtime.clock import Clock
from runtime.metrics import OTHER, Metrics
from runtime.settings import Settings
from runtime.settings_in_force import Derived, SettingsInForce
from schemas import canonical, meta
from schemas.refusing import UnparseableBody, load_json

Handler = Callable[[Scope, Receive], Awaitable[Response]]
CredentialsNow = Callable[[], Credentials]
"""Returns those of the settings in force; taken once for what must fit together."""
Readiness = Callable[[], Mapping[str, str]]
"""Returns for each component why it is not ready; an empty text = ready."""

WEBHOOK_PATH = "/webhooks/meta"
EVENTS_PATH = "/events"

_log = logging.getLogger(__name__)


def create_app(
    port: EventLogPort,
    settings: Settings | SettingsInForce,
    metrics: Metrics,
    clock: Clock,
    *,
    parse: Parse | None = None,
    parse_canonical: Parse | None = None,
    readiness: Readiness = dict,
) -> Starlette:
    """Return the ASGI application; the parsers default to those of ``schemas``.

    Of settings that may change while it serves, it follows secrets, tokens and accounts.
    """
    in_force = SettingsInForce.of(settings)
    started = in_force.settings
    if parse is None:
        parse = partial(meta.parse, keep_text=started.keep_message_text)
    if parse_canonical is None:
        parse_canonical = partial(canonical.parse, keep_text=started.keep_message_text)
    gateway = started.gateway
    credentials = Derived(in_force, credentials_of)
    intake = Intake(port, in_force, metrics, clock)
    reader = BodyReader(gateway.body_size_bytes_max, gateway.buffered_bytes_max, gateway.body_timeout_seconds)
    webhook = Webhook(credentials, metrics, intake, reader, parse)
    events = CanonicalEvents(credentials, intake, reader, parse_canonical)
    probes = Probes(metrics, readiness)
    paths: dict[str, dict[str, Handler]] = {
        WEBHOOK_PATH: {"GET": webhook.subscribe, "POST": webhook.receive},
        EVENTS_PATH: {"POST": events.receive},
        **probes.handlers(),
    }
    endpoints = {path: _Endpoint(path, handlers, metrics) for path, handlers in paths.items()}

    async def refused_by_router(_request: Request, exception: Exception) -> Response:
        refused = cast("HTTPException", exception)  # registered for this class only
        # The path is not a label, as anyone can invent paths.
        metrics.count_request(OTHER, refused.status_code)
        return router_refusal(refused)

    return _Gateway(
        endpoints[WEBHOOK_PATH],
        _routes(endpoints, paths),
        {HTTPException: refused_by_router},
    )


def create_probes(
    metrics: Metrics, readiness: Readiness, windows: WindowsEndpoint | None = None
) -> Starlette:
    """Return an ASGI application with the probes, for a process that takes no webhooks."""
    handlers = Probes(metrics, readiness).handlers()
    if windows is not None:
        handlers[WINDOWS_PATH] = {"POST": windows.answer}
    return _answering(handlers, metrics)


def create_metrics(metrics: Metrics) -> Starlette:
    """Return an ASGI application with ``/metrics`` alone, for a process whose probes are elsewhere."""
    return _answering({"/metrics": {"GET": Probes(metrics, dict).metrics}}, metrics)


def _answering(handlers: Mapping[str, Mapping[str, Handler]], metrics: Metrics) -> Starlette:
    endpoints = {path: _Endpoint(path, by_method, metrics) for path, by_method in handlers.items()}
    return Starlette(routes=_routes(endpoints, handlers))


def _routes(endpoints: Mapping[str, _Endpoint], handlers: Mapping[str, Mapping[str, Handler]]) -> list[Route]:
    return [Route(path, endpoint, methods=list(handlers[path])) for path, endpoint in endpoints.items()]


class _Gateway(Starlette):
    """The application, with a short way for signed webhooks.

    The endpoint turns its own faults into answers, so that Starlette's middleware and router add nothing but time.
    """

    def __init__(
        self, webhook: _Endpoint, routes: list[Route], exception_handlers: dict[Any, ExceptionHandler]
    ) -> None:
        """Take the webhook's endpoint besides the routes, which hold it too."""
        super().__init__(routes=routes, exception_handlers=exception_handlers)
        # A provider takes a redirect for a failure, and nobody counts it: another address is a 404 like any other.
        self.router.redirect_slashes = False
        self._webhook = webhook

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a webhook POST at once, anything else by the routes."""
        if scope["type"] == "http" and scope["path"] == WEBHOOK_PATH and scope["method"] == "POST":
            await self._webhook(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class Webhook:
    """Meta's webhook: the verification GET and the signed POST."""

    def __init__(
        self,
        credentials: CredentialsNow,
        metrics: Metrics,
        intake: Intake,
        reader: BodyReader,
        parse: Parse,
    ) -> None:
        """Take what to ask for the secrets and the token of now."""
        self._credentials = credentials
        self._metrics = metrics
        self._intake = intake
        self._reader = reader
        self._parse = parse

    async def subscribe(self, scope: Scope, _receive: Receive) -> Response:
        """Answer the provider's verification: the challenge as plain text, if the token is ours."""
        query, verify_tokens = Request(scope).query_params, self._credentials().verify_tokens
        token_matches = is_one_of(query.get("hub.verify_token", ""), verify_tokens)
        if query.get("hub.mode") == "subscribe" and token_matches:
            challenge = query.get("hub.challenge", "")
            return PlainTextResponse(challenge, headers={"x-content-type-options": "nosniff"})
        hint = "hub.verify_token must equal gateway.verify_token, and hub.mode must be subscribe"
        if not verify_tokens:
            hint = "no token is configured: set gateway.verify_token, and the same value at the provider"
        raise RequestRefused(403, "verification_failed", "this is not a subscription we know", hint)

    async def receive(self, scope: Scope, receive: Receive) -> Response:
        """Take a signed body; 200 means that all its updates are durable, the refused ones in the dead letter."""
        signer, body = await self._authenticate(scope, receive)
        parsed = self._intake.parse(body, self._parse)
        # A secret for all accounts is the usual case, and needs no second look at the body.
        if signer.accounts is not None:
            named = {event.account for event in parsed.events} | entry_ids(body)
            if not signer.may_speak_for(named | {refusal.account for refusal in parsed.refusals} - {""}):
                raise RequestRefused(
                    403,
                    "wrong_account",
                    "the secret that signed this body does not belong to every account in it",
                    "sign with a secret of that account, or list the secret in gateway.app_secrets",
                )
        return JsonResponse(await self._intake.keep(parsed))

    async def _authenticate(self, scope: Scope, receive: Receive) -> tuple[Signer, bytes]:
        try:
            if not self._credentials().app_secrets:
                raise RequestRefused(
                    401,
                    "no_app_secret",
                    "no app secret is configured, so that nothing can be authentic",
                    "set gateway.app_secrets (CONVOMETER_GATEWAY__APP_SECRETS) to the app secret of your Meta app",
                    close=True,
                )
            signature = parse_signature(header(scope, SIGNATURE_HEADER))
            body = await self._reader.read(scope, receive)
            # Asked again: a slow body can outlast a secret, and one taken away is taken away.
            signer = self._credentials().app_secrets.verify(body, signature)
            if signer is None:
                raise RequestRefused(
                    401,
                    "signature_wrong",
                    "no configured app secret gives this signature",
                    "check the app secret, and that no proxy changes the body on its way",
                )
        except RequestRefused as refused:
            if refused.status == 401:
                self._metrics.gateway_signature_failures.inc()
            raise
        return signer, body


class CanonicalEvents:
    """Canonical events from a sender of one's own, with a bearer token."""

    def __init__(self, credentials: CredentialsNow, intake: Intake, reader: BodyReader, parse: Parse) -> None:
        """Take what to ask for the tokens of now."""
        self._credentials = credentials
        self._intake = intake
        self._reader = reader
        self._parse = parse

    async def receive(self, scope: Scope, receive: Receive) -> Response:
        """Take a body of canonical events; the same promise as for webhooks."""
        check_bearer(header(scope, b"authorization"), self._credentials().events_tokens)
        body = await self._reader.read(scope, receive)
        return JsonResponse(await self._intake.keep(self._intake.parse(body, self._parse)))


class Probes:
    """What an operator's tools ask."""

    def __init__(self, metrics: Metrics, readiness: Readiness) -> None:
        """Take the registry and the question to ask for readiness."""
        self._metrics = metrics
        self._readiness = readiness

    def handlers(self) -> dict[str, dict[str, Handler]]:
        """Return the handler of each path and method."""
        return {
            "/healthz": {"GET": self.alive},
            "/readyz": {"GET": self.ready},
            "/metrics": {"GET": self.metrics},
        }

    async def alive(self, _scope: Scope, _receive: Receive) -> Response:
        """Answer 200: the process serves."""
        return JsonResponse({"status": "ok"})

    async def ready(self, _scope: Scope, _receive: Receive) -> Response:
        """Answer 200 if every component is ready, else 503 with the causes."""
        causes = self._readiness()
        components = {name: {"ready": not cause, "cause": cause} for name, cause in causes.items()}
        if any(causes.values()):
            waiting = ", ".join(sorted(name for name, cause in causes.items() if cause))
            error = {"code": "not_ready", "message": f"not ready: {waiting}", "hint": "see components"}
            return JsonResponse({"error": error, "components": components}, 503)
        return JsonResponse({"status": "ready", "components": components})

    async def metrics(self, _scope: Scope, _receive: Receive) -> Response:
        """Answer with all metrics in Prometheus's text format."""
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)


class _Endpoint:
    """One path as an ASGI application: a refusal becomes its answer, and every answer is counted.

    Not a function, which Starlette would wrap once more for what is done here anyway.
    """

    def __init__(self, path: str, handlers: Mapping[str, Handler], metrics: Metrics) -> None:
        """Take one handler per method."""
        self._path = path
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; the router lets only known methods through."""
        try:
            response = await self._handlers[scope["method"]](scope, receive)
        except RequestRefused as refused:
            response = refusal_response(refused)
        except Exception:  # a fault of ours must not leave the sender without an answer
            _log.exception("a request to %s failed", self._path)
            response = refusal_response(INTERNAL_ERROR)
        self._metrics.count_request(self._path, response.status_code)
        await response(scope, receive, send)


def entry_ids(body: bytes) -> frozenset[str]:
    """Return the account ids in ``entry[].id`` of a body that was parsed before.

    Also those whose updates are all ignored: not even these may be sent with another account's secret.

    Raises:
        RequestRefused: 400, if the body is not JSON to a strict reader, so that its accounts are in doubt.
    """
    try:
        content = load_json(body)
    except UnparseableBody:
        raise unreadable_body() from None
    entries = content.get("entry") if isinstance(content, dict) else None
    found = [entry.get("id") for entry in entries or () if isinstance(entry, dict)]
    return frozenset(str(identifier) for identifier in found if isinstance(identifier, str | int))
