"""What surrounds convometer in production. Only Grafana's dashboards are code."""
