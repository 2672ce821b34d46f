#!/bin/sh
# Runs a program as a container does, without an engine: private_root.sh ROOT TREE USER PROGRAM ARGUMENT...
# In mount and process namespaces of its own (unshare --mount --pid --fork), with a root that is read-only: the system of this machine
# and the files of TREE. /tmp, /run/balancer (which USER is given, as by systemd) and /var/lib/balancer are in memory. The program is process 1, as USER, who has no capability.
set -eu

root=$1
tree=$2
user=$3
shift 3

mount --make-rprivate /
mount -t tmpfs -o mode=755 none "$root"
mkdir -p "$root/usr" "$root/opt" "$root/dev" "$root/proc" "$root/tmp" "$root/run/balancer" "$root/var/lib/balancer"
mount --rbind /usr "$root/usr"
for folder in bin lib lib64 sbin; do
  if [ -L "/$folder" ]; then cp -P "/$folder" "$root/$folder"
  elif [ -d "/$folder" ]; then mkdir "$root/$folder" && mount --rbind "/$folder" "$root/$folder"; fi
done
mount --bind "$tree/opt" "$root/opt"
mount -o remount,bind,ro "$root/opt"
mount --rbind /dev "$root/dev"
mount -t proc none "$root/proc"
mount -t tmpfs -o mode=1777 none "$root/tmp"
for folder in run/balancer var/lib/balancer; do
  mount -t tmpfs -o "mode=700,uid=$user,gid=$user" none "$root/$folder"
done
mount -o remount,bind,ro "$root"
# The environment, its PATH included, is the program's.
chroot=$(PATH=$PATH:/usr/sbin:/sbin command -v chroot)
exec "$chroot" --userspec="$user:$user" "$root" "$@"
