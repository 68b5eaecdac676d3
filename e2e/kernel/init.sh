#!/bin/sh
# The first process of the guest (run.mjs): what an installed Debian mounts, then the script on the third disk. Its exit code is the last line.
export PATH=/tree/node_modules/.bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t proc proc /proc 2>/dev/null
mount -t sysfs sys /sys 2>/dev/null
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs run /run
mount -t cgroup2 none /sys/fs/cgroup
ip link set lo up
mount /dev/vdb /tree && cd /tree
tr -d '\0' </dev/vdc >/tmp/script
uname -srv
sh /tmp/script 2>&1
echo "margay-exit: $?"
echo o >/proc/sysrq-trigger
sleep infinity
