#!/bin/sh
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
#
# Before nginx starts: source every /docker-entrypoint.d/*.envsh and run every executable *.sh, in order of name.
set -e

say() {
    [ -n "${NGINX_ENTRYPOINT_QUIET_LOGS:-}" ] || echo "$0: $*"
}

case "$1" in
nginx | nginx-debug)
    for part in /docker-entrypoint.d/*; do
        case "$part" in
        *.envsh | *.sh)
            if [ ! -x "$part" ]; then
                say "Ignoring $part: not executable"
            elif [ "${part%.envsh}" != "$part" ]; then
                say "Sourcing $part"
                # shellcheck disable=SC1090 # what the image's user has put there
                . "$part"
            else
                say "Running $part"
                "$part"
            fi
            ;;
        *) say "Ignoring $part" ;;
        esac
    done
    say "Configuration complete; ready for start up"
    ;;
esac

exec "$@"
