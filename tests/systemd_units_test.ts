// The units of contrib/systemd are what systemd understands, let little in, and name nothing that is not there.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { outcomeOf } from "./programs.ts";
import { needing } from "./tools.ts";

const UNITS = `${import.meta.dirname}/../contrib/systemd`;

/** systemd-analyze counts in tenths. */
const EXPOSURE_MAX = 20;

const read = (name: string) => Deno.readTextFile(`${UNITS}/${name}`);

/** The units as an instance, with a program that is there in place of ours. */
async function makeInstance(folder: string): Promise<string> {
  for (const kind of ["service", "socket"]) {
    const text = await read(`balancer@.${kind}`);
    await Deno.writeTextFile(`${folder}/balancer@web.${kind}`, text.replaceAll(/\/usr\/bin\/balancer(ctl)?/g, "/bin/true"));
  }
  return `${folder}/balancer@web.service`;
}

Deno.test({
  ...await needing("systemd-analyze finds nothing wrong with the units, and an exposure of at most 2.0", "systemd-analyze"),
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
    try {
      const service = await makeInstance(folder);
      const analyze = (...args: string[]) => outcomeOf(new Deno.Command("systemd-analyze", { args: ["--no-pager", ...args] }));
      const verified = await analyze("verify", "--man=no", service, `${folder}/balancer@web.socket`);
      assertEquals(verified, { code: 0, stdout: "", stderr: "" });
      const security = await analyze("security", "--offline=true", `--threshold=${EXPOSURE_MAX}`, service);
      assertEquals(security.code, 0, security.stdout);
      assertMatch(security.stdout, /Overall exposure level for balancer@web\.service: [01]\.[0-9]/);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("the service can run V8, and tells systemd how it is", async () => {
  const lines = (await read("balancer@.service")).split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  assert(!lines.some((line) => line.startsWith("MemoryDenyWriteExecute")), "V8 writes machine code and runs it");
  for (
    const line of [
      "Type=notify",
      "DynamicUser=yes",
      "RuntimeDirectory=balancer",
      "StateDirectory=balancer",
      "LogsDirectory=balancer",
      "NotifyAccess=exec",
      "ExecReload=/usr/bin/balancerctl upgrade --name %i",
    ]
  ) {
    assert(lines.includes(line), line);
  }
});

Deno.test({
  ...await needing("the service may make every system call that the runtime needs", "systemd-analyze"),
  async fn() {
    const [, kept, without] = (await read("balancer@.service")).match(/^SystemCallFilter=(\S+)\nSystemCallFilter=~(\S+)$/m)!;
    const allowed = await callsOf(kept);
    for (const call of await callsOf(without)) allowed.delete(call);
    for (const call of NEEDED) assert(allowed.has(call), `${call} is not allowed`);
  },
});

/**
 * What `strace -f` has shown of a daemon that starts, serves with each engine, is asked and stops, with what an upgrade takes
 * beside that. Two more are refused, and missed by nobody: pkey_alloc(2), without which V8 protects its code otherwise, and
 * fchown(2), which only root's SQLite calls.
 */
const NEEDED = `
  accept4 access arch_prctl bind brk chdir chmod clock_nanosleep clone clone3 close connect dup2 dup3 epoll_create1 epoll_ctl
  epoll_wait eventfd2 execve exit_group fadvise64 fcntl flock fstat ftruncate futex getcwd getegid geteuid getgid
  getpeername getpid getppid getrandom getsockname getsockopt gettid getuid getxattr ioctl kill lgetxattr listen lseek
  lstat madvise mkdir mmap mprotect mremap munmap newfstatat openat pidfd_open pipe2 poll prctl pread64 prlimit64 pwrite64
  read readlink recvfrom recvmsg rename rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity sched_getparam
  sched_getscheduler sched_yield sendmsg sendto set_robust_list set_tid_address setsockopt shutdown sigaltstack socket socketpair
  stat statfs statx sysinfo uname unlink vfork wait4 write
`.trim().split(/\s+/);

async function callsOf(group: string): Promise<Set<string>> {
  const { stdout } = await outcomeOf(new Deno.Command("systemd-analyze", { args: ["--no-pager", "syscall-filter", group] }));
  const words = stdout.split("\n").slice(1).map((line) => line.trim()).filter((line) => /^[@a-z_0-9-]+$/.test(line));
  const nested = await Promise.all(words.filter((word) => word.startsWith("@")).map(callsOf));
  return new Set([...words.filter((word) => !word.startsWith("@")), ...nested.flatMap((set) => [...set])]);
}
