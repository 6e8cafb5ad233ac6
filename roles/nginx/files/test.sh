#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
#
# test.sh PROJECT FILE: have the running Nginx test a configuration beside the one that it serves. Before the first
# start there is none: then the rollout tests it in a container of the new image.
set -eu
command -v docker >/dev/null || exit 0
container=$(docker ps --filter "label=com.docker.compose.project=$1" --filter label=billing.service=nginx \
    --filter status=running --format '{{.ID}}' | head -n 1)
[ -n "$container" ] || exit 0
if ! words=$(docker exec -i "$container" sh -c 'cat >/run/candidate.conf && nginx -t -q -c /run/candidate.conf' <"$2" 2>&1); then
    printf 'Nginx refuses the new configuration, so the one in place stays and serves on (nginx_extra_config?):\n%s\n' "$words" >&2
    exit 1
fi
