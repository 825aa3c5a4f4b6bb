#!/usr/bin/env bash
# Installs Debian packages (as root) so that no system service of theirs is started or enabled, now or at the next boot.
#   debian_install.sh PACKAGE…
set -euo pipefail

# One at a time: two test processes may find at the same moment that something is missing.
exec 9>/tmp/daifu-debian-install.lock
flock 9

policy=/usr/sbin/policy-rc.d
made_policy=

tidy_up() {
    if [ -n "$made_policy" ]; then rm -f "$policy"; fi
}
trap tidy_up EXIT

# The units and init scripts that packages have brought so far.
services() {
    find /lib/systemd/system/ /etc/init.d/ -maxdepth 1 \
        \( -name '*.service' -o -name '*.socket' -o -name '*.timer' -o -path '/etc/init.d/*' \) -printf '%f\n' 2>/dev/null |
        sort -u || true
}

before=$(services)
# invoke-rc.d and deb-systemd-invoke ask this file: 101 means "not now".
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    made_policy=1
fi

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -q -y --no-install-recommends "$@"

# Debian enables what it installs; what came just now is disabled again. Links are what "enabled" means, and removing them
# works in a container without systemd too; deb-systemd-helper refuses to run outside dpkg.
while read -r service; do
    case $service in
        '') ;;
        *.service | *.socket | *.timer) find /etc/systemd/system -type l -path '*.wants/*' -name "$service" -delete ;;
        *) update-rc.d "$service" disable >/dev/null 2>&1 || true ;;
    esac
done < <(comm -13 <(printf '%s\n' "$before") <(services))
