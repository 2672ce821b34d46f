/**
 * What a machine may lack and some tests need: programs of others, an address, a right. A test that needs it is ignored there, and
 * its name says why. Looking never throws: a module that throws while it loads takes all its tests with it, and says nothing of
 * them.
 */

import { findTools, nginxStreamModule, versionText } from "../tools/bench/tools.ts";

/** A program that does not even tell its version by then does not run. */
const LOOK_MAX_MS = 10_000;

const ROOT = `${import.meta.dirname}/../`;

/** Who runs what root's rights would not let fail: nobody where root tests, else the user who does. */
export const OTHER_USER = Deno.uid() === 0 ? { uid: 65_534, gid: 65_534 } : {};

/** A line of the shell that begins with this finds also what Debian has beside the path. */
export const WIDER_PATH = "export PATH=$PATH:/usr/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':');";

/** Each thing by the name that is told where it is missing, and how to see that it is there. */
const NEEDS = {
  "bash": () => runs("bash", "--version"),
  "busybox": () => runs("busybox", "sh", "-c", ":"),
  "cc": () => runs("cc", "--version"),
  "curl or wget": () => runs("sh", "-c", "curl --version || wget --version"),
  "dpkg-deb": () => runs("dpkg-deb", "--version"),
  "fish": () => runs("fish", "--version"),
  "groff": () => runs("groff", "--version"),
  "lintian": () => runs("lintian", "--version"),
  "man": () => runs("man", "--version"),
  "mandoc": () => runs("sh", "-c", "command -v mandoc"),
  "zsh": () => runs("zsh", "--version"),
  "dash": () => runs("dash", "-c", ":"),
  // Git refuses to read what belongs to another user, and a downloaded archive has nothing for it to read.
  "git in a checkout of one's own": () => runs("git", "-C", ROOT, "rev-parse"),
  "haproxy": () => runs("sh", "-c", "PATH=$PATH:/usr/sbin haproxy -v"),
  "Linux": () => Deno.build.os === "linux",
  "network namespaces": () =>
    runs(
      "sh",
      "-c",
      `ip netns add "$0" && ip -n "$0" link add one type veth peer name two; looked=$?; ip netns del "$0"; exit $looked`,
      `balancer_look_${Deno.pid}`,
    ),
  "file systems in memory": () =>
    runs(
      "sh",
      "-c",
      'place=$(mktemp -d) && mount -t tmpfs -o size=64k none "$place"; looked=$?; umount "$place"; rmdir "$place"; exit $looked',
    ),
  "mkfifo": () => runs("mkfifo", "--version"),
  "nginx": () => runs("sh", "-c", "PATH=$PATH:/usr/sbin nginx -v"),
  "nginx's stream module": async () => {
    const { nginx } = await findTools();
    return nginx !== undefined && await nginxStreamModule(await versionText(nginx.path, ["-V"])).then(() => true);
  },
  "npm": () => runs("npm", "--version"),
  "python3": () => runs("python3", "--version"),
  "PostgreSQL": () => runs("sh", "-c", `${WIDER_PATH} postgres --version && initdb --version && psql --version`),
  "iperf3": () => runs("iperf3", "--version"),
  "Redis": () => runs("sh", "-c", "redis-server --version && redis-cli --version"),
  "sshd and sftp": () => runs("sh", "-c", `${WIDER_PATH} command -v sshd && command -v sftp && command -v ssh-keygen`),
  "pseudo-terminals": () => runs("sh", "-c", ": <>/dev/ptmx && test -c /dev/pts/ptmx"),
  "prlimit": () => runs("prlimit", "--version"),
  "script": () => runs("script", "-qec", "true", "/dev/null"),
  "sh": () => runs("sh", "-c", ":"),
  "shellcheck": () => runs("shellcheck", "--version"),
  "the system's authorities": () => Deno.stat("/etc/ssl/certs/ca-certificates.crt").then(() => true, () => false),
  "systemd-analyze": () => runs("systemd-analyze", "--version"),
  "tar with gzip": () => runs("sh", "-c", 'tar -czf /dev/null "$0"', `${ROOT}deno.json`),
  "IPv6 on loopback": () => listens("::1"),
  "root": () => Deno.uid() === 0,
  "private roots": () =>
    runs(
      "unshare",
      ...["--mount", "--pid", "--fork", "sh", "-c"],
      "mount --make-rprivate / && mount -t tmpfs none /mnt && chroot --userspec=65532:65532 / nsenter --version",
    ),
  "promtool": () => runs("promtool", "--version"),
  "programs that unpack themselves": () => runs("sh", "-c", '[ "$(head -c 2 "$0")" = "#!" ]', `${ROOT}dist/balancer`),
  "a user whom permissions bind, and who can run the programs": () =>
    Deno.build.os !== "windows" &&
    succeeds("sh", { args: ["-c", 'test -x "$0"', `${ROOT}dist/balancer`], cwd: "/", ...OTHER_USER }),
  "setpriv as root": () => runs("setpriv", "--bounding-set=-net_admin,-net_raw", "true"),
  "a user other than root": () => Deno.build.os !== "windows" && Deno.uid() !== 0,
  "a login shell": () =>
    runs("sh", "-c", 'case $(getent passwd "$(id -u)" | cut -d: -f7) in */nologin | */false | "") exit 1 ;; esac'),
  "5,000 descriptors": () => runs("sh", "-c", '[ "$(ulimit -Hn)" = unlimited ] || [ "$(ulimit -Hn)" -ge 5000 ]'),
} as const satisfies Record<string, () => boolean | Promise<boolean>>;

/** A row of NEEDS. */
export type Need = keyof typeof NEEDS;

const looked = new Map<Need, Promise<boolean>>();

/** The name of a test and whether it is ignored, for `Deno.test`: it is where something that it needs is missing. */
export async function needing(name: string, ...needs: readonly Need[]): Promise<{ name: string; ignore: boolean }> {
  const there = await Promise.all(needs.map(has));
  const missing = needs.filter((_, i) => !there[i]);
  if (missing.length === 0) return { name, ignore: false };
  return { name: `${name} (ignored: it needs ${missing.join(" and ")})`, ignore: true };
}

/** Whether something is here. It is looked for once. */
export function has(need: Need): Promise<boolean> {
  const known = looked.get(need);
  if (known !== undefined) return known;
  const found = Promise.resolve(NEEDS[need]()).catch(() => false);
  looked.set(need, found);
  return found;
}

function runs(program: string, ...args: string[]): Promise<boolean> {
  return succeeds(program, { args });
}

async function succeeds(program: string, options: Deno.CommandOptions): Promise<boolean> {
  const signal = AbortSignal.timeout(LOOK_MAX_MS);
  try { // also around what is thrown before there is a promise: a program that is not there
    const all = { ...options, signal, stdin: "null", stdout: "null", stderr: "null" } as const;
    return (await new Deno.Command(program, all).output()).success;
  } catch {
    return false;
  }
}

function listens(hostname: string): boolean {
  try {
    Deno.listen({ hostname, port: 0 }).close();
    return true;
  } catch {
    return false;
  }
}
