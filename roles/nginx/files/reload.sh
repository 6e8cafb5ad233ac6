#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
#
# reload.sh check|apply PROJECT ID: reload every running Nginx of the project that has loaded another configuration
# than ID, after it has tested the one in place, and wait until it answers with ID. Prints what it reloads.
set -eu
mode=$1 project=$2 wanted=$3
command -v docker >/dev/null || exit 0

loaded() {
    docker exec "$1" curl -fsS --max-time 2 --unix-socket /run/health.sock http://localhost/config
}

containers=$(docker ps --no-trunc --filter "label=com.docker.compose.project=$project" --filter label=billing.service=nginx \
    --filter status=running --format '{{.ID}}')
for container in $containers; do
    [ "$(loaded "$container")" != "$wanted" ] || continue
    echo "reload $(printf %.12s "$container")"
    [ "$mode" = apply ] || continue
    docker exec "$container" nginx -t -q -c /etc/nginx/billing/nginx.conf
    # Not docker kill: any signal sent by it ends the restart policy unless-stopped (github.com/moby/moby/issues/41302)
    docker exec "$container" nginx -s reload -c /etc/nginx/billing/nginx.conf
    tries=50
    until [ "$(loaded "$container")" = "$wanted" ]; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            echo "Nginx was told to reload and goes on with its old configuration: see docker logs $container" >&2
            exit 1
        fi
        sleep 0.1
    done
done
