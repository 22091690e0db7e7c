# Measures one pipeline in a guest: measure. Run by measure.rs, which sets these variables:
#
#   COMPOSITOR   the command of the compositor; empty where the pipeline has none
#   CLIENT       the command of the client, in which @FRAMES@ stands for the number of frames and @FPS@ for FPS
#   CLIENTS      how many clients run at the same time
#   SHORT, LONG  the two numbers of frames
#   FPS          the camera's rate, in frames a second
#   TRACED       1 to count the clients' system calls, which changes the times; otherwise 0
#   LIMIT        how long one run of a client may take, in seconds
#
# Prints lines of a name and a number, or a line "failed: REASON". Compositor and clients are in control groups of their own, so
# their processor time is exact, children included.
set -u
groups=/sys/fs/cgroup
work=/tmp/bench
rm -rf "$work"
mkdir -p "$work/run"
chmod 700 "$work/run"
export XDG_RUNTIME_DIR=$work/run
unset WAYLAND_DISPLAY DISPLAY
# A seatd that was killed leaves its socket behind, and the next one refuses to start.
rm -f /run/seatd.sock

fail() {
    echo "failed: $*"
    finish
    exit 0
}

make_group() {
    mkdir -p "$groups/bench-$1"
}

# Runs a command in the control group $1, as a child of this shell.
within() {
    group=$1
    shift
    sh -c 'echo $$ >"'"$groups/bench-$group"'/cgroup.procs" && exec "$@"' within "$@"
}

# Prints the processor time of the group $1 in microseconds.
usage() {
    sed -n 's/^usage_usec //p' "$groups/bench-$1/cpu.stat"
}

kill_group() {
    [ -d "$groups/bench-$1" ] || return 0
    echo 1 >"$groups/bench-$1/cgroup.kill"
    for attempt in 1 2 3 4 5 6 7 8 9 10; do
        rmdir "$groups/bench-$1" 2>/dev/null && return 0
        sleep 0.2
    done
}

finish() {
    kill_group clients
    kill_group compositor
}

now() {
    echo $(($(date +%s%N) / 1000))
}

# Prints the last lines of a program's messages in one line.
last_lines() {
    tail -n 4 "$1" 2>/dev/null | tr '\n' '|' | tr -d '\000-\037' | cut -c 1-400
}

dmabuf_bytes() {
    sed -n 's/^Total [0-9]* objects, \([0-9]*\) bytes.*/\1/p' /sys/kernel/debug/dma_buf/bufinfo 2>/dev/null
}

# Prints the command that counts the system calls of the run $1.
trace() {
    [ "$TRACED" = 1 ] && echo "strace -f -c -o $work/$1.calls"
}

start_compositor() {
    [ -n "$COMPOSITOR" ] || return 0
    within compositor sh -c "exec $COMPOSITOR" >"$work/compositor.txt" 2>&1 &
    compositor=$!
    waited=0
    until display=$(cd "$XDG_RUNTIME_DIR" && ls -d wayland-* 2>/dev/null | grep -v '\.lock$' | head -n 1) && [ -n "$display" ]; do
        kill -0 "$compositor" 2>/dev/null || fail "the compositor ended: $(last_lines "$work/compositor.txt")"
        [ "$waited" -lt 600 ] || fail "the compositor has no socket after 60 s: $(last_lines "$work/compositor.txt")"
        sleep 0.1
        waited=$((waited + 1))
    done
    export WAYLAND_DISPLAY=$display
    # The compositor's first frames are not part of any run.
    sleep 2
}

# Runs all clients once, each for $2 frames, and prints what they took with the prefix $1.
run_clients() {
    label=$1
    frames=$2
    command=$(printf '%s' "$CLIENT" | sed "s/@FRAMES@/$frames/g; s/@FPS@/$FPS/g")
    make_group clients
    before_compositor=0
    [ -z "$COMPOSITOR" ] || before_compositor=$(usage compositor)
    started=$(now)
    pids=
    number=1
    while [ "$number" -le "$CLIENTS" ]; do
        within clients timeout "$LIMIT" sh -c "exec $(trace "$label-$number") $command" \
            >"$work/$label-$number.out" 2>"$work/$label-$number.err" &
        pids="$pids $!"
        number=$((number + 1))
    done
    peak=0
    while :; do
        running=0
        for pid in $pids; do
            kill -0 "$pid" 2>/dev/null && running=1
        done
        [ "$running" = 1 ] || break
        bytes=$(dmabuf_bytes)
        [ "${bytes:-0}" -gt "$peak" ] && peak=$bytes
        sleep 0.3
    done
    ended=$(now)
    for pid in $pids; do
        wait "$pid" || fail "the client ended with $?: $(last_lines "$work/$label-1.err") $(last_lines "$work/$label-1.out")"
    done
    echo "$label.wall_us $((ended - started))"
    echo "$label.client_us $(usage clients)"
    if [ -n "$COMPOSITOR" ]; then
        kill -0 "$compositor" 2>/dev/null || fail "the compositor ended: $(last_lines "$work/compositor.txt")"
        echo "$label.compositor_us $(($(usage compositor) - before_compositor))"
    fi
    echo "$label.dmabuf_peak_bytes $peak"
    [ -r "$groups/bench-clients/memory.peak" ] &&
        echo "$label.client_memory_bytes $(cat "$groups/bench-clients/memory.peak")"
    number=1
    while [ "$number" -le "$CLIENTS" ]; do
        # The reports of Covalent's own programs: one object on one line.
        object=$(grep -m 1 '^{' "$work/$label-$number.out") && echo "report $label $object"
        lost=$(sed -n 's/.*lost frames detected: count = \([0-9]*\).*/\1/p' "$work/$label-$number.err" | awk '{ sum += $1 } END { print sum + 0 }')
        echo "$label.lost_by_camera_$number $lost"
        [ -r "$work/$label-$number.calls" ] && calls "$label.client" "$work/$label-$number.calls"
        number=$((number + 1))
    done
    kill_group clients
}

# Prints the number of system calls in a summary of strace.
calls() {
    awk -v label="$1" '
        $NF == "total" { print label "_calls " $4 }
        $NF == "ioctl" { print label "_ioctls " $4 }
    ' "$2"
}

echo +memory >"$groups/cgroup.subtree_control" 2>/dev/null
kill_group clients
kill_group compositor
make_group compositor
start_compositor
run_clients short "$SHORT"
run_clients long "$LONG"
if [ -n "$COMPOSITOR" ]; then
    idle=$(usage compositor)
    sleep 3
    echo "idle.compositor_us_in_3_s $(($(usage compositor) - idle))"
    [ -r "$groups/bench-compositor/memory.peak" ] &&
        echo "compositor_memory_bytes $(cat "$groups/bench-compositor/memory.peak")"
fi
finish
echo "done 1"
