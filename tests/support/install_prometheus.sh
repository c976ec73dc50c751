#!/bin/sh
# Installs Prometheus and Alertmanager from Debian's packages, for the tests. Their services are not started: a machine
# that tests should not listen on 9090 from then on. Nothing but the policy file of Debian's own is asked before a start.
set -eu

policy=/usr/sbin/policy-rc.d
if ! test -e "$policy"; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	prometheus prometheus-alertmanager >/dev/null
