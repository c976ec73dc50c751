"""Turns answers into JSON or, by ``Accept``, into csv.

Owns the choice between them. Amounts leave as decimal text, so that no reader makes binary fractions of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dashboard.http import Refusal, tagged
from dashboard.site import Visit
from metering.charges import Charge
from schemas.money import decimal_of
from sinks.exports.flat import cell_text, csv_bytes

JSON: Final = "application/json"
CSV: Final = "text/csv"
_MONEY: Final = ("rate", "amount", "provider_amount")


def wanted_type(request: Request) -> str:
    """Return what the client wants of JSON and csv; without a wish JSON.

    Raises:
        Refusal: 406, neither.
    """
    best, best_weight = "", 0.0
    for part in request.headers.get("accept", "*/*").split(","):
        media_type, *parameters = [piece.strip().lower() for piece in part.split(";")]
        weight = _weight(parameters)
        for offered in (JSON, CSV):
            kind = offered.partition("/")[0]
            if media_type in (offered, f"{kind}/*", "*/*") and weight > best_weight:
                best, best_weight = offered, weight
    if not best:
        raise Refusal(406, f"Accept: this is answered as {JSON} or {CSV}")
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
) -> Response:
    """Return rows, as JSON under ``data`` beside ``more``, or as csv with the cursor in a Link header.

    Args:
        visit: who asks, and for what.
        rows: one page of them.
        columns: of the csv.
        more: beside the rows; ``next`` is the cursor of the rows behind them.
        version: of the totals, read before the rows were: rows that are newer than their tag are only sent once more.
            None = they change without the totals, so that the tag goes by what is answered.
    """
    permissions = ",".join(sorted(visit.principal.permissions))
    form = wanted_type(visit.request)
    if form == JSON:
        response = Response(msgspec.json.encode({"data": rows, **more}), media_type=JSON)
    else:
        response = Response(csv_of(rows, columns), media_type="text/csv; charset=utf-8; header=present")
        if more.get("next"):
            following = visit.request.url.include_query_params(after=str(more["next"]))
            response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if version is None:
        version = hashlib.sha256(response.body).hexdigest()
    return tagged(visit.request, response, version, permissions, form)


def csv_of(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> bytes:
    """Return rows as RFC 4180 with LF; an empty cell = null."""
    return csv_bytes([columns, *([cell_text(row.get(column)) for column in columns] for row in rows)])


def json_response(content: object) -> Response:
    """Return one object that depends on the moment."""
    return Response(msgspec.json.encode(content), media_type=JSON)


def charge_row(charge: Charge) -> dict[str, object]:
    """Return a charge with its amounts as decimal text."""
    row = {name: getattr(charge, name) for name in charge.__struct_fields__}
    for name in _MONEY:
        row[name] = None if row[name] is None else f"{decimal_of(row[name]):f}"
    return row
