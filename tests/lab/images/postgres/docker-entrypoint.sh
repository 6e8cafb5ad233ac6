#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
#
# The first-start contract of the official PostgreSQL image, written anew (README.md says what is kept).
set -euo pipefail

fail() {
    printf 'Error: %s\n' "$*" >&2
    exit 1
}

# setting NAME [DEFAULT]: take NAME or the content of the file NAME_FILE, never both, and export it.
setting() {
    local name=$1 file_name=${1}_FILE value=${2:-}
    if [[ -n ${!name:-} && -n ${!file_name:-} ]]; then
        fail "both $name and $file_name are set; use one of them"
    elif [[ -n ${!name:-} ]]; then
        value=${!name}
    elif [[ -n ${!file_name:-} ]]; then
        value=$(<"${!file_name}")
    fi
    export "$name=$value"
    unset "$file_name"
}

create_directories() {
    mkdir -p "$PGDATA" /var/run/postgresql || true
    chmod 00700 "$PGDATA" 2>/dev/null || true
    chmod 03775 /var/run/postgresql 2>/dev/null || true
    if [[ -n ${POSTGRES_INITDB_WALDIR:-} ]]; then
        mkdir -p "$POSTGRES_INITDB_WALDIR"
        chmod 0700 "$POSTGRES_INITDB_WALDIR" 2>/dev/null || true
    fi
    if ((EUID == 0)); then
        find "$PGDATA" /var/run/postgresql ${POSTGRES_INITDB_WALDIR:+"$POSTGRES_INITDB_WALDIR"} \
            \! -user postgres -exec chown postgres '{}' +
    fi
}

# initdb wants a name for the user that runs it: lend one where --user gave an unknown uid.
lend_user_name() {
    getent passwd "$EUID" >/dev/null && return
    NSS_WRAPPER_PASSWD=$(mktemp)
    NSS_WRAPPER_GROUP=$(mktemp)
    LD_PRELOAD=$(echo /usr/lib/*/libnss_wrapper.so)
    echo "postgres:x:$EUID:$(id -g):PostgreSQL:$PGDATA:/bin/false" >"$NSS_WRAPPER_PASSWD"
    echo "postgres:x:$(id -g):" >"$NSS_WRAPPER_GROUP"
    export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP LD_PRELOAD
}

return_user_name() {
    [[ -n ${NSS_WRAPPER_PASSWD:-} ]] || return 0
    rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
    unset LD_PRELOAD NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
}

require_password() {
    if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
        fail "the database is not initialized and no superuser password is given: set POSTGRES_PASSWORD" \
            "or POSTGRES_PASSWORD_FILE (or, on a trusted network only, POSTGRES_HOST_AUTH_METHOD=trust)"
    fi
    if [[ $POSTGRES_HOST_AUTH_METHOD == trust ]]; then
        echo "WARNING: POSTGRES_HOST_AUTH_METHOD is trust: anyone who reaches the port is a superuser" >&2
    fi
}

init_database() {
    lend_user_name
    # POSTGRES_INITDB_ARGS is a shell fragment: the official image evaluates it too
    eval 'initdb --username="$POSTGRES_USER" --pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD")' \
        "${POSTGRES_INITDB_WALDIR:+--waldir=\"\$POSTGRES_INITDB_WALDIR\"}" "${POSTGRES_INITDB_ARGS:-}" '"$@"'
    return_user_name
}

allow_hosts() {
    local method=${POSTGRES_HOST_AUTH_METHOD:-$(postgres -C password_encryption "$@")}
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

run_sql() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" --no-password \
        --dbname "$POSTGRES_DB" "$@"
}

create_database() {
    [[ $POSTGRES_DB == postgres ]] && return
    if [[ -z $(run_sql --dbname postgres --tuples-only --set db="$POSTGRES_DB" \
        <<<"SELECT 1 FROM pg_database WHERE datname = :'db';") ]]; then
        run_sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db";'
    fi
}

run_init_files() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
        *.sh)
            if [[ -x $file ]]; then
                echo "$0: running $file"
                "$file"
            else
                echo "$0: sourcing $file"
                # shellcheck source=/dev/null
                . "$file"
            fi
            ;;
        *.sql) echo "$0: running $file" && run_sql -f "$file" ;;
        *.sql.gz) echo "$0: running $file" && gunzip -c "$file" | run_sql ;;
        *.sql.xz) echo "$0: running $file" && xzcat "$file" | run_sql ;;
        *.sql.zst) echo "$0: running $file" && zstd -dc "$file" | run_sql ;;
        *'/*') ;;
        *) echo "$0: ignoring $file" ;;
        esac
    done
}

first_start() {
    require_password
    ls /docker-entrypoint-initdb.d/ >/dev/null # fail early where it cannot be read
    init_database
    allow_hosts "$@"
    export PGPASSWORD=$POSTGRES_PASSWORD
    # Nobody but this script reaches the temporary server: no TCP, socket only
    NOTIFY_SOCKET='' pg_ctl -D "$PGDATA" -w start -o "$(printf '%q ' "$@" -c listen_addresses= -p "${PGPORT:-5432}")"
    create_database
    run_init_files
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
    echo "PostgreSQL init process complete; ready for start up."
}

wants_help() {
    local argument
    for argument; do
        case "$argument" in
        -'?' | --help | --describe-config | -V | --version) return 0 ;;
        esac
    done
    return 1
}

main() {
    if [[ ${1:0:1} == - ]]; then
        set -- postgres "$@"
    fi
    if [[ ${1:-} == postgres ]] && ! wants_help "$@"; then
        setting POSTGRES_PASSWORD
        setting POSTGRES_USER postgres
        setting POSTGRES_DB "$POSTGRES_USER"
        setting POSTGRES_INITDB_ARGS
        : "${POSTGRES_HOST_AUTH_METHOD:=}"
        create_directories
        if ((EUID == 0)); then
            exec gosu postgres "${BASH_SOURCE[0]}" "$@"
        fi
        if [[ -s $PGDATA/PG_VERSION ]]; then
            echo "PostgreSQL Database directory appears to contain a database; Skipping initialization"
        else
            first_start "${@:2}"
        fi
    fi
    exec "$@"
}

# Sourcing this file gives its functions to a script, as with the official image
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    main "$@"
fi
