// What the doctor reads of the machine.

import { assert, assertEquals } from "@std/assert";
import {
  ageIn,
  amountIn,
  fileSystemOf,
  lowestLimit,
  memoryLimitFiles,
  numberIn,
  openFilesIn,
  portsIn,
  readFiles,
} from "../../lib/control/doctor_machine.ts";
import { needing } from "../tools.ts";

Deno.test({
  ...await needing("files are read by the shell, also empty ones, and those that cannot be are undefined", "sh"),
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
    try {
      await Deno.writeTextFile(`${folder}/-a b`, "one\ntwo\n");
      await Deno.writeTextFile(`${folder}/empty`, "");
      const paths = ["-a b", "none", "empty", "-a b", ""].map((name) => `${folder}/${name}`);
      assertEquals(await readFiles(paths), ["one\ntwo\n", undefined, "", "one\ntwo\n", undefined]);
      assertEquals(await readFiles([]), []);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test({
  ...await needing("this machine's files are understood", "Linux"),
  async fn() {
    const paths = ["limits", "stat", "status", "mountinfo", "cgroup"].map((name) => `/proc/${Deno.pid}/${name}`);
    const [limits, stat, status, mounts, group, uptime, meminfo, range, queue] = await readFiles([
      ...paths,
      "/proc/uptime",
      "/proc/meminfo",
      "/proc/sys/net/ipv4/ip_local_port_range",
      "/proc/sys/net/core/somaxconn",
    ]);
    assert(openFilesIn(limits)! > 16);
    assert(ageIn(stat, uptime)! >= 0);
    assert(amountIn(status, "VmRSS")! > 1024 ** 2 && amountIn(status, "VmRSS")! < amountIn(meminfo, "MemTotal")!);
    assert(portsIn(range)! > 0 && numberIn(queue)! > 0);
    assertEquals(fileSystemOf("/proc/self", mounts), "proc"); // that of "/" is not listed within chroot(8)
    assert(memoryLimitFiles(group).length > 0);
  },
});

Deno.test("limits, ranges, numbers and amounts are read from their texts", () => {
  assertEquals(openFilesIn("Max open files            1024                 524288               files     \n"), 1024);
  assertEquals(openFilesIn("Max open files            unlimited            unlimited            files     \n"), Infinity);
  assertEquals(openFilesIn(undefined), undefined);
  assertEquals(portsIn("32768\t60999\n"), 28_232);
  assertEquals(portsIn("nonsense"), undefined);
  assertEquals([numberIn("4096\n"), numberIn("max\n"), numberIn(""), numberIn(undefined)], [4096, undefined, undefined, undefined]);
  assertEquals(amountIn("MemTotal:       2048 kB\nMemFree: 1 kB\n", "MemTotal"), 2048 * 1024);
  assertEquals(amountIn("MemTotal:       2048 kB\n", "VmRSS"), undefined);
});

Deno.test("the limit of memory is the lowest of the group's and of those above it", () => {
  assertEquals(memoryLimitFiles("0::/a/b\n"), [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/a/memory.max",
    "/sys/fs/cgroup/a/b/memory.max",
  ]);
  assertEquals(memoryLimitFiles("0::/\n"), ["/sys/fs/cgroup/memory.max"]);
  assertEquals(memoryLimitFiles("5:cpu:/x\n4:memory:/x\n"), [
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    "/sys/fs/cgroup/memory/x/memory.limit_in_bytes",
  ]);
  assertEquals(memoryLimitFiles(undefined), []);
  assertEquals(lowestLimit(["max\n", "5000\n", "3000\n", undefined]), 3000);
  assertEquals(lowestLimit(["max\n", "9223372036854771712\n"]), undefined);
});

Deno.test("the age of a process is that of its ticks, whatever it is called", () => {
  const fields = Array.from({ length: 30 }, (_, i) => String(i + 1));
  fields[1] = "(a ) b)";
  fields[21] = "500";
  assertEquals(ageIn(fields.join(" "), "25.50 100.00\n"), 20_500);
  assertEquals(ageIn(undefined, "25.50 100.00\n"), undefined);
});

Deno.test("a path is on the file system that is mounted nearest above it, and last", () => {
  const mounts = [
    "1 0 8:1 / / rw - ext4 /dev/sda rw",
    "2 1 0:5 / /run rw,nosuid shared:2 - tmpfs tmpfs rw",
    "3 2 0:6 / /run/my\\040disk rw - xfs /dev/sdb rw",
    "4 1 0:7 / / rw - overlay overlay rw",
    "",
  ].join("\n");
  const cases = { "/": "overlay", "/var/lib": "overlay", "/run/x": "tmpfs", "/running": "overlay", "/run/my disk/x": "xfs" };
  for (const [path, type] of Object.entries(cases)) assertEquals(fileSystemOf(path, mounts), type, path);
  assertEquals(fileSystemOf("/", undefined), undefined);
});
