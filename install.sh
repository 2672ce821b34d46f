#!/bin/sh
# Installs balancer and balancerctl: built from this checkout, or prebuilt from a release. Needs no Deno; see --help.
set -eu
umask 022
unset CDPATH

usage() {
  cat <<'EOF'
Usage: ./install.sh [options]

Builds balancer and balancerctl from this checkout and installs them.

  --release URL|FOLDER  install prebuilt programs from there instead, after checking their SHA-256
  --prefix FOLDER       install to FOLDER/bin and FOLDER/share (default /usr/local for root, ~/.local otherwise)
  --systemd[=FOLDER]    also install the units of systemd (to /etc/systemd/system), and start balancer@default with the machine
  --uninstall           remove the programs; asks before removing saved pools
  --purge               with --uninstall: also remove saved pools, without asking
  --dry-run             print what would be done, and change nothing
  --help                print this help
EOF
}

programs='balancer balancerctl'

# What is installed beside them: manual pages and the completion of shells, by their paths in share.
shared='man/man1/balancer.1 man/man1/balancerctl.1
bash-completion/completions/balancer bash-completion/completions/balancerctl
zsh/site-functions/_balancerctl
fish/vendor_completions.d/balancer.fish fish/vendor_completions.d/balancerctl.fish'

# The units of systemd, which are installed if they are asked for.
units='balancer@.service balancer@.socket'

fail() {
  printf 'install.sh: %s\n' "$1" >&2
  exit "${2:-1}"
}

has() {
  command -v "$1" >/dev/null 2>&1
}

# Prints progress on standard error.
say() {
  if [ -t 2 ]; then printf '\033[1m==>\033[0m %s\n' "$1" >&2; else printf '%s\n' "$1" >&2; fi
}

release=''
prefix=''
systemd=''
uninstall=''
purge=''
dry_run=''

# Fails if option $1 has no value: $2 words are left, and the next is $3.
need() {
  if [ "$2" -lt 2 ] || [ -z "$3" ]; then fail "Option $1 needs a value: see ./install.sh --help" 2; fi
}

while [ $# -gt 0 ]; do
  case $1 in
    --release) need "$1" $# "${2:-}"; release=$2; shift ;;
    --release=?*) release=${1#*=} ;;
    --prefix) need "$1" $# "${2:-}"; prefix=$2; shift ;;
    --prefix=?*) prefix=${1#*=} ;;
    --systemd) systemd=/etc/systemd/system ;;
    --systemd=/?*) systemd=${1#*=} ;;
    --systemd=?*) systemd=$(pwd)/${1#*=} ;;
    --uninstall) uninstall=yes ;;
    --purge) purge=yes ;;
    --dry-run) dry_run=yes ;;
    --help) usage; exit 0 ;;
    *) fail "Unknown option \"$1\": see ./install.sh --help" 2 ;;
  esac
  shift
done

[ -z "$purge" ] || [ -n "$uninstall" ] || fail 'Option --purge requires --uninstall' 2
[ -z "$release" ] || [ -z "$uninstall" ] || fail 'Options --release and --uninstall cannot be combined' 2

[ -z "$systemd" ] || [ -z "$uninstall" ] || fail 'Option --uninstall removes the units, too: leave out --systemd' 2

if [ -z "$prefix" ]; then
  if [ "$(id -u)" = 0 ]; then
    prefix=/usr/local
  else
    [ -n "${HOME:-}" ] || fail 'Cannot determine where to install: set HOME or give --prefix FOLDER'
    prefix=$HOME/.local
  fi
fi
case $prefix in /*) ;; *) prefix=$(pwd)/$prefix ;; esac
bin=${prefix%/}/bin
case ${systemd:+$bin} in
  /home/* | /root/* | /run/user/*)
    fail "Cannot install the units: services have no access to \"$bin\"; run as root, or give a --prefix outside of homes" ;;
esac
share=${prefix%/}/share
script=$0
if [ -L "$script" ]; then
  link=$(readlink "$script")
  case $link in /*) script=$link ;; *) script=$(dirname "$script")/$link ;; esac
fi
here=$(cd "$(dirname "$script")" && pwd)

work=''
cleanup() {
  if [ -n "$work" ]; then
    rm -rf "$work"
    for program in $programs; do rm -f "$bin/.$program.$$"; done
  fi
}
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Prints the target triple, which is part of the name of a release.
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
        if [ -t 2 ]; then how=--progress-bar; else how=-sS; fi
        curl -fL "$how" --connect-timeout 20 --speed-limit 1000 --speed-time 30 -o "$2" "$url"
      elif has wget; then
        wget -q -T 30 -O "$2" "$url"
      else
        fail 'Cannot download: install curl or wget, or download the release and give its folder to --release'
      fi ;;
    *) cp -- "$release/$1" "$2" ;;
  esac || fail "Cannot get \"$1\" from \"$release\": nothing was installed"
}

sha256() {
  if has sha256sum; then sha256sum "$1" | cut -d ' ' -f 1
  elif has shasum; then shasum -a 256 "$1" | cut -d ' ' -f 1
  elif has openssl; then openssl dgst -sha256 "$1" | sed 's/.* //'
  else return 1
  fi
}

# Puts the release's programs into $work/new.
get_release() {
  triple=$(target)
  say "Getting the programs for $triple from $release"
  fetch SHA256SUMS "$work/SHA256SUMS"
  line=$(tr -d '\r' <"$work/SHA256SUMS" | grep -E "^[0-9a-f]{64}  balancer-[0-9A-Za-z.+-]*-$triple\.tar\.gz\$" | head -n 1) || true
  [ -n "$line" ] || fail "Release \"$release\" has no programs for $triple: build from a checkout with ./install.sh"
  file=${line##* }
  fetch "$file" "$work/$file"
  sum=$(sha256 "$work/$file") || fail 'Cannot check the release: install sha256sum, shasum or openssl'
  [ "$sum" = "${line%% *}" ] ||
    fail "The SHA-256 of \"$file\" does not match SHA256SUMS: the file is damaged or was replaced; nothing was installed"
  tar -xzf "$work/$file" -C "$work/new" || fail "Cannot unpack \"$file\": nothing was installed"
}

# Prints the path of the pinned Deno: the one on PATH if it has that version, else one that npm installs in this checkout.
get_deno() {
  version=$(sed -n 's/^deno //p' "$here/.tool-versions")
  if has deno && deno --version 2>/dev/null | grep -q "^deno $version "; then
    command -v deno
    return
  fi
  own=$here/dist/toolchain
  deno=$own/node_modules/.bin/deno
  if ! { [ -x "$deno" ] && "$deno" --version 2>/dev/null | grep -q "^deno $version "; }; then
    has npm || fail "Cannot build: neither Deno $version nor npm was found; install Node.js with npm, or use --release"
    say "Getting Deno $version through npm, for this checkout only"
    mkdir -p "$own" || fail "Cannot write to \"$here\": use a checkout that you own"
    npm install --prefix "$own" --cache "$own/npm" --no-save --no-global --no-package-lock --no-audit --no-fund --update-notifier=false --loglevel=error "deno@$version" >&2 ||
      fail "Cannot get Deno $version through npm; nothing was installed"
  fi
  printf '%s\n' "$deno"
}

# Builds the programs and puts them into $work/new. Deno also trusts the system's certificate authorities: behind a company proxy with
# its own authority nothing could be downloaded otherwise.
get_build() {
  [ -f "$here/tools/compile.ts" ] || fail 'Cannot build: this is not a checkout; use --release'
  deno=$(get_deno)
  say 'Building'
  (cd "$here" && export DENO_DIR="$here/dist/toolchain/cache" DENO_NO_UPDATE_CHECK=1 &&
    DENO_TLS_CA_STORE=${DENO_TLS_CA_STORE:-system,mozilla} "$deno" task -q compile) || fail 'The build failed; nothing was installed'
  for program in $programs; do cp "$here/dist/$program" "$work/new/$program"; done
  cp -R "$here/contrib/share" "$here/contrib/systemd" "$work/new"
}

# Copies the program $1 to its folder, under a temporary name.
stage() {
  [ ! -d "$bin/$1" ] || fail "Cannot install: \"$bin/$1\" is a folder"
  if ! cp "$work/new/$1" "$bin/.$1.$$" || ! chmod 755 "$bin/.$1.$$"; then
    fail "Cannot write to \"$bin\": free some space, run as a user with permission, or give another --prefix"
  fi
}

# Copies the file $1 of share to its folder, whole or not at all.
install_shared() {
  folder=$(dirname "$share/$1")
  mkdir -p "$folder" 2>/dev/null &&
    cp "$work/new/share/$1" "$folder/.$$.part" 2>/dev/null &&
    chmod 644 "$folder/.$$.part" &&
    mv -f "$folder/.$$.part" "$share/$1" && return
  rm -f "$folder/.$$.part"
  return 1
}

# The programs work without what is in share, and releases up to 0.1.0 have none of it.
install_all_shared() {
  for file in $shared; do
    [ -f "$work/new/share/$file" ] || continue
    install_shared "$file" || { say "Warning: cannot write to \"$folder\": no manual pages, no completion"; return; }
  done
}

# Copies the units to their folder, with the paths of the programs. A unit that is there is replaced: changes belong beside it,
# where systemctl edit puts them.
install_units() {
  mkdir -p "$systemd" 2>/dev/null || fail "Cannot create folder \"$systemd\": run as root; the programs are installed"
  for unit in $units; do
    [ -f "$work/new/systemd/$unit" ] || fail "The release has no unit \"$unit\"; the programs are installed"
    if ! { sed "s|/usr/bin/balancer|$bin/balancer|g" "$work/new/systemd/$unit" >"$systemd/.$unit.$$" &&
      chmod 644 "$systemd/.$unit.$$" && mv -f "$systemd/.$unit.$$" "$systemd/$unit"; } 2>/dev/null; then
      rm -f "$systemd/.$unit.$$"
      fail "Cannot write to \"$systemd\": run as root; the programs are installed"
    fi
  done
  say "Installed the units to $systemd"
  if [ "$systemd" != /etc/systemd/system ] || ! has systemctl; then return; fi
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
  systemctl enable balancer@default.service || fail 'Cannot enable balancer@default.service; programs and units are installed'
  cat <<'EOF'
Say where it listens, and start it:
  mkdir -p /etc/balancer && echo 'BALANCER_ARGS=0.0.0.0 8080' >/etc/balancer/default.env
  systemctl start balancer@default
EOF
}

# Removes the units, if they were installed.
remove_units() {
  folder=/etc/systemd/system
  grep -qs "^ExecStart=$bin/balancer " "$folder/balancer@.service" || return 0
  if has systemctl; then systemctl disable balancer@default.service >/dev/null 2>&1 || true; fi
  for unit in $units; do rm -f "$folder/$unit" || fail "Cannot remove \"$folder/$unit\": run as root"; done
  if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
}

# Prints the version of the program $1. It unpacks itself into $work, which is removed at the end.
version_of() {
  CACHE_DIRECTORY=$work "$1" --version 2>/dev/null
}

install_programs() {
  work=$(mktemp -d)
  mkdir "$work/new"
  if [ -n "$release" ]; then get_release; else get_build; fi
  for program in $programs; do
    [ -f "$work/new/$program" ] || fail "The release has no program \"$program\"; nothing was installed"
  done
  mkdir -p "$bin" 2>/dev/null || fail "Cannot create folder \"$bin\": run as a user with permission, or give another --prefix"
  for program in $programs; do
    stage "$program"
    version=$(version_of "$bin/.$program.$$") || fail "The program \"$program\" does not run on this machine; nothing was installed"
  done
  # Renaming is atomic: a running program keeps its old file, and no one sees a partial file.
  for program in $programs; do
    mv -f "$bin/.$program.$$" "$bin/$program" || fail "Cannot replace \"$bin/$program\": run as a user with permission"
  done
  install_all_shared
  [ -z "$systemd" ] || install_units
  say "Installed $version to $bin"
  case :$PATH: in
    *":$bin:"*) printf 'Try it: balancerctl demo\n' ;;
    *)
      # shellcheck disable=SC2016 # the text is for the person's shell
      printf 'Warning: %s is not on PATH; add it with: export PATH="%s:$PATH"\n' "$bin" "$bin" >&2
      printf 'Try it: %s/balancerctl demo\n' "$bin" ;;
  esac
  offer_upgrade "$(state_folder)"
}

# Says how the balancers that run get the new program: each has a lock in the state folder.
offer_upgrade() {
  for lock in "$1"/*.lock; do
    [ -f "$lock" ] || continue
    running=$(basename "$lock" .lock)
    CACHE_DIRECTORY=$work "$bin/balancerctl" status --name "$running" >/dev/null 2>&1 || continue
    say "Balancer \"$running\" runs the earlier program; without losing a connection: balancerctl upgrade --name $running"
  done
}

# Prints the folder of the saved pools: the rule of lib/values/paths.ts, except for folders of systemd, which systemd removes.
state_folder() {
  case ${XDG_STATE_HOME:-} in /*) printf '%s/balancer\n' "${XDG_STATE_HOME%/}"; return ;; esac
  if [ "$(id -u)" = 0 ]; then printf '/var/lib/balancer\n'; return; fi
  case ${HOME:-} in /*) printf '%s/.local/state/balancer\n' "$HOME" ;; esac
}

# Prints the folder of the control sockets, by the same rule.
runtime_folder() {
  case ${XDG_RUNTIME_DIR:-} in /*) printf '%s/balancer\n' "${XDG_RUNTIME_DIR%/}"; return ;; esac
  if [ "$(id -u)" = 0 ]; then printf '/run/balancer\n'; else printf '%s/run\n' "$1"; fi
}

# Removes what self-extracting programs have unpacked (see tools/self_extracting.sh), and no other files.
remove_unpacked() {
  for folder in "${XDG_CACHE_HOME:+$XDG_CACHE_HOME/balancer}" "${HOME:+$HOME/.cache/balancer}" \
    "${TMPDIR:-/tmp}/balancer-cache-$(id -u)"; do
    case $folder in /*) ;; *) continue ;; esac
    if [ ! -d "$folder" ] || [ -L "$folder" ]; then continue; fi
    rm -rf "$folder"/deno "$folder"/deno-???????????????? "$folder"/balancer-???????????????? "$folder"/balancerctl-???????????????? \
      "$folder"/balancer-????????????????.js "$folder"/balancerctl-????????????????.js "$folder"/.*.part # .js: by 0.1.0
    rmdir "$folder" 2>/dev/null || true
  done
}

# Fails if a balancer runs or may run: each has a lock in the state folder, and only exit code 3 means that it does not run.
refuse_while_running() {
  [ -x "$bin/balancerctl" ] || return 0
  for lock in "$1"/*.lock; do
    [ -f "$lock" ] || continue
    running=$(basename "$lock" .lock)
    status=0
    CACHE_DIRECTORY=$work "$bin/balancerctl" status --name "$running" >/dev/null 2>&1 || status=$?
    [ "$status" = 3 ] ||
      fail "Cannot uninstall: balancer \"$running\" is running, or does not answer; stop it first with balancerctl stop --name $running"
  done
}

# Whether to remove the saved pools: only with --purge, or if the person at the terminal agrees.
wants_purge() {
  [ -z "$purge" ] || return 0
  [ -t 0 ] || return 1
  printf 'Also remove the saved pools in %s? [y/N] ' "$1" >&2
  read -r answer && case $answer in [yY]*) return 0 ;; esac
  return 1
}

uninstall_programs() {
  work=$(mktemp -d)
  state=$(state_folder)
  refuse_while_running "$state"
  found=''
  for program in $programs; do
    [ -f "$bin/$program" ] || continue
    case $(version_of "$bin/$program") in
      "$program "[0-9]*) ;;
      *) fail "Cannot uninstall: \"$bin/$program\" is another program; give the --prefix of balancer" ;;
    esac
    found=yes
  done
  if [ -z "$found" ] && [ -z "$purge" ]; then fail "balancer is not installed in \"$bin\"; give its --prefix"; fi
  for program in $programs; do rm -f "$bin/$program" || fail "Cannot remove \"$bin/$program\": run as a user with permission"; done
  if [ -n "$found" ]; then for file in $shared; do rm -f "$share/$file"; done; fi
  remove_unpacked
  [ -z "$found" ] || remove_units
  [ -z "$found" ] || say "Removed balancer and balancerctl from $bin"
  if [ -z "$state" ] || [ ! -d "$state" ]; then return; fi
  rmdir "$(runtime_folder "$state")" 2>/dev/null || true
  if wants_purge "$state"; then
    rm -rf "$state"
    say "Removed the saved pools in $state"
  else
    say "Kept the saved pools in $state; remove them with --uninstall --purge, or by hand"
  fi
}

explain() {
  if [ -n "$uninstall" ]; then
    printf 'Would remove %s/balancer, %s/balancerctl, their unpacked files, manual pages and completion\n' "$bin" "$bin"
    [ -z "$purge" ] || printf 'Would remove the saved pools in %s\n' "$(state_folder)"
  elif [ -n "$release" ]; then
    printf 'Would get the programs for %s from %s, check their SHA-256 and install them to %s\n' "$(target)" "$release" "$bin"
  else
    printf 'Would build balancer and balancerctl in %s and install them to %s\n' "$here" "$bin"
  fi
  [ -z "$systemd" ] || printf 'Would install %s to %s\n' "$(printf '%s' "$units" | sed 's/ / and /')" "$systemd"
}

if [ -n "$dry_run" ]; then explain
elif [ -n "$uninstall" ]; then uninstall_programs
else install_programs
fi
