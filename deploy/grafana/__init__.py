"""Grafana's dashboards and alert rules as code; ``python -m deploy.grafana.generate`` writes their files."""
