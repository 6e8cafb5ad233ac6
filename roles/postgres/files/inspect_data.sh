#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
#
# inspect_data.sh DIRECTORY MAJOR PROJECT check|apply
#
# Prints "other version ..." for every data directory that is not of MAJOR. Sets aside (never deletes) a data directory
# in which initdb was cut off: no server has ever run on it (postmaster.opts is written by the first start; a restored
# backup has none either, but carries backup_label). Left there, it would be taken for a database and never start.
set -eu
directory=$1 major=$2 project=$3 mode=$4

[ -d "$directory" ] || exit 0

find "$directory" -maxdepth 3 -name PG_VERSION -type f ! -path '*.cut-off.*' | while read -r file; do
    found=$(cat "$file")
    if [ "$found" != "$major" ] && [ -n "$found" ]; then
        echo "other version: ${file%/PG_VERSION} is of $found"
    fi
done

data=$directory/$major/data
[ -n "$(ls -A "$data" 2>/dev/null)" ] || exit 0
if [ -e "$data/postmaster.opts" ] || [ -e "$data/backup_label" ]; then
    exit 0
fi
containers=
if command -v docker >/dev/null; then
    of_postgres="--filter label=com.docker.compose.project=$project --filter label=com.docker.compose.service=postgres"
    # A container that runs may be in the middle of its initdb
    # shellcheck disable=SC2086
    [ -z "$(docker ps -q $of_postgres --filter status=running)" ] || exit 0
    # shellcheck disable=SC2086
    containers=$(docker ps -aq $of_postgres)
fi
if [ "$mode" = apply ]; then
    # It starts over and over and fails; a new one has a clean record
    # shellcheck disable=SC2086
    [ -z "$containers" ] || docker rm --force $containers >/dev/null
    mv "$data" "$data.cut-off.$(date -u +%Y%m%dT%H%M%SZ)"
fi
echo "set aside: $data, initdb was cut off in it and no server ever ran on it"
