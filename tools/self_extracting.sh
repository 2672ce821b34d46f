#!/bin/sh
# @NAME@ @VERSION@ as one file: this head, then the scripts of the program and the runtime that runs them, compressed. The first
# start unpacks them into a folder of the user's own, under names that tell their content; later starts run what is there. A later
# start runs one other program only, ls: each takes a millisecond or more.
set -eu

name=@NAME@
program=@PROGRAM@
runtime=@RUNTIME@
# Each file and its size, as ls sorts them.
files="@FILES@"
# Where their parts begin, from 1.
start=@START@

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

# Whether $1 is a folder of this user's in which nobody else can write, by its mode as ls shows it: $2. No link: in a folder that all
# may write to, somebody else could have put it there.
# shellcheck disable=SC3067 # dash, busybox, bash, ksh and zsh have -O
is_private() {
  case $2 in d????-??-*) [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ] ;; *) return 1 ;; esac
}

# Whether the file $1 is there and has $2 bytes.
is_whole() {
  [ -f "$1" ] || return 1
  # shellcheck disable=SC2046 # the words are wanted
  set -- "$2" $(ls -ln "$1")
  [ "$6" = "$1" ]
}

# The hard limit on open files, and what ls says of the folder $1 and of the files in it that are needed.
# shellcheck disable=SC3045 # dash, busybox and bash have -H; others count as unlimited
look() {
  ulimit -Hn 2>/dev/null || echo unlimited
  cd "$1" 2>/dev/null || return 1
  set -- .
  for word in $files; do case $word in *[!0-9]*) set -- "$@" "$word" ;; esac; done # no sizes
  export LC_ALL=C
  exec ls -ldn "$@" 2>/dev/null
}

# Whether the folder $1 is private and has all files with their sizes: after a crash of the machine they may be empty. Sets $limit.
is_ready() {
  folder=$1
  facts=$(look "$1") || return 1 # all of it in one subshell: each takes 2 ms
  # shellcheck disable=SC2086 # the words are wanted
  set -- $facts
  limit=$1
  shift
  is_private "$folder" "$1" || return 1
  found=
  while [ $# -ge 18 ]; do
    shift 9
    found="$found${found:+ }$9 $5"
  done
  [ "$found" = "$files" ]
}

# Writes a part of this file to the folder $1, unpacked: as file $2, from byte $3 of the parts on, $4 bytes. Whole, as gzip judges,
# or not at all: another start may be doing the same.
unpack() {
  part=$1/.${2##*/}.$$.part
  trap 'rm -f "$part"' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  {
    tail -c "+$((start + $3))" "$self" | head -c "$4" | gzip -dc >"$part" &&
      { [ "$2" != "$runtime" ] || chmod 700 "$part"; } && mv -f "$part" "$1/$2"
  } 2>/dev/null || { rm -f "$part"; return 1; }
  trap - EXIT HUP INT TERM
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
  folder=$1
  mkdir -p "$folder" 2>/dev/null
  is_private "$folder" "$(ls -ldn "$folder")" && can_run_from "$folder" && mkdir -p "$folder/deno" "$folder/$program" || exit 1
  find "$folder" -name '.*.part' -mtime +1 -exec rm -f {} + 2>/dev/null || true
  # Path, size, start and compressed size of each.
  set -- @PARTS@
  while [ $# -gt 0 ]; do
    is_whole "$folder/$1" "$2" || unpack "$folder" "$1" "$3" "$4" || exit 1
    shift 4
  done
)

# Sets $folder to the first of the possible folders for which the command $1 succeeds.
find_folder() {
  for folder in "$cache" "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/balancer}" \
    "${HOME:+$HOME/.cache/balancer}" "${TMPDIR:-/tmp}/balancer-cache-"; do
    case $folder in *-cache-) folder=$folder$(id -u) ;; esac
    case $folder in /*) if "$1" "$folder"; then return; fi ;; esac
  done
  return 1
}

# systemd makes it, with DynamicUser= as a link to where it is.
cache=${CACHE_DIRECTORY:-}
cache=${cache%%:*}
[ ! -L "$cache" ] || cache=$(cd -P -- "$cache" 2>/dev/null && pwd -P) || cache=''

find_folder is_ready || { find_folder prepare && is_ready "$folder"; } ||
  fail 'Cannot unpack: no private folder to write to and run from, or this file is cut short; set XDG_CACHE_HOME to such a folder'

# The runtime raises the limit on open files to the hard one, and dies with a backtrace where that does not do.
case $limit in
  *[!0-9]* | '') ;;
  *) [ "$limit" -ge 32 ] || fail "Cannot run under a limit of $limit open files: raise it (ulimit -n) to 256 or more" ;;
esac

export BALANCER_PROGRAM="$self" DENO_DIR="$folder/deno" DENO_NO_UPDATE_CHECK=1
exec "$folder/$runtime" run --quiet --no-prompt --no-config --no-lock --no-remote --no-npm @FLAGS@ "$folder/$program/@MAIN@" "$@"
