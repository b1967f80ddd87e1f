#!/usr/bin/env bash
# A real SLURM with one node for tests, on Debian: no systemd, loopback only. Installs what is missing of it.
#   SLURM_LAB    its folder: configuration, keys, process numbers, logs
#   SLURM_PORTS  three free ports (default "6817 6818 6819")
#   SLURM_DBD=1  with accounting: MariaDB and slurmdbd, so that `sacct` works
# Afterwards: export SLURM_CONF=$SLURM_LAB/slurm.conf. A second call finds it running and returns 0.
set -euo pipefail
LAB=${SLURM_LAB:-/tmp/slurm-lab}
DBD=${SLURM_DBD:-0}
read -r PORT1 PORT2 PORT3 <<<"${SLURM_PORTS:-6817 6818 6819}"
HOST=$(hostname -s)
CPUS=$(nproc)
MEM=$(awk '/MemTotal/{print int($2/1024*0.9)}' /proc/meminfo)
[ "$(id -u)" = 0 ] || { echo "slurm: needs root" >&2; exit 1; }
case "$LAB" in /*) ;; *) echo "slurm: SLURM_LAB must be absolute" >&2; exit 1;; esac
export SLURM_CONF=$LAB/slurm.conf

# --- 1 install -----------------------------------------------------------
pk=(slurmctld slurmd slurm-client munge)
[ "$DBD" = 1 ] && pk+=(slurmdbd slurm-wlm-mysql-plugin mariadb-server)
miss=()
for p in "${pk[@]}"; do
  dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || miss+=("$p")
done
if [ ${#miss[@]} -gt 0 ]; then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${miss[@]}" >/dev/null
fi

# --- 2 configure ---------------------------------------------------------
umask 022
mkdir -p "$LAB"/{munge,ctld,slurmd,log,run}
chmod 700 "$LAB/munge"; chmod 711 "$LAB"
[ -s "$LAB/munge/munge.key" ] || ( umask 077; head -c 1024 /dev/urandom >"$LAB/munge/munge.key" )
SOCK=$LAB/run/munge.sock
acct='AccountingStorageType=accounting_storage/none'
[ "$DBD" = 1 ] && acct="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$PORT3
AccountingStoragePass=$SOCK"
cat >"$LAB/slurm.conf.new" <<CONF
ClusterName=lab
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$SOCK
CredType=cred/munge
# bind to 127.0.0.1, not to every interface
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort=$PORT1
SlurmdPort=$PORT2
StateSaveLocation=$LAB/ctld
SlurmdSpoolDir=$LAB/slurmd
SlurmctldPidFile=$LAB/run/slurmctld.pid
SlurmdPidFile=$LAB/run/slurmd.pid
SlurmctldLogFile=$LAB/log/slurmctld.log
SlurmdLogFile=$LAB/log/slurmd.log
# nothing that needs cgroups
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=5
MinJobAge=3600
KillWait=5
MailProg=/bin/true
$acct
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$CPUS RealMemory=$MEM State=UNKNOWN
PartitionName=lab Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
CONF
if cmp -s "$LAB/slurm.conf.new" "$LAB/slurm.conf" 2>/dev/null; then rm "$LAB/slurm.conf.new"
else mv "$LAB/slurm.conf.new" "$LAB/slurm.conf"; changed=1; fi

# --- 3 start (each only when its own pid file names no live process) -----
alive() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }
wait_for() { # seconds, what, command...
  local n=$(( $1 * 10 )) what=$2; shift 2
  until timeout 5 "$@" >/dev/null 2>&1; do
    n=$((n-1)); [ $n -gt 0 ] || { echo "slurm: gave up on $what; see $LAB/log" >&2; tail -5 "$LAB"/log/*.log >&2; exit 1; }
    sleep 0.1
  done; }

alive "$LAB/run/munged.pid" || munged --force --socket="$SOCK" --key-file="$LAB/munge/munge.key" \
  --pid-file="$LAB/run/munged.pid" --log-file="$LAB/log/munged.log" --seed-file="$LAB/munge/seed"
wait_for 10 munged munge -n -S "$SOCK"

if [ "$DBD" = 1 ]; then
  DB=$LAB/mysql
  if ! alive "$LAB/run/mysqld.pid"; then
    [ -d "$DB/mysql" ] || { mkdir -p "$DB"; chown mysql:mysql "$DB"; mariadb-install-db --user=mysql --datadir="$DB" --skip-test-db >"$LAB/log/mysql-install.log" 2>&1; }
    install -d -o mysql -g mysql "$LAB/mysqlrun"
    setsid mariadbd --no-defaults --user=mysql --datadir="$DB" --socket="$LAB/mysqlrun/s.sock" --skip-networking \
      --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --pid-file="$LAB/mysqlrun/mysqld.pid" \
      </dev/null >"$LAB/log/mysqld.log" 2>&1 &
    echo $! >"$LAB/run/mysqld.pid"
    wait_for 60 mariadbd mariadb -S "$LAB/mysqlrun/s.sock" -e 'select 1'
    mariadb -S "$LAB/mysqlrun/s.sock" -e "create database if not exists slurm_acct_db; create user if not exists 'root'@'localhost';"
  fi
  ( umask 077; cat >"$LAB/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$SOCK
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$PORT3
SlurmUser=root
LogFile=$LAB/log/slurmdbd.log
PidFile=$LAB/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
CommunicationParameters=NoInAddrAny
CONF
  )
  if ! alive "$LAB/run/slurmdbd.pid"; then
    MYSQL_UNIX_PORT=$LAB/mysqlrun/s.sock slurmdbd
    wait_for 60 slurmdbd sacctmgr -i -n show cluster
    sacctmgr -i add cluster lab >/dev/null 2>&1 || true
  fi
fi

# `reconfigure` only for daemons that were up before: right after a start it
# races the first launch ("srun: error: io_init_msg_unpack: unpack error")
up=0
if alive "$LAB/run/slurmctld.pid"; then up=1; else slurmctld; fi
wait_for 30 slurmctld scontrol ping
alive "$LAB/run/slurmd.pid" || slurmd
if [ "$up" = 1 ] && [ -n "${changed:-}" ]; then scontrol reconfigure; sleep 1; fi

# --- 4 wait until the node is idle (or already working) ------------------
ready="sinfo -h -o %T | grep -qxE 'idle|mixed|allocated'"
if ! timeout 5 bash -c "until $ready; do sleep 0.1; done"; then
  scontrol update NodeName="$HOST" State=RESUME || true
fi
wait_for 30 "an idle node" bash -c "$ready"
wait_for 30 "a first job" srun -Q -n1 true
echo "slurm: $(sinfo --version) ready on $HOST, $CPUS CPUs"
