#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
#
# Render /etc/nginx/templates/**/*.template into conf.d, replacing only variables that are defined.
set -e

from="${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}"
suffix="${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}"
to="${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}"

[ -d "$from" ] || exit 0
if [ ! -w "$to" ]; then
    echo "$0: $from exists, but $to is not writable" >&2
    exit 0
fi
defined=$(env | cut -d= -f1 | grep -E "${NGINX_ENVSUBST_FILTER:-}" | sed 's/.*/${&}/' | tr '\n' ' ')
find "$from" -follow -type f -name "*$suffix" | while read -r template; do
    relative="${template#"$from"/}"
    output="$to/${relative%"$suffix"}"
    mkdir -p "$(dirname "$output")"
    envsubst "$defined" <"$template" >"$output"
done
