#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
#
# test_settings.sh PROJECT FRAGMENT SETTING...: have the running image judge the settings (NAME=VALUE) before FRAGMENT,
# which holds them, is installed: with a wrong one the server would not come up again.
set -eu
command -v docker >/dev/null || exit 0
container=$(docker ps -q --filter "label=com.docker.compose.project=$1" --filter label=com.docker.compose.service=postgres \
    --filter status=running)
[ -n "$container" ] || exit 0
shift 2
for setting; do
    set -- "$@" -c "$setting"
    shift
done
if ! words=$(docker exec "$container" postgres "$@" -C max_connections 2>&1); then
    printf 'PostgreSQL refuses the settings, so it was not touched (postgres_settings?):\n%s\n' "$words" >&2
    exit 1
fi
