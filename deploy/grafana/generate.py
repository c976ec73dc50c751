"""Writes Grafana's dashboards and alert rules from their code.

From the repository's root::

    python -m deploy.grafana.generate

Owns which file holds what. The files are checked in, so that an installation needs no Python; a test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import yaml

from deploy.grafana.alerts import alert_rules
from deploy.grafana.mau_and_package import mau_and_package
from deploy.grafana.messages_funnel import messages_funnel
from deploy.grafana.panels import Json
from deploy.grafana.pipeline_health import pipeline_health
from deploy.grafana.usage_and_cost import usage_and_cost

DIRECTORY: Final = Path(__file__).parent
ALERTS: Final = DIRECTORY / "provisioning" / "alerting" / "convometer.yml"
DASHBOARDS: Final[dict[str, Callable[[], Json]]] = {
    "usage-and-cost": usage_and_cost,
    "mau-and-package": mau_and_package,
    "messages-funnel": messages_funnel,
    "pipeline-health": pipeline_health,
}
"""By the name of their file."""
_HEAD: Final = """\
# Made by `make grafana` from deploy/grafana/alerts.py. Who is told is set up in Grafana: docs/guides/grafana.md.
"""


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Writes SQL as lines, not as one quoted string."""


def _text(dumper: Any, value: str) -> Any:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def files() -> dict[Path, str]:
    """Return the text of every generated file."""
    texts = {
        DIRECTORY / "dashboards" / f"{name}.json": json.dumps(build(), indent=2) + "\n"
        for name, build in DASHBOARDS.items()
    }
    rules = yaml.dump(alert_rules(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return texts | {ALERTS: _HEAD + rules}


def main() -> None:
    """Write what has changed, and remove dashboards that there are no more."""
    wanted = files()
    for old in (DIRECTORY / "dashboards").glob("*.json"):
        if old not in wanted:
            old.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
