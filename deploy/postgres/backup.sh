#!/bin/sh
# One consistent backup of daifu's database, while everything runs, to stdout. PGHOST, PGUSER, PGPASSWORD … say where (libpq).
#   deploy/postgres/backup.sh DATABASE >daifu.dump
# Between two of them, and for the last seconds before a disaster, PostgreSQL's own archiving of its log is what helps.
set -eu
exec pg_dump --format=custom --no-password "${1:?the database}"
