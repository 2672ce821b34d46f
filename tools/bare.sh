#!/usr/bin/env bash
# Proves that the README's first two commands need nothing but Node's npm: runs them on a machine that has nothing else, as root
# and as an ordinary user. The machine is a root file system of its own, made by debootstrap, with a mount and a process namespace
# of its own: whatever ends this script, its mounts and processes go with them, and nothing is ever removed through a mount.
#
# What is tested is the commit that is checked out, without what is not committed. Carried in are the host's Debian mirror, its npm
# settings without names and passwords, its proxies and its certificate authorities; nothing of its home.
#
# Ends with 0 if all is well, 1 if something failed, 2 for a wrong option, 3 where it cannot be done.
set -euo pipefail
umask 022

readonly FAILED=1 WRONG=2 CANNOT=3
readonly PACKAGES=(nodejs npm git)
# A root that is older is made anew: packages get mended.
readonly BASE_DAYS_MAX=7
# Another run on the same machine may have to be waited for.
readonly LOCK_MAX_S=900
readonly BASE_MAX_S=900
# One README command for one user.
readonly COMMAND_MAX_S=900
readonly REMOVE_TRIES=9
# How much of a log is shown when a command fails; the log itself stays.
readonly TAIL_LINES=60
# With --quick these are left out: the engines' long suites, which take half of the time and meet no other program.
readonly LONG=(
  tests/balancer/balancer_test.ts tests/engine/epoll/engine_fault_test.ts tests/engine/engine_stress_test.ts tests/engine/engine_test.ts
  tests/engine/epoll/epoll_test.ts tests/programs/lost_test.ts tests/engine/moving_property_test.ts tests/engine/moving_test.ts
  tests/engine/streams/moving_test.ts tests/engine/departures_test.ts tests/engine/proxy_test.ts tests/engine/client_limits_test.ts
  tests/engine/paused_peers_test.ts tests/observe/client_table_test.ts tests/values/proxy_header_test.ts
  tests/engine/services_test.ts tests/engine/names_test.ts tests/engine/early_loss_test.ts tests/engine/keep_alive_test.ts
  tests/balancer/apply_test.ts tests/balancer/policies_test.ts tests/balancer/history_test.ts tests/engine/hold_test.ts
  tests/engine/epoll/handover_test.ts
)
# With --quick root, whose turn is the first of two, tests only what depends on who the user is or meets other programs.
readonly OF_ROOT=(tests/balancer tests/control tests/programs tests/dashboard tests/demo tests/engine/sources_test.ts tests/*_test.ts)
readonly SYSTEM_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/balancer-bare

usage() {
  cat <<'TEXT'
Usage: deno task bare [options]

Runs the README's first two commands on a bare machine, as root and as an ordinary user. Needs Linux, root and debootstrap.

  --quick         without the engines' long suites and without checking types; root tests only what depends on the user or meets
                  other programs (for .ci/run)
  --base          only make the root file system that runs are copies of, if there is none from the last days
  --suite NAME    the Debian release to take (default: this machine's)
  --mirror URL    the Debian mirror to take (default: this machine's)
  --help          print this help
TEXT
}

say() { printf '==> %s\n' "$1" >&2; }

fail() {
  printf 'bare.sh: %s\n' "$1" >&2
  exit "${2:-$FAILED}"
}

has() { command -v "$1" >/dev/null 2>&1; }

quick='' only_base='' inside='' suite='' mirror=''

parse_options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --quick) quick=yes ;;
      --base) only_base=yes ;;
      --suite | --mirror)
        [ -n "${2:-}" ] || fail "Option $1 needs a value: see deno task bare --help" "$WRONG"
        printf -v "${1#--}" %s "$2"
        shift ;;
      --inside) inside=yes ;; # this script's own, in the namespaces
      --help) usage; exit 0 ;;
      *) fail "Unknown option \"$1\": see deno task bare --help" "$WRONG" ;;
    esac
    shift
  done
}

check_machine() {
  [ "$(uname -s)" = Linux ] || fail 'Cannot make a bare machine: this is not Linux' "$CANNOT"
  [ "$(id -u)" = 0 ] || fail 'Cannot make a bare machine: only root may' "$CANNOT"
  has debootstrap || fail "Cannot make a bare machine: debootstrap is missing; Debian's package debootstrap has it" "$CANNOT"
  has git || fail "Cannot make a bare machine: git is missing; Debian's package git has it" "$CANNOT"
  unshare --mount --pid --fork --mount-proc true 2>/dev/null ||
    fail 'Cannot make a bare machine: root may not make mount and process namespaces here' "$CANNOT"
}

# Removes a folder, but never through a mount. The processes of a namespace that was just killed may still write there for a moment.
remove_tree() {
  local tries
  if grep -qF " $1/" /proc/self/mountinfo; then fail "Cannot remove \"$1\": something is mounted there"; fi
  for tries in $(seq "$REMOVE_TRIES"); do
    rm -rf --one-file-system -- "$1" 2>/dev/null && return
    sleep "0.$tries"
  done
  fail "Cannot remove \"$1\""
}

# Removes what runs left, and bases that are too old; the lock says that there is no other run.
remove_leftovers() {
  local left
  find "$cache" -mindepth 1 -maxdepth 1 -type d \( -name run -o -name '*.part' -o -mtime "+$BASE_DAYS_MAX" \) |
    while read -r left; do remove_tree "$left"; done
}

child=''

# The first process of a namespace takes all of it along. It is killed, because it would ignore a signal that can be refused.
end() {
  if [ -n "$child" ]; then
    kill -KILL "$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
  fi
  remove_leftovers
}

# The outer half: one run at a time; the namespaces end with this process, and then the run's copy is removed.
run_in_namespaces() {
  mkdir -p "$cache"
  chmod 700 "$cache"
  exec 9>"$cache/lock"
  flock -w "$LOCK_MAX_S" 9 || fail 'Cannot make a bare machine: another run of this has not ended' "$CANNOT"
  local status=0
  trap end EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  remove_leftovers
  # In the background: a shell that waits for a program hears no signal until that has ended.
  # Should this shell be killed, the namespaces still end with it.
  setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc -- bash "${BASH_SOURCE[0]}" --inside "$@" &
  child=$!
  wait "$child" || status=$?
  child=''
  return "$status"
}

# Lines "URI RELEASE" of the Debian mirrors in this machine's settings, with their updates; other people's archives are left out.
host_sources() {
  has apt-get || return 0
  # shellcheck disable=SC2016 # the words are apt's
  apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(REPO_URI) $(RELEASE) $(ORIGIN)' 2>/dev/null |
    awk '$1 == "Packages" && $2 == "main" && ($5 == "Debian" || $5 == "") && !seen[$3, $4]++ { print $3, $4 }'
}

host_suite() { sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null || true; }

find_suite() {
  [ -n "$suite" ] || suite=$(host_suite)
  [ -n "$suite" ] || fail 'Cannot tell which Debian release to take: give one with --suite' "$CANNOT"
}

# Without one debootstrap takes its own.
find_mirror() {
  [ -n "$mirror" ] || mirror=$(host_sources | awk -v own="$(host_suite)" '$2 == own { print $1; exit }')
}

# debootstrap knows nothing of the proxy in apt's settings.
export_apt_proxy() {
  has apt-config || return 0
  local proxy=''
  eval "$(apt-config shell proxy Acquire::http::Proxy)"
  case $proxy in '' | DIRECT) ;; *) export http_proxy=${http_proxy:-$proxy} ;; esac
}

# The mirror and the settings by which apt reaches it.
carry_apt() {
  local uri release
  if [ -n "$mirror" ]; then printf 'deb %s %s main\n' "$mirror" "$suite" >"$1/etc/apt/sources.list"; fi
  host_sources | while read -r uri release; do
    case $release in
      "$suite-updates" | "$suite-security") printf 'deb %s %s main\n' "$uri" "$release" >>"$1/etc/apt/sources.list" ;;
    esac
  done
  if has apt-config; then apt-config dump | grep '^Acquire::' >"$1/etc/apt/apt.conf.d/99host" || true; fi
}

# Names and certificate authorities, as files.
carry_network() {
  local file
  for file in resolv.conf hosts; do
    [ ! -f "/etc/$file" ] || cp -L "/etc/$file" "$1/etc/$file"
  done
  mkdir -p "$1/etc/ssl/certs"
  [ ! -d /etc/ssl/certs ] || cp -rL /etc/ssl/certs/. "$1/etc/ssl/certs/" 2>/dev/null || true # links to nowhere are left out
}

# The base by what it is made of.
base_folder() {
  (IFS=- && printf '%s/%s-%s-%s\n' "$cache" "$suite" "$(uname -m)" "${PACKAGES[*]}")
}

# Builds the base aside and renames it when it is whole: a run that is killed leaves no half one.
build_base() {
  local base=$1 part=$1.part log=$cache/base.log
  say "Making a Debian $suite with ${PACKAGES[*]}"
  {
    timeout "$BASE_MAX_S" debootstrap --variant=minbase "$suite" "$part" ${mirror:+"$mirror"} &&
      carry_apt "$part" && carry_network "$part" && mount -t proc proc "$part/proc" &&
      timeout "$BASE_MAX_S" chroot "$part" env -i PATH=$SYSTEM_PATH DEBIAN_FRONTEND=noninteractive "${proxies[@]}" sh -c '
        apt-get update &&
        apt-get install -y --no-install-recommends "$@" &&
        apt-get clean &&
        rm -rf /var/lib/apt/lists/*' sh "${PACKAGES[@]}" &&
      umount "$part/proc"
  } >"$log" 2>&1 </dev/null || {
    tail -n 5 "$log" >&2
    fail "Cannot make a bare machine: debootstrap or apt failed; \"$log\" says how" "$CANNOT"
  }
  touch "$part"
  mv "$part" "$base"
}

need_base() {
  local base
  base=$(base_folder)
  [ -d "$base" ] || build_base "$base"
}

# A few devices that harm nobody; the host's others are not there.
mount_system() {
  local node
  mount -t proc proc "$1/proc"
  mount -t tmpfs -o mode=755,size=1m dev "$1/dev"
  for node in null zero full random urandom tty; do
    : >"$1/dev/$node"
    mount --bind "/dev/$node" "$1/dev/$node"
  done
  mkdir "$1/dev/shm"
  mount -t tmpfs -o mode=1777 shm "$1/dev/shm"
  ln -s /proc/self/fd "$1/dev/fd"
}

# The value of an npm setting; nothing if it has none. npm itself reads the environment and all npmrc files.
npm_setting() {
  local value=''
  if has npm; then value=$(cd / && npm config get "$1" 2>/dev/null) || value=''; fi
  case $value in null | undefined | 'The '*) ;; *) printf %s "$value" ;; esac
}

# What `env` sets inside: proxies, and then npm's settings and the certificate authorities.
proxies=() carried=()

find_proxies() {
  local name
  for name in http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY; do
    [ -z "${!name:-}" ] || proxies+=("$name=${!name}")
  done
}

# Copies the file or folder $3 of the host into the root $1 and has the variable $2 name the copy, which everybody may read.
carry_file() {
  [ -e "$3" ] || return 0
  mkdir -p "$1/etc/ssl/carried"
  cp -rL "$3" "$1/etc/ssl/carried/$2" 2>/dev/null || true
  chmod -R a+rX "$1/etc/ssl/carried/$2"
  carried+=("$2=/etc/ssl/carried/$2")
}

find_carried() {
  local name value
  for name in registry proxy https-proxy noproxy strict-ssl; do
    value=$(npm_setting "$name")
    # Deno reads the registry, too, and only in capitals.
    [ -z "$value" ] || carried+=("NPM_CONFIG_$(tr a-z- A-Z_ <<<"$name")=$value")
  done
  carry_file "$1" NPM_CONFIG_CAFILE "$(npm_setting cafile)"
  for name in NODE_EXTRA_CA_CERTS SSL_CERT_FILE SSL_CERT_DIR DENO_CERT; do carry_file "$1" "$name" "${!name:-}"; done
  # As the README tells those behind a certificate authority of their own.
  carried+=("DENO_TLS_CA_STORE=${DENO_TLS_CA_STORE:-system,mozilla}")
}

# The README's command of that number: a line of its first blocks for a shell.
readme_command() {
  # shellcheck disable=SC2016 # the quotes are Markdown's
  sed -n '/^```sh$/,/^```$/p' "$here/README.md" | grep -v '^```' | sed -n "$1p"
}

# The files of the commit, and a repository around them. No clone: a checkout may be shallow, or another user's, which git refuses.
copy_checkout() {
  local to=$1/$3/balancer
  mkdir -p "$to"
  git -c safe.directory="$here" -C "$here" archive HEAD | tar -x -C "$to"
  chroot "$1" chown -R "$2:" "$3/balancer"
  run_as "$1" "$2" "$3" 'git init -q && git add -A' >/dev/null 2>&1
}

# Runs a shell's line in the checkout of a user. `env -i` leaves nothing of the host that was not carried in.
run_as() {
  local root=$1 user=$2 home=$3 line=$4
  timeout -k 10 "$COMMAND_MAX_S" chroot --userspec="$user" --groups="" "$root" env -i "HOME=$home" "USER=$user" \
    "PATH=$home/.local/bin:$SYSTEM_PATH" "${proxies[@]}" "${carried[@]}" sh -c "cd \"\$HOME/balancer\" && $line" </dev/null
}

# The second command, or what it does without the long suites and the types. $1 is the user.
test_command() {
  local second what=tests/
  second=$(readme_command 2)
  if [ -n "$quick" ]; then
    [ "$1" != root ] || what=${OF_ROOT[*]}
    second="DENO_JOBS=4 ${second% task test} test -q --no-prompt --no-check -P=test --parallel"
    printf '%s --ignore=%s %s\n' "$second" "$(IFS=, && echo "${LONG[*]}")" "$what"
  else
    printf '%s\n' "$second"
  fi
}

# The last line of `deno test`.
readonly COUNTS='^(ok|FAILED) \| ([0-9]+) passed[^|]* \| ([0-9]+) failed( \| ([0-9]+) ignored)?.*'

plain() { sed 's/\x1b\[[0-9;]*m//g' "$1"; }

check_readme() {
  [[ $(readme_command 1) == ./install.sh* && $(readme_command 2) == npx*' task test' ]] ||
    fail 'README.md does not open with the commands that install and test'
}

# Prints what a log says of a run of tests, and the names of those that were skipped.
report() {
  local user=$1 log=$2 counts
  plain "$log" | sed -n 's/^\(.*[^ ]\) \.\.\. ignored (.*/  skipped: \1/p' | sed 's/: [^ ]* => /: /'
  counts=$(plain "$log" | sed -nE "s/$COUNTS/\2 passed, \3 failed, 0\5 skipped/p")
  [ -n "$counts" ] || counts='0 passed, 1 failed, 0 skipped' # it ended before it could count
  printf 'bare, %s: %s\n' "$user" "$(sed -E 's/, 0([0-9]+ skipped)/, \1/' <<<"$counts")"
}

# Both commands as one user. Gives whether they succeeded.
try_as() {
  local root=$1 user=$2 home=$3 log=$cache/$2.log status=0 command
  copy_checkout "$root" "$user" "$home"
  : >"$log"
  for command in "$(readme_command 1)" "$(test_command "$user")"; do
    say "As $user: $command"
    printf '$ %s\n' "$command" >>"$log"
    run_as "$root" "$user" "$home" "$command" >>"$log" 2>&1 || status=$?
    if [ "$status" != 0 ]; then
      plain "$log" | tail -n "$TAIL_LINES" >&2
      say "That ended with $status; \"$log\" has all of it"
      break
    fi
  done
  report "$user" "$log"
  return "$status"
}

# The inner half: all that mounts.
run_inside() {
  local root=$cache/run failed=''
  check_readme
  find_suite
  find_mirror
  export_apt_proxy
  find_proxies
  need_base
  [ -z "$only_base" ] || return 0
  cp -a --reflink=auto "$(base_folder)" "$root"
  carry_network "$root"
  find_carried "$root"
  mount_system "$root"
  chroot "$root" useradd --create-home --shell /bin/sh tester
  try_as "$root" root /root || failed=yes
  try_as "$root" tester /home/tester || failed=yes
  [ -z "$failed" ] || exit "$FAILED"
}

parse_options "$@"
if [ -n "$inside" ]; then
  run_inside
else
  check_machine
  run_in_namespaces "$@"
fi
