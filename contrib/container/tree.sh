#!/bin/sh
# Makes what the image of balancer has beside its system, in the folder $1: the programs of dist/, and the folder of the state. Needs
# root, as the files belong to the image's user.
set -eu
umask 022

user=65532
here=$(cd "$(dirname "$0")/../.." && pwd)
to=${1:?Usage: tree.sh FOLDER}

mkdir -p "$to/opt/balancer/bin" "$to/opt/balancer/lib" "$to/var/lib/balancer"
chmod 700 "$to/opt/balancer/lib" "$to/var/lib/balancer"
for program in balancer balancerctl; do
  install -m 755 "$here/dist/$program" "$to/opt/balancer/bin/$program"
  # A self-extracting program unpacks itself now: when it runs, nothing can be written there.
  CACHE_DIRECTORY=$to/opt/balancer/lib "$to/opt/balancer/bin/$program" --version >/dev/null
done
chown -R "$user:$user" "$to/opt/balancer/lib" "$to/var/lib/balancer"
