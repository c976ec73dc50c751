"""The OpenAPI document and a page that shows it, both served from here: nothing is loaded from elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from dashboard.access.permissions import Permission
from dashboard.api.access import allowed
from dashboard.api.answers import JSON
from dashboard.http import Refusal
from dashboard.site import Visit

_SECURITY = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "a token of `convometer user token add`",
    }
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """Return the document: FastAPI's, with how one signs in, and the one shape of errors in place of its own."""
    document = app.openapi()
    document.setdefault("components", {})["securitySchemes"] = _SECURITY
    document["security"] = [{"bearer": []}]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    # FastAPI writes its own type beside ours.
                    response["content"] = {
                        "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                    }
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    return document


async def openapi_json(request: Request) -> Response:
    """Return the document. It says nothing about any account, and needs no sign-in."""
    return Response(msgspec.json.encode(openapi_document(request.app)), media_type=JSON)


async def docs_page(request: Request) -> Response:
    """Show the document to whoever is signed in."""
    try:
        visit: Visit = await allowed(Permission.USAGE)(request)
    except Refusal as refusal:
        if refusal.status_code != 401:
            raise
        return RedirectResponse("/sign-in?next=/api/docs", 303)
    document = openapi_document(request.app)
    return await visit.render(
        "api.html",
        document=document,
        operations=_operations(document),
        schemas=document["components"]["schemas"],
    )


def _operations(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "method": method.upper(),
            "path": path,
            "text": operation.get("description", ""),
            "parameters": operation.get("parameters", []),
            "answer": _answer_name(operation),
        }
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]


def _answer_name(operation: dict[str, Any]) -> str:
    """Return the name of the schema that an operation answers with, "" = none."""
    schema = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    reference = schema.get("$ref") or schema.get("items", {}).get("$ref", "")
    return str(reference.rpartition("/")[2])


def api_documents() -> list[Route]:
    """Return the routes of document and page."""
    return [Route("/api/openapi.json", openapi_json), Route("/api/docs", docs_page)]
