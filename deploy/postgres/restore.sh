#!/bin/sh
# A backup from stdin into a new, empty database: all of it or nothing. The roles must be there (`daifu db roles`).
#   deploy/postgres/restore.sh DATABASE <daifu.dump
# Nothing may pay from it before `daifu recover --since TIME-OF-THE-BACKUP`: see deploy/docs/deployment.md.
set -eu
createdb --no-password "${1:?the new database}"
exec pg_restore --no-password --exit-on-error --single-transaction --dbname="$1"
