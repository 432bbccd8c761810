# Shared by the batch scripts here, which source it from the project's folder.

# Runs sq-train as the job's ranks, in as many turns as the run takes: five minutes before its time is up it writes a checkpoint
# and ends without a summary, and is put into the queue again.
#   run_in_turns [OPTION OF srun …] -- [ARGUMENT OF sq-train …]
run_in_turns() {
    local out=runs/$SLURM_JOB_NAME-$SLURM_JOB_ID argument
    # The cores are said again for srun, which in newer versions does not take them from sbatch. One thread a core: beside
    # --cpu-bind the hint would have no effect. One list, since bash before 4.4 takes an empty one for an error.
    local step=(srun --mpi=pmix --cpus-per-task="$SLURM_CPUS_PER_TASK" --hint=nomultithread)
    while [ "$1" != -- ]; do
        step+=("$1")
        shift
    done
    shift
    for argument in "$@"; do
        case $argument in
            --out | --out=* | out=* | --set=out=*)
                echo "$SLURM_JOB_NAME: leave $argument out: the run's folder is $out, where it resumes in its next turn" >&2
                exit 64 ;;
        esac
    done
    export OPENBLAS_NUM_THREADS=$SLURM_CPUS_PER_TASK OMP_PROC_BIND=false
    "${step[@]}" sq-train "$@" --out "$out"
    # A sweep that has ended has its tables and no ledger any more.
    if [ -e "$out/sweep.json" ] && [ ! -e "$out/.ledger" ]; then return; fi
    # What only prints (--help, --print-config) begins no run.
    if [ -e "$out/run.json" ] && [ ! -e "$out/summary.json" ]; then scontrol requeue "$SLURM_JOB_ID"; fi
}
