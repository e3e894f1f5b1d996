#!/usr/bin/env bash
# A real Slurm of one node on the loopback interface runs the batch script of docs/cluster.md; by hand, as root on Debian.
#
#   .ci/slurm.sh /var/tmp/slurm
#
# After `make setup`. It installs slurm-wlm and munge, starts their daemons with files in the folder only, and stops them.
# Three jobs run the documented script, with `srun` as launcher of the plugin and of the model: one is left alone, one
# pre-empted by a job of a partition with a higher priority, one stopped as before its time limit. The last two go back into
# the queue and continue by --resume. All must end with the same analyses.
set -euo pipefail

[ $# = 1 ] || { sed -n 's/^#   //p' "$0" >&2; exit 2; }
checkout=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
folder=$(cd "$1" && pwd)
windows=${WINDOWS:-6}
host=$(hostname -s)
export SLURM_CONF=$folder/slurm.conf OMP_NUM_THREADS=1
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1
export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe

say() { printf '%s %s\n' "$(date +%H:%M:%S)" "$*"; }
fail() { say "FAILED: $*"; exit 1; }

pids=()
finish() {
  code=$?
  [ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2> /dev/null || true
  exit "$code"
}
trap finish EXIT

missing=""
for package in slurm-wlm munge; do
  dpkg-query -W -f '${Status}\n' "$package" 2> /dev/null | grep -q 'install ok' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  # a chroot or container has no init system, and is to start no daemon by itself
  apt-get update -q > "$folder/apt.log"
  DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing >> "$folder/apt.log"
fi

say "Slurm $(slurmctld -V | cut -d' ' -f2)"
install -d -m 755 -o munge -g munge /run/munge
munge -n 2> /dev/null | unmunge > /dev/null 2>&1 || { runuser -u munge -- munged --foreground > "$folder/munged.log" 2>&1 & pids+=($!); }
mkdir -p "$folder/ctld" "$folder/d"
# eight cores are claimed, however many there are: jobs are to be placed, not timed
cat > "$SLURM_CONF" << END
ClusterName=loopback
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$folder/ctld
SlurmdSpoolDir=$folder/d
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=20
NodeName=$host NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 GraceTime=20
PartitionName=high Nodes=ALL PriorityTier=2
END
# limits are nothing that this is about, and a container has no cgroups to give
version=$(slurmctld -V | cut -d' ' -f2)
plugin=disabled
[ "$(printf '%s\n' 23.02 "$version" | sort -V | head -1)" = 23.02 ] || plugin=cgroup/v1
echo "CgroupPlugin=$plugin" > "$folder/cgroup.conf"
slurmctld -D > /dev/null 2> "$folder/daemons.log" & pids+=($!)
slurmd -D -N "$host" > /dev/null 2>> "$folder/daemons.log" & pids+=($!)
for _ in $(seq 60); do
  sinfo -h -o %T 2> /dev/null | grep -q idle && break
  sleep 1
done
sinfo -h -o %T | grep -q idle || fail "no node is idle; see $folder/slurmctld.log and slurmd.log"
say "$(srun --mpi=list 2>&1 | tr '\n' ' ')"

cd "$folder"
if [ ! -e preempted.yml ]; then
  say "making the case"
  "$checkout/.venv/bin/python" "$checkout/.ci/slurm_case.py" "$folder" "$windows" > case.log
fi
ln -sfn "$checkout/.venv" .venv
rm -rf undisturbed preempted limited ./*.out

# the first batch script of docs/cluster.md, as it stands there but for the names of case file and run folder
script() {
  awk '/^    #!\/bin\/bash/ {inside = 1} inside && !/^    / {exit} inside {print substr($0, 5)}' "$checkout/docs/cluster.md" \
    | sed "s/case\.yml/$1.yml/; s/\brun\/case\.json/$1\/case.json/"
}
submit() { # NAME words …: the job's number
  name=$1
  shift
  script "$name" > "$name.sh"
  sbatch --parsable --ntasks=2 --time=30 --job-name="$name" --output="$name.out" --open-mode=append "$@" "$name.sh"
}
state() { scontrol -o show job "$1" | grep -o 'JobState=[A-Z_]*' | cut -d= -f2; }
lines() { cat "$1/ledger.jsonl" 2> /dev/null | wc -l; }
wait_until() { # seconds, what, command …
  limit=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    [ $SECONDS -lt $limit ] || fail "$what: not within its time; see $folder"
    sleep 0.2
  done
}
ended() { [[ $(state "$1") =~ COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL ]]; }
has_lines() { [ "$(lines "$1")" -ge "$2" ]; }
is_running() { [ "$(state "$1")" = RUNNING ]; }
restarts() { say "job $1: $(scontrol -o show job "$1" | grep -o 'Restarts=[0-9]*')"; }
has_restarted() { ! scontrol -o show job "$1" | grep -q 'Restarts=0 '; }
check_run() { # NAME, job: it is whole, and ended as the undisturbed one
  say "job $2: $(state "$2"), $(lines "$1") windows"
  [ "$(state "$2")" = COMPLETED ] && [ "$(lines "$1")" = "$windows" ] || { tail -40 "$1.out"; fail "run $1"; }
  last=$(printf '%04d' "$windows") compared=0
  while read -r path; do
    cmp "undisturbed/$path" "$1/$path" || fail "$1: another analysis than that of the undisturbed run"
    compared=$((compared + 1))
  done < <(cd undisturbed && find "$last/analysis" -name '*.vtu')
  [ "$compared" -gt 0 ] || fail "no files of an analysis to compare"
}
is_pending() { [[ $(state "$1") =~ PENDING|REQUEUED ]]; }

say "the documented script, undisturbed"
job=$(submit undisturbed)
wait_until 900 "undisturbed run" ended "$job"
check_run undisturbed "$job"

say "the documented script, pre-empted after its second window"
job=$(submit preempted --partition=low)
wait_until 600 "two windows" has_lines preempted 2
urgent=$(sbatch --parsable --partition=high --exclusive --time=5 --job-name=urgent --output=urgent.out --wrap "sleep 3")
wait_until 120 "the urgent job" is_running "$urgent"
say "job $urgent runs, job $job is $(state "$job") with $(lines preempted) windows"
wait_until 120 "back in the queue" is_pending "$job"
restarts "$job"
wait_until 1200 "the continued run" ended "$job"
check_run preempted "$job"

say "the documented script, SIGTERM to its steps as --signal=TERM@120 sends it before the time limit"
job=$(submit limited)
wait_until 600 "two windows" has_lines limited 2
scancel --signal=TERM "$job"
wait_until 120 "back in the queue" has_restarted "$job"
say "job $job: $(state "$job") with $(lines limited) windows"
wait_until 1200 "the continued run" ended "$job"
restarts "$job"
check_run limited "$job"
say "passed: all runs ended with the same analyses"
