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

# Where this file is: the other program lies beside it.
case $0 in
  /*) self=$0 ;;
  */*) self=$(pwd)/$0 ;;
  *) self=$(command -v -- "$0") || self=$0 ;;
esac

# Whether $1 is a folder (made, if need be) of this user's in which nobody else can write. No link: in a folder that all may write
# to, somebody else could have put it there.
is_private() {
  [ -d "$1" ] || (umask 077 && mkdir -p "$1") 2>/dev/null || return 1
  [ ! -L "$1" ] || return 1
  facts=$(ls -ldn "$1") || return 1
  case $facts in d????-??-*) ;; *) return 1 ;; esac
  # shellcheck disable=SC2086 # the words are wanted
  set -- $facts
  [ "$3" = "$uid" ]
}

# Writes $2 bytes of this file from byte $1 on, unpacked, to $3/$4, whole or not at all: another start may be doing the same.
unpack() {
  part=$3/.$4.$$
  trap 'rm -f "$part"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  if (umask 077 && tail -c "+$1" "$self" | head -c "$2" | gzip -dc >"$part") 2>/dev/null; then
    chmod 700 "$part" && mv -f "$part" "$3/$4"
  fi
  rm -f "$part"
  trap - EXIT INT TERM
  [ -f "$3/$4" ]
}

is_ready() {
  [ -x "$1/$runtime" ] && [ -f "$1/$program" ]
}

# The mark says that the folder is ours as a whole: install.sh --uninstall removes it.
prepare() {
  if is_ready "$1"; then return; fi
  (: >"$1/.balancer") 2>/dev/null || return 1
  unpack @PROGRAM_START@ @PROGRAM_BYTES@ "$1" "$program" || return 1
  unpack @RUNTIME_START@ @RUNTIME_BYTES@ "$1" "$runtime" || return 1
  "$1/$runtime" --version >/dev/null 2>&1 # not where programs may not be run from
}

uid=$(id -u)
set_folder() {
  for folder in "${CACHE_DIRECTORY:-}" "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/balancer}" "${HOME:+$HOME/.cache/balancer}" \
    "${TMPDIR:-/tmp}/balancer-cache-$uid"; do
    case $folder in /*) ;; *) continue ;; esac
    if is_private "$folder" && prepare "$folder"; then return; fi
  done
  fail 'Cannot unpack: no private folder to write to and run from, or this file is cut short; set XDG_CACHE_HOME to such a folder'
}

set_folder
export BALANCER_PROGRAM="$self" DENO_DIR="$folder/deno" DENO_NO_UPDATE_CHECK=1
exec "$folder/$runtime" run --quiet --no-prompt --no-config --no-lock --no-remote --no-npm @PERMISSIONS@ "$folder/$program" "$@"
