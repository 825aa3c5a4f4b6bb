#!/usr/bin/env bash
# Makes the root of a container image of one Debian package, without a Docker build and without a registry of images.
#   image.sh SUITE NAME PACKAGE ROOT      NAME is rabbitmq, postgres or a base of daifu's own image (without an entrypoint);
#                                         ROOT is a folder that does not exist yet
set -euo pipefail
suite=$1 name=$2 package=$3 root=$4
here=$(cd "$(dirname "$0")" && pwd)

# The mirror that this machine's own apt uses.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | head -n 1)

# In two steps, so that what follows is there before a package's scripts run: no server may start in here.
debootstrap --foreign --variant=minbase --include="$package" "$suite" "$root" "$mirror"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
mkdir -p "$root/etc/postgresql-common"
echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
chroot "$root" /debootstrap/debootstrap --second-stage

if [ -e "$here/$name-entrypoint" ]; then install -m 755 "$here/$name-entrypoint" "$root/entrypoint"; fi
if [ "$name" = rabbitmq ]; then
    echo '[rabbitmq_management].' >"$root/etc/rabbitmq/enabled_plugins"
fi
if [ "$name" = prometheus ]; then
    install -d -o 65534 -g 65534 "$root/prometheus" # nobody's, as in the usual image
fi
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
