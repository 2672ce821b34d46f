/**
 * What a machine may lack and some tests need: programs of others, an address, a right. A test that needs it is ignored there, and its
 * name says why. Looking never throws: a module that throws while it loads takes all its tests with it, and says nothing of them.
 */

/** A program that does not even tell its version by then does not run. */
const LOOK_MAX_MS = 10_000;

const ROOT = `${import.meta.dirname}/../`;

/** Each thing by the name that is told where it is missing, and how to see that it is there. */
const NEEDS = {
  "busybox": () => runs("busybox", "sh", "-c", ":"),
  "curl or wget": () => runs("sh", "-c", "curl --version || wget --version"),
  "dash": () => runs("dash", "-c", ":"),
  // Git refuses to read what belongs to another user, and a downloaded archive has nothing for it to read.
  "git in a checkout of one's own": () => runs("git", "-C", ROOT, "rev-parse"),
  "Linux": () => Deno.build.os === "linux",
  "network namespaces": () =>
    runs(
      "sh",
      "-c",
      `ip netns add "$0" && ip -n "$0" link add one type veth peer name two; looked=$?; ip netns del "$0"; exit $looked`,
      `balancer_look_${Deno.pid}`,
    ),
  "npm": () => runs("npm", "--version"),
  "python3": () => runs("python3", "--version"),
  "sh": () => runs("sh", "-c", ":"),
  "shellcheck": () => runs("shellcheck", "--version"),
  "tar with gzip": () => runs("sh", "-c", 'tar -czf /dev/null "$0"', `${ROOT}deno.json`),
  "IPv6 on loopback": () => listens("::1"),
  "a user other than root": () => Deno.build.os !== "windows" && Deno.uid() !== 0,
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

async function runs(program: string, ...args: string[]): Promise<boolean> {
  const signal = AbortSignal.timeout(LOOK_MAX_MS);
  try { // also around what is thrown before there is a promise: a program that is not there
    const { success } = await new Deno.Command(program, { args, signal, stdin: "null", stdout: "null", stderr: "null" }).output();
    return success;
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
