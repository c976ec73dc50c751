"""Turns answers into JSON or, by ``Accept``, into csv.

Owns the choice between them. A csv is a download: it takes that permission, and stands in the audit log. Amounts
leave as decimal text, so that no reader makes binary fractions of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from starlette.responses import Response

from dashboard.access.permissions import Permission
from dashboard.http import Refusal, tagged
from dashboard.site import Visit
from metering.charges import Charge
from schemas.money import decimal_of
from sinks.exports.flat import cell_text, csv_bytes

JSON: Final = "application/json"
CSV: Final = "text/csv"
_CSV_TYPE: Final = "text/csv; charset=utf-8; header=present"
_MONEY: Final = ("rate", "amount", "provider_amount")


def form_of(visit: Visit, offered: Sequence[str] = (JSON, CSV)) -> str:
    """Return which of the offered types the client wants; without a wish the first.

    Raises:
        Refusal: 406, none of them; 403, csv is a download, which this visitor may not have.
    """
    best, best_weight = "", 0.0
    for part in visit.request.headers.get("accept", "*/*").split(","):
        media_type, *parameters = [piece.strip().lower() for piece in part.split(";")]
        weight = _weight(parameters)
        for each in offered:
            kind = each.partition("/")[0]
            if media_type in (each, f"{kind}/*", "*/*") and weight > best_weight:
                best, best_weight = each, weight
    if not best:
        raise Refusal(406, f"Accept: this is answered as {' or '.join(offered)}")
    if best == CSV and not visit.principal.may(Permission.EXPORT):
        visit.note("denied", "", f"{visit.request.url.path} as csv needs {Permission.EXPORT}")
        raise Refusal(403, f"As csv this needs the permission `{Permission.EXPORT}`; as JSON it does not.")
    return best


def _weight(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def rows_response(
    visit: Visit,
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    more: Mapping[str, object],
    version: str | None,
    *parts: str,
) -> Response:
    """Return rows, as JSON under ``data`` beside ``more``, or as csv with the cursor in a Link header.

    Args:
        visit: who asks, and for what.
        rows: one page of them.
        columns: of the csv.
        more: beside the rows; ``next`` is the cursor of the rows behind them.
        version: of the totals, read before the rows were: rows that are newer than their tag are only sent once more.
            None = they change without the totals, so that the tag goes by what is answered.
        parts: what else they depend on beside the URL, as the days where it does not name them.
    """
    form, headers = form_of(visit), {}
    if form == JSON:
        content = msgspec.json.encode({"data": rows, **more})
    else:
        content = csv_of(rows, columns)
        if more.get("next"):
            following = visit.request.url.include_query_params(after=str(more["next"]))
            headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return answer(visit, form, content, version, *parts, headers=headers)


def answer(
    visit: Visit,
    form: str,
    content: bytes,
    version: str | None,
    *parts: str,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer with its entity tag; a csv is noted as the download that it is.

    Args:
        visit: who asks, and for what.
        form: see ``form_of``.
        content: in that form.
        version: see ``rows_response``.
        parts: what else it depends on beside the URL and what the visitor may see.
        headers: of the answer.
    """
    media_type = JSON if form == JSON else _CSV_TYPE
    response = Response(content, headers=dict(headers or {}), media_type=media_type)
    permissions = ",".join(sorted(visit.principal.permissions))
    tag_parts = (hashlib.sha256(content).hexdigest() if version is None else version, *parts)
    response = tagged(visit.request, response, *tag_parts, permissions, form)
    if form == CSV and response.status_code == HTTPStatus.OK:
        url = visit.request.url
        visit.note("export", visit.request.query_params.get("account", ""), f"{url.path} as csv {url.query}")
    return response


def csv_of(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    """Return rows as RFC 4180 with LF; an empty cell = null."""
    return csv_bytes([columns, *([cell_text(row.get(column)) for column in columns] for row in rows)])


def json_response(content: object) -> Response:
    """Return one object that depends on the moment, and is not kept; ask ``form_of`` before it is made."""
    return Response(msgspec.json.encode(content), media_type=JSON)


def charge_row(charge: Charge) -> dict[str, object]:
    """Return a charge with its amounts as decimal text."""
    row = {name: getattr(charge, name) for name in charge.__struct_fields__}
    for name in _MONEY:
        row[name] = None if row[name] is None else f"{decimal_of(row[name]):f}"
    return row
