#!/usr/bin/env bash
# Stops what up.sh started, by its process numbers only. With --purge, removes $SLURM_LAB. Packages stay installed.
set -uo pipefail
LAB=${SLURM_LAB:-/tmp/slurm-lab}
export SLURM_CONF=$LAB/slurm.conf
PATIENCE=150; [ "${1:-}" != --purge ] || PATIENCE=3    # tenths of a second, before kill -9
[ -f "$LAB/slurm.conf" ] || { echo "slurm: nothing at $LAB"; exit 0; }
stop() { # pidfile name
  local f=$LAB/run/$1.pid p; [ -s "$f" ] || return 0; p=$(cat "$f")
  # the pid must still be that program (a stale file may name another process)
  case "$(ps -o comm= -p "$p" 2>/dev/null)" in "$2"*) ;; *) rm -f "$f"; return 0;; esac
  kill "$p" 2>/dev/null
  for _ in $(seq "$PATIENCE"); do kill -0 "$p" 2>/dev/null || break; sleep 0.1; done
  kill -0 "$p" 2>/dev/null && kill -9 "$p"
  rm -f "$f"
}
if [ -s "$LAB/run/slurmctld.pid" ] && kill -0 "$(cat "$LAB/run/slurmctld.pid")" 2>/dev/null; then
  ids=$(timeout 10 squeue -h -o %A 2>/dev/null | sort -u | tr '\n' ' ')
  [ -z "$ids" ] || timeout 20 scancel $ids
  for _ in $(seq 100); do [ -n "$(timeout 10 squeue -h 2>/dev/null)" ] || break; sleep 0.1; done
fi
stop slurmd slurmd; stop slurmctld slurmctld; stop slurmdbd slurmdbd; stop mysqld mariadbd; stop munged munged
[ "${1:-}" = --purge ] && rm -rf "$LAB"
echo "slurm: stopped"
