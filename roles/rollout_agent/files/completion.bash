# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026 billing.infrastructure contributors
# shellcheck shell=bash
# Managed by Ansible, role billing.infrastructure.rollout_agent

_billing_rollout() {
    local current=${COMP_WORDS[COMP_CWORD]} command=${COMP_WORDS[1]} words
    case $COMP_CWORD:$command in
        1:*) words="status check apply rollback restart history hold resume quarantine wait doctor --help" ;;
        2:quarantine) words="list clear" ;;
        *:status) words="--json --help" ;;
        *:check) words="--scheduled --help" ;;
        *:apply) words="api nginx --digest --force --help" ;;
        *:rollback | *:restart | *:resume) words="api nginx --help" ;;
        *:history) words="api nginx --count --json --help" ;;
        *:hold) words="api nginx --reason --help" ;;
        *:wait) words="api nginx --digest --timeout --help" ;;
        *) words="--help" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _billing_rollout billing-rollout
