# Hosts in namespaces of one machine; sourced by launch/testbed. A host has its own network, name, /etc/hosts, /dev/shm and, but
# for the first, processes. What stands in its way is there too: a bridge as container engines make it, with the same address on
# all hosts, and the host's own name as 127.0.1.1. Files are shared by all, as on NFS.

bed_open() { # number of hosts
    bed=$(mktemp -d /tmp/sq-testbed-XXXXXX)
    trap bed_close EXIT
    trap 'exit 130' INT TERM HUP
    mkfifo "$bed/wire"
    : >"$bed/answers"
    python3 launch/bed/wire "$bed" &
    wire_process=$!
    agent >"$bed/agent"
    chmod +x "$bed/agent"
    hosts=()
    local number
    for number in $(seq "$1"); do
        hosts+=("h$number")
        mkdir "$bed/h$number"
        echo "10.77.0.$number" >"$bed/h$number/address"
        echo "h$number slots=${TESTBED_SLOTS:-1}" >>"$bed/hostfile"
    done
    local host
    for host in "${hosts[@]}"; do host_up "$host"; done
}

# Ends what runs on the hosts, and with it the namespaces.
bed_close() {
    trap - EXIT INT TERM HUP
    local host process
    for process in $(jobs -p); do [ "$process" = "$wire_process" ] || kill -KILL "$process" 2>/dev/null; done
    for host in "${hosts[@]}"; do host_down "$host"; done
    kill "$wire_process" 2>/dev/null
    rm -rf "$bed"
}

# What mpirun calls in the place of ssh: HOST COMMAND. Like ssh it reaches nobody who does not answer, and passes no environment
# on.
agent() {
    cat <<AGENT
#!/usr/bin/env bash
host=\$1
shift
read -r process <"$bed/\$host/pid" && read -r address <"$bed/\$host/address" || exit 255
answer=\$(timeout 5 bash -c "exec 3<>/dev/tcp/\$address/22" 2>&1)
[[ \$answer == *refused* ]] || { echo "\$host: no answer" >&2; exit 255; }
exec env -i HOME="\$HOME" PATH="\$PATH" \$(cat "$bed/\$host/environment" 2>/dev/null) \\
    nsenter -t "\$process" --net --uts --mount --pid bash -c "\$*"
AGENT
}

wire() { # a command of launch/bed/wire
    local before after
    before=$(wc -l <"$bed/answers")
    echo "$*" >"$bed/wire"
    for _ in $(seq 200); do
        after=$(wc -l <"$bed/answers")
        [ "$after" -gt "$before" ] && break
        sleep 0.02
    done
    [ "$(tail -n 1 "$bed/answers")" = done ] || { echo "the wire: $(tail -n 1 "$bed/answers")" >&2; return 1; }
}

write_hosts() {
    local host other
    for host in "${hosts[@]}"; do
        {
            printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$host"
            for other in "${hosts[@]}"; do echo "$(<"$bed/$other/address") $other"; done
        } >"$bed/$host/hosts"
    done
}

host_up() { # host [address]
    local host=$1 more=(--pid --fork --kill-child --mount-proc) process
    [ $# -lt 2 ] || echo "$2" >"$bed/$host/address"
    # mpirun runs on the first host, from where its agent must see the others' processes.
    [ "$host" != h1 ] || more=()
    write_hosts
    rm -f "$bed/$host/ready"
    unshare --net --uts --mount "${more[@]}" bash -c "
        mount --make-rprivate / && hostname $host && mount -t tmpfs tmpfs /dev/shm && mount --bind $bed/$host/hosts /etc/hosts
        ip link set lo up && touch $bed/$host/ready
        while :; do sleep 1000; done" </dev/null >/dev/null 2>&1 &
    process=$!
    disown
    for _ in $(seq 200); do [ -e "$bed/$host/ready" ] && break || sleep 0.02; done
    [ "$host" = h1 ] || process=$(tr -d ' ' <"/proc/$process/task/$process/children")
    echo "$process" >"$bed/$host/pid"
    wire add "$host" "$process"
    enter "$host" bash -c "
        ip link set eth0 address 02:00:0a:4d:00:$(printf %02x "${host#h}") mtu 9000 up
        ip addr add $(<"$bed/$host/address")/24 dev eth0
        ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up
        ip link add veth0 type veth peer name veth1 && ip link set veth1 master docker0
        ip link set veth0 up && ip link set veth1 up"
}

# All that runs on it is gone at once, and its network with it: others get no word.
host_down() { # host
    local process
    process=$(cat "$bed/$1/pid" 2>/dev/null) || return 0
    rm -f "$bed/$1/pid"
    if [ "$1" = h1 ]; then
        # Processes of this host, by their network; again until there are none, since some may be starting others.
        local network entry found=yes
        network=$(readlink "/proc/$process/ns/net") || return 0
        while [ -n "$found" ]; do
            found=
            for entry in /proc/[0-9]*; do
                [ "$(readlink "$entry/ns/net" 2>/dev/null)" = "$network" ] || continue
                [[ $(<"$entry/stat") == *") Z "* ]] || { kill -KILL "${entry#/proc/}" && found=yes; }
            done 2>/dev/null
        done
    fi
    kill -KILL "$process" 2>/dev/null
}

enter() { # host command …
    local host=$1 space=(--net --uts --mount)
    shift
    [ "$host" = h1 ] || space+=(--pid)
    nsenter -t "$(<"$bed/$host/pid")" "${space[@]}" --wd="$PWD" "$@"
}

# A signal to all that runs on a host but the first.
signal_all() { enter "$2" bash -c "kill -$1 -1" || true; }

# Runs a command on the first host, in whose environment mpirun finds the hosts. In the place of the shell that calls.
on_bed() {
    export OMPI_MCA_plm_rsh_agent=$bed/agent OMPI_MCA_orte_default_hostfile=$bed/hostfile OMPI_MCA_plm_rsh_no_tree_spawn=1
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    exec nsenter -t "$(<"$bed/h1/pid")" --net --uts --mount --wd="$PWD" "$@"
}
