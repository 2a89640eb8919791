#!/bin/sh
# What both pipelines do, so that nobody has to believe two texts: check, show, deploy as a canary, wait for its verdict,
# and take it back when the wait is over without one.
#
#   PENSTOCK_ADMIN=http://127.0.0.1:9901 PENSTOCK_ADMIN_TOKEN=… deploy/ci/canary.sh check|plan|deploy FILE…
#
# The gateway itself promotes and rolls back by what the canary's own requests show (docs: `deployment` of the routes);
# this only waits. Exit code 0: it serves everybody. 1: problems, or it was taken back.
set -eu

step=$1
shift
patience=${CANARY_PATIENCE_SECONDS:-3600}

case $step in
check)
    penstock check "$@"
    ;;
plan)
    penstock plan "$@"
    ;;
deploy)
    told=$(penstock deploy "$@" --strategy canary --json)
    id=$(printf '%s' "$told" | jq -r '.id // empty')
    if [ -z "$id" ]; then
        echo "nothing to deploy: it serves already"
        exit 0
    fi
    ends=$(($(date +%s) + patience))
    status=''
    while [ "$(date +%s)" -lt "$ends" ]; do
        status=$(penstock deployments --json | jq -r --arg id "$id" 'first(.deployments[] | select(.id == $id) | .status) // "unknown"')
        case $status in
        running | superseded) echo "$id serves everybody"; exit 0 ;;
        rolled-back | refused) penstock deployments; echo "$id was taken back" >&2; exit 1 ;;
        esac
        sleep 10
    done
    echo "$id has no verdict after $patience seconds (status: $status); it is taken back" >&2
    penstock rollback
    exit 1
    ;;
*)
    echo "usage: $0 check|plan|deploy FILE…" >&2
    exit 2
    ;;
esac
