#!/bin/sh
# @NAME@ @VERSION@ as one file: this head, then the program and the runtime that runs it, compressed. The first start unpacks both
# into a folder of the user's own, under names that tell their content; later starts run what is there.
set -eu

name=@NAME@
program=@PROGRAM_FILE@
runtime=@RUNTIME_FILE@

fail() {
  printf '%s: %s\n' "$name" "$1" >&2
  exit 1
}

# Where this file is, links followed: the other program lies beside it.
case $0 in
  /*) self=$0 ;;
  */*) self=$(pwd)/$0 ;;
  *) if [ -f "./$0" ]; then self=$(pwd)/$0; else self=$(command -v -- "$0") || self=$0; fi ;;
esac
while [ -L "$self" ]; do
  link=$(readlink "$self")
  case $link in /*) self=$link ;; *) self=${self%/*}/$link ;; esac
done

# Whether $1 is a folder of this user's in which nobody else can write. No link: in a folder that all may write to, somebody else
# could have put it there.
is_private() {
  [ -d "$1" ] && [ ! -L "$1" ] || return 1
  facts=$(ls -ldn "$1") || return 1
  case $facts in d????-??-*) ;; *) return 1 ;; esac
  # shellcheck disable=SC2086 # the words are wanted
  set -- $facts
  [ "$3" = "$uid" ]
}

# Whether the file $1 is there and has $2 bytes: after a crash of the machine it may be empty.
is_whole() {
  [ -f "$1" ] || return 1
  # shellcheck disable=SC2046 # the words are wanted
  set -- "$2" $(ls -ln "$1")
  [ "$6" = "$1" ]
}

is_ready() {
  is_private "$1" && is_whole "$1/$program" @PROGRAM_SIZE@ && is_whole "$1/$runtime" @RUNTIME_SIZE@
}

# Writes $2 bytes of this file from byte $1 on, unpacked, to $3/$4, whole or not at all: another start may be doing the same.
unpack() {
  part=$3/.$4.$$.part
  trap 'rm -f "$part"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if tail -c "+$1" "$self" | head -c "$2" | gzip -dc >"$part" && is_whole "$part" "$5"; then
    chmod 700 "$part" && mv -f "$part" "$3/$4"
  fi 2>/dev/null
  rm -f "$part"
  trap - EXIT HUP INT TERM
  is_whole "$3/$4" "$5"
}

# Whether programs can be written to the folder $1 and run from there.
can_run_from() {
  probe=$1/.probe.$$.part
  if ! { printf '#!/bin/sh\n' >"$probe" && chmod 700 "$probe"; } 2>/dev/null; then rm -f "$probe"; return 1; fi
  "$probe" 2>/dev/null && status=0 || status=1
  rm -f "$probe"
  return "$status"
}

# Unpacks to the folder $1, and sweeps what starts that were killed left there.
prepare() (
  umask 077
  mkdir -p "$1" 2>/dev/null
  is_private "$1" && can_run_from "$1" && mkdir -p "$1/deno" || exit 1
  find "$1" -name '.*.part' -mtime +1 -exec rm -f {} + 2>/dev/null || true
  unpack @PROGRAM_START@ @PROGRAM_BYTES@ "$1" "$program" @PROGRAM_SIZE@ &&
    unpack @RUNTIME_START@ @RUNTIME_BYTES@ "$1" "$runtime" @RUNTIME_SIZE@
)

# Sets $folder to the first of the possible folders for which the command $1 succeeds.
find_folder() {
  for folder in "$cache" "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/balancer}" \
    "${HOME:+$HOME/.cache/balancer}" "${TMPDIR:-/tmp}/balancer-cache-$uid"; do
    case $folder in /*) if "$1" "$folder"; then return; fi ;; esac
  done
  return 1
}

# The runtime raises the limit on open files to the hard one, and dies with a backtrace where that does not do.
# shellcheck disable=SC3045 # dash, busybox and bash have -H; others count as unlimited
limit=$(ulimit -Hn 2>/dev/null) || limit=unlimited
case $limit in
  *[!0-9]* | '') ;;
  *) [ "$limit" -ge 32 ] || fail "Cannot run under a limit of $limit open files: raise it (ulimit -n) to 256 or more" ;;
esac

uid=$(id -u)
# systemd makes it, with DynamicUser= as a link to where it is.
cache=${CACHE_DIRECTORY:-}
cache=${cache%%:*}
[ ! -L "$cache" ] || cache=$(cd -P -- "$cache" 2>/dev/null && pwd -P) || cache=''
find_folder is_ready || find_folder prepare ||
  fail 'Cannot unpack: no private folder to write to and run from, or this file is cut short; set XDG_CACHE_HOME to such a folder'

export BALANCER_PROGRAM="$self" DENO_DIR="$folder/deno" DENO_NO_UPDATE_CHECK=1
exec "$folder/$runtime" run --quiet --no-prompt --no-config --no-lock --no-remote --no-npm @PERMISSIONS@ "$folder/$program" "$@"
