"""The SQL that the dashboards and alert rules share, with the plugin's macros in it.

Owns how the tables are read: newest values (``FINAL``), live generations, the choices above a dashboard. Tables are
read directly and not through their views, which would be planned twice. Macros are expanded in this order: first
``$__conditionalAll``, then variables, then the rest.
"""

from __future__ import annotations

from typing import Final

NOT_KNOWN: Final = "none"
"""How an empty country is called: an empty choice would mean All to the plugin."""
LIVE: Final = "v.generation IN (SELECT generation FROM generations FINAL WHERE live = 1)"
COUNTRY: Final = f"if(v.country = '', '{NOT_KNOWN}', v.country)"
LOADED: Final = "(SELECT argMax(digest, loaded_at) FROM price_loads)"
"""Which price data is in force."""
FIRST_DAY: Final = "toDate($__fromTime, 'UTC')"
LAST_DAY: Final = "toDate($__toTime, 'UTC')"


def chosen(column: str, variable: str) -> str:
    """Return the condition that a column is among what a variable stands at; nothing of it is left at All."""
    return f"$__conditionalAll({column} IN (${{{variable}:singlequote}}), ${variable})"


OF_ACCOUNT: Final = chosen("v.account", "account")
OF_NUMBER: Final = chosen("v.number", "number")
OF_COUNTRY: Final = chosen(COUNTRY, "country")


def rows_of(table: str) -> str:
    """Return FROM and WHERE: the rows of a counter table on the days and at the places that are chosen."""
    # Before the newest versions are looked for, as all versions of a row agree in what is asked here: it is their key.
    return f"""\
FROM {table} AS v FINAL
PREWHERE $__dateFilter(v.day)
    AND {LIVE}
    AND {OF_ACCOUNT}
    AND {OF_NUMBER}
    AND {OF_COUNTRY}"""


def indented(text: str, depth: int = 1) -> str:
    """Return a statement to stand in parentheses."""
    return "\n".join("    " * depth + line for line in text.splitlines())


def _names(column: str, name: str, *conditions: str) -> str:
    """Return the values of a column that have a row on the chosen days, whatever the row says by now."""
    where = "\n    AND ".join(("$__dateFilter(v.day)", LIVE, *conditions))
    union = "\nUNION ALL\n".join(
        f"SELECT {column} AS {name}\nFROM {table} AS v\nWHERE {where}\nGROUP BY {name}"
        for table in ("messages", "incoming")
    )
    return f"SELECT DISTINCT {name}\nFROM\n(\n{indented(union)}\n)\nORDER BY {name}"


ACCOUNTS: Final = _names("v.account", "account")
NUMBERS: Final = _names("v.number", "number", OF_ACCOUNT)
COUNTRIES: Final = _names(COUNTRY, "country", OF_ACCOUNT)
