#!/bin/sh
# What both pipelines do, so that nobody has to believe two texts: check, show, deploy as a canary, wait for its verdict,
# and take it back when the wait is over without one.
#
#   PENSTOCK_ADMIN=http://127.0.0.1:9901 PENSTOCK_ADMIN_TOKEN=… deploy/ci/canary.sh check|plan|deploy|abort FILE…
#
# The gateway itself promotes and rolls back by what the canary's own requests show (`deployment` in the routes); this only
# waits. `abort` takes the canary back if it is that of these very files, and leaves others alone; whoever interrupts
# `deploy` has that done, too.
#
# CANARY_PATIENCE_SECONDS (3600): how long a verdict is waited for. CANARY_POLL_SECONDS (10): how often it is asked for; a
# gateway that does not answer for a while is asked on.
#
# Exit code 0: all is well; after `deploy`, it serves everybody. 1: problems, or it was taken back. 2: no such step, or a tool
# is missing.
set -eu

step=${1:-}
[ $# -gt 0 ] && shift
patience=${CANARY_PATIENCE_SECONDS:-3600}
pause=${CANARY_POLL_SECONDS:-10}
id=''

for tool in jq penstock; do
    command -v "$tool" >/dev/null || { echo "$0 needs $tool" >&2; exit 2; }
done

# What has become of $id, in a word and what is to be said of it.
became() {
    listing=$(penstock deployments --json) || { echo 'unheard: the gateway does not answer'; return; }
    printf '%s' "$listing" | jq -r --arg id "$id" '
        if .canary.id == $id then "canary: serves \(.canary.share), \(.canary.waiting)"
        elif .baseline == $id then "running: serves everybody"
        else first(.deployments[] | select(.id == $id)) // {status: "gone", reason: "the gateway does not know it any more"}
            # one that has served everybody says why it was promoted
            | if .status == "superseded" and .reason then "running: served everybody, until the next one"
              elif .status == "superseded" then "replaced: another one took its place before its verdict"
              else "\(.status): \(.reason // "")" end
        end'
}

take_back() {
    case $(became) in
    canary:*) penstock canary abort ;;
    *) echo "$id is no canary now; nothing is taken back" >&2 ;;
    esac
}

interrupted() {
    trap - HUP INT TERM
    [ -z "$id" ] || take_back
    exit 1
}

case $step in
check)
    penstock check "$@"
    ;;
plan)
    penstock plan "$@"
    ;;
deploy)
    case $patience in '' | *[!0-9]*) echo "CANARY_PATIENCE_SECONDS is no number of seconds: $patience" >&2; exit 2 ;; esac
    trap interrupted HUP INT TERM
    told=$(penstock deploy "$@" --strategy canary --json)
    id=$(printf '%s' "$told" | jq -er .id)
    ends=$(($(date +%s) + patience))
    last=''
    while :; do
        now=$(became)
        [ "$now" = "$last" ] || echo "$id $now"
        last=$now
        case $now in
        running:*) exit 0 ;;
        rolled-back:* | refused:* | replaced:* | gone:*) exit 1 ;;
        esac
        [ "$(date +%s)" -lt "$ends" ] || break
        # waited for, so that an interruption is heeded at once
        sleep "$pause" & wait $!
    done
    echo "$id has no verdict after $patience seconds; it is taken back" >&2
    take_back
    exit 1
    ;;
abort)
    told=$(penstock deploy "$@" --dry-run --json)
    id=$(printf '%s' "$told" | jq -er .id)
    take_back
    ;;
*)
    echo "usage: $0 check|plan|deploy|abort FILE…" >&2
    exit 2
    ;;
esac
