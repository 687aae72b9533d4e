#!/bin/sh
# quietly.sh NAME COMMAND...: runs the command with its output in build/log/NAME.log.
# When it fails, prints the command, the output's last lines and where the log is.
# V=1 in the environment shows everything instead.
name=$1
shift
if [ -n "$V" ]; then
    exec "$@"
fi
mkdir -p build/log
log=build/log/$name.log
"$@" >"$log" 2>&1 && exit 0
status=$?
{
    echo "this command ended with status $status:"
    echo "    $*"
    echo "its last lines:"
    tail -n 25 "$log" | sed 's/^/    /'
    echo "log: $log (V=1 shows everything)"
} >&2
exit "$status"
