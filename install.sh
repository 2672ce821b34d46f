#!/bin/sh
# Installs balancer and balancerctl: built from this checkout, or prebuilt from a release. Needs no Deno; see --help.
set -eu

usage() {
  cat <<'EOF'
Usage: ./install.sh [options]

Builds balancer and balancerctl from this checkout and installs them.

  --release URL|FOLDER  install prebuilt programs from there instead, after checking their SHA-256
  --prefix FOLDER       install to FOLDER/bin (default /usr/local for root, ~/.local otherwise)
  --uninstall           remove the programs; asks before it removes the pools they keep
  --purge               with --uninstall: remove the pools too, without asking
  --dry-run             say what would be done, and do nothing
  --help                print this help
EOF
}

programs='balancer balancerctl'

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

has() {
  command -v "$1" >/dev/null 2>&1
}

# Progress is for people who watch.
say() {
  if [ -t 2 ]; then printf '\033[1m==>\033[0m %s\n' "$1" >&2; else printf '%s\n' "$1" >&2; fi
}

release=''
prefix=''
uninstall=''
purge=''
dry_run=''

# The value of the option $1, the next word being there or not.
need() {
  if [ "$2" -lt 2 ] || [ -z "$3" ]; then fail "Option $1 needs a value: see ./install.sh --help" 2; fi
}

while [ $# -gt 0 ]; do
  case $1 in
    --release) need "$1" $# "${2:-}"; release=$2; shift ;;
    --release=?*) release=${1#*=} ;;
    --prefix) need "$1" $# "${2:-}"; prefix=$2; shift ;;
    --prefix=?*) prefix=${1#*=} ;;
    --uninstall) uninstall=yes ;;
    --purge) purge=yes ;;
    --dry-run) dry_run=yes ;;
    --help) usage; exit 0 ;;
    *) fail "Unknown option \"$1\": see ./install.sh --help" 2 ;;
  esac
  shift
done

[ -z "$purge" ] || [ -n "$uninstall" ] || fail 'Option --purge goes with --uninstall' 2
[ -z "$release" ] || [ -z "$uninstall" ] || fail 'Options --release and --uninstall exclude each other' 2

if [ -z "$prefix" ]; then
  if [ "$(id -u)" = 0 ]; then
    prefix=/usr/local
  else
    [ -n "${HOME:-}" ] || fail 'Cannot tell where to install: set HOME or give --prefix FOLDER'
    prefix=$HOME/.local
  fi
fi
case $prefix in /*) ;; *) prefix=$(pwd)/$prefix ;; esac
bin=$prefix/bin
here=$(cd "$(dirname "$0")" && pwd)

work=''
cleanup() {
  [ -z "$work" ] || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# The target triple that releases are named by.
target() {
  case $(uname -m) in
    x86_64 | amd64) machine=x86_64 ;;
    aarch64 | arm64) machine=aarch64 ;;
    *) machine=$(uname -m) ;;
  esac
  case $(uname -s) in
    Linux) printf '%s-unknown-linux-gnu\n' "$machine" ;;
    Darwin) printf '%s-apple-darwin\n' "$machine" ;;
    *) printf '%s-%s\n' "$machine" "$(uname -s)" ;;
  esac
}

# Copies the file $1 of the release to $2.
fetch() {
  case $release in
    http://* | https://*)
      url=${release%/}/$1
      if has curl; then
        if [ -t 2 ]; then curl -fL --progress-bar -o "$2" "$url"; else curl -fsSL -o "$2" "$url"; fi
      elif has wget; then
        wget -q -O "$2" "$url"
      else
        fail 'Cannot download: install curl or wget, or download the release and give its folder to --release'
      fi ;;
    *) cp "$release/$1" "$2" ;;
  esac || fail "Cannot get \"$1\" from \"$release\": nothing was installed"
}

sha256() {
  if has sha256sum; then sha256sum "$1" | cut -d ' ' -f 1
  elif has shasum; then shasum -a 256 "$1" | cut -d ' ' -f 1
  elif has openssl; then openssl dgst -sha256 "$1" | sed 's/.* //'
  else fail 'Cannot check the release: install sha256sum, shasum or openssl'
  fi
}

# Puts the release's programs into $work/new.
get_release() {
  triple=$(target)
  say "Getting the programs for $triple from $release"
  fetch SHA256SUMS "$work/SHA256SUMS"
  line=$(grep -E "^[0-9a-f]{64}  balancer-[0-9A-Za-z.+-]*-$triple\.tar\.gz\$" "$work/SHA256SUMS" | head -n 1) || true
  [ -n "$line" ] || fail "The release \"$release\" has no programs for $triple: build them from a checkout with ./install.sh"
  file=${line##* }
  fetch "$file" "$work/$file"
  [ "$(sha256 "$work/$file")" = "${line%% *}" ] ||
    fail "The SHA-256 of \"$file\" is not the one the release names: it is damaged or not the original; nothing was installed"
  tar -xzf "$work/$file" -C "$work/new" || fail "Cannot unpack \"$file\": nothing was installed"
}

# The pinned Deno, as a path: the one on PATH if it is that version, else one that npm gets for this checkout alone.
get_deno() {
  version=$(sed -n 's/^deno //p' "$here/.tool-versions")
  if has deno && deno --version 2>/dev/null | grep -q "^deno $version "; then
    command -v deno
    return
  fi
  own=$here/dist/toolchain
  deno=$own/node_modules/.bin/deno
  if ! { [ -x "$deno" ] && "$deno" --version 2>/dev/null | grep -q "^deno $version "; }; then
    has npm || fail "Cannot build: neither Deno $version nor npm is here; install Node.js with npm, or give a release to --release"
    say "Getting Deno $version through npm, for this checkout alone"
    mkdir -p "$own"
    npm install --prefix "$own" --cache "$own/npm" --no-save --no-package-lock --no-audit --no-fund --update-notifier=false --loglevel=error "deno@$version" >&2 ||
      fail "Cannot get Deno $version through npm; nothing was installed"
  fi
  printf '%s\n' "$deno"
}

# Builds the programs and puts them into $work/new.
get_build() {
  [ -f "$here/tools/compile.ts" ] || fail 'Cannot build: this is no checkout; give a release to --release'
  deno=$(get_deno)
  say 'Building'
  (cd "$here" && DENO_DIR=$here/dist/toolchain/cache DENO_NO_UPDATE_CHECK=1 "$deno" task -q compile) || fail 'The build failed; nothing was installed'
  for program in $programs; do cp "$here/dist/$program" "$work/new/$program"; done
}

# Puts the program $1 beside the place where it goes.
stage() {
  if ! cp "$work/new/$1" "$bin/.$1.$$" || ! chmod 755 "$bin/.$1.$$"; then
    unstage
    fail "Cannot write to \"$bin\": install as a user who may, or give another --prefix"
  fi
}

unstage() {
  for program in $programs; do rm -f "$bin/.$program.$$"; done
}

install_programs() {
  work=$(mktemp -d)
  mkdir "$work/new"
  if [ -n "$release" ]; then get_release; else get_build; fi
  for program in $programs; do
    [ -f "$work/new/$program" ] || fail "The release has no program \"$program\": nothing was installed"
  done
  mkdir -p "$bin" 2>/dev/null || fail "Cannot make folder \"$bin\": install as a user who may, or give another --prefix"
  for program in $programs; do stage "$program"; done
  if ! version=$("$bin/.balancerctl.$$" --version); then
    unstage
    fail 'The programs do not run on this machine; nothing was installed'
  fi
  # One step each: a program that runs goes on with the old file, and nobody meets half a file.
  for program in $programs; do mv -f "$bin/.$program.$$" "$bin/$program"; done
  say "Installed $version to $bin"
  case :$PATH: in
    *":$bin:"*) printf 'Try it: balancerctl demo\n' ;;
    *)
      # shellcheck disable=SC2016 # the text is for the person's shell
      printf 'Warning: %s is not on PATH; add it with: export PATH="%s:$PATH"\n' "$bin" "$bin" >&2
      printf 'Try it: %s/balancerctl demo\n' "$bin" ;;
  esac
}

# Where balancers keep their pools (the same rule as in lib/paths.ts).
state_folder() {
  if [ -n "${XDG_STATE_HOME:-}" ]; then printf '%s/balancer\n' "$XDG_STATE_HOME"
  elif [ "$(id -u)" = 0 ]; then printf '/var/lib/balancer\n'
  elif [ -n "${HOME:-}" ]; then printf '%s/.local/state/balancer\n' "$HOME"
  fi
}

# Where self-extracting programs unpack (the same rule as in tools/self_extracting.sh).
unpacked_folders() {
  [ -z "${XDG_CACHE_HOME:-}" ] || printf '%s/balancer\n' "$XDG_CACHE_HOME"
  [ -z "${HOME:-}" ] || printf '%s/.cache/balancer\n' "$HOME"
  printf '%s/balancer-cache-%s\n' "${TMPDIR:-/tmp}" "$(id -u)"
}

# Whether to remove the pools: as --purge says, or as the person at the terminal does; otherwise not.
wants_purge() {
  [ -z "$purge" ] || return 0
  [ -t 0 ] || return 1
  printf 'Remove the pools kept in %s as well? [y/N] ' "$1" >&2
  read -r answer && case $answer in [yY]*) return 0 ;; esac
  return 1
}

uninstall_programs() {
  found=''
  for program in $programs; do [ ! -f "$bin/$program" ] || found=yes; done
  [ -n "$found" ] || fail "There is no balancer in \"$bin\"; say where it is with --prefix"
  if [ -x "$bin/balancerctl" ] && "$bin/balancerctl" status >/dev/null 2>&1; then
    fail 'Cannot uninstall: a balancer is running; stop it first with balancerctl stop'
  fi
  for program in $programs; do rm -f "$bin/$program" || fail "Cannot remove \"$bin/$program\": uninstall as a user who may"; done
  unpacked_folders | while IFS= read -r folder; do
    if [ -f "$folder/.balancer" ]; then rm -rf "$folder"; fi
  done
  if [ -n "${XDG_RUNTIME_DIR:-}" ]; then rmdir "$XDG_RUNTIME_DIR/balancer" 2>/dev/null || true; fi
  say "Removed balancer and balancerctl from $bin"
  state=$(state_folder)
  if [ -z "$state" ] || [ ! -d "$state" ]; then return; fi
  if wants_purge "$state"; then
    rm -rf "$state"
    say "Removed the pools in $state"
  else
    say "Kept the pools in $state; remove them with --uninstall --purge, or by hand"
  fi
}

explain() {
  if [ -n "$uninstall" ]; then
    printf 'Would remove %s/balancer, %s/balancerctl and what they unpacked\n' "$bin" "$bin"
    [ -z "$purge" ] || printf 'Would remove the pools in %s\n' "$(state_folder)"
  elif [ -n "$release" ]; then
    printf 'Would get the programs for %s from %s, check their SHA-256 and install them to %s\n' "$(target)" "$release" "$bin"
  else
    printf 'Would build balancer and balancerctl in %s and install them to %s\n' "$here" "$bin"
  fi
}

if [ -n "$dry_run" ]; then explain
elif [ -n "$uninstall" ]; then uninstall_programs
else install_programs
fi
