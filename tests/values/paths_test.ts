// A balancer's files are where systemd, XDG or the user's number say, and nowhere else.

import { assertEquals, assertThrows } from "@std/assert";
import { OperatorError } from "../../lib/values/errors.ts";
import { DEFAULT_NAME, findLocks, findPaths, parseName, type Paths, type PathsWorld } from "../../lib/values/paths.ts";

function world(uid: number | null, env: Readonly<Record<string, string>>): PathsWorld {
  return { uid, env: (name) => Object.hasOwn(env, name) ? env[name] : undefined };
}

function pathsOf(name: string, world: PathsWorld): Paths {
  return findPaths(name, { keepsState: true, world });
}

const FOUND: [string, PathsWorld, Paths][] = [
  [
    "systemd's folders before all others",
    world(0, {
      RUNTIME_DIRECTORY: "/run/lb",
      STATE_DIRECTORY: "/var/lib/lb",
      LOGS_DIRECTORY: "/var/log/lb",
      XDG_RUNTIME_DIR: "/run/user/0",
      XDG_STATE_HOME: "/x",
      HOME: "/root",
    }),
    { socket: "/run/lb/a.sock", lock: "/var/lib/lb/a.lock", state: "/var/lib/lb/a.json", log: "/var/log/lb/a.log" },
  ],
  [
    "the first of several of systemd's folders",
    world(1000, { RUNTIME_DIRECTORY: "/run/lb:/run/two", STATE_DIRECTORY: "/var/lib/lb:/var/lib/two" }),
    { socket: "/run/lb/a.sock", lock: "/var/lib/lb/a.lock", state: "/var/lib/lb/a.json", log: "/var/lib/lb/a.log" },
  ],
  [
    "XDG's folders before the home folder",
    world(1000, { XDG_RUNTIME_DIR: "/run/user/1000", XDG_STATE_HOME: "/x", HOME: "/home/u" }),
    { socket: "/run/user/1000/balancer/a.sock", lock: "/x/balancer/a.lock", state: "/x/balancer/a.json", log: "/x/balancer/a.log" },
  ],
  [
    "XDG's folders for root too",
    world(0, { XDG_RUNTIME_DIR: "/run/user/0", XDG_STATE_HOME: "/x" }),
    { socket: "/run/user/0/balancer/a.sock", lock: "/x/balancer/a.lock", state: "/x/balancer/a.json", log: "/x/balancer/a.log" },
  ],
  [
    "/run and /var/lib for root",
    world(0, { HOME: "/root" }),
    {
      socket: "/run/balancer/a.sock",
      lock: "/var/lib/balancer/a.lock",
      state: "/var/lib/balancer/a.json",
      log: "/var/lib/balancer/a.log",
    },
  ],
  [
    "the home folder for everybody else, the socket beside the state",
    world(1000, { HOME: "/home/u" }),
    {
      socket: "/home/u/.local/state/balancer/run/a.sock",
      lock: "/home/u/.local/state/balancer/a.lock",
      state: "/home/u/.local/state/balancer/a.json",
      log: "/home/u/.local/state/balancer/a.log",
    },
  ],
  [
    "the home folder where users have no numbers",
    world(null, { HOME: "/home/u", XDG_RUNTIME_DIR: "/run/u" }),
    {
      socket: "/run/u/balancer/a.sock",
      lock: "/home/u/.local/state/balancer/a.lock",
      state: "/home/u/.local/state/balancer/a.json",
      log: "/home/u/.local/state/balancer/a.log",
    },
  ],
  [
    "a home folder with a colon in its name", // only systemd's variables are lists
    world(1000, { HOME: "/home/a:b", XDG_RUNTIME_DIR: "/run/a:b" }),
    {
      socket: "/run/a:b/balancer/a.sock",
      lock: "/home/a:b/.local/state/balancer/a.lock",
      state: "/home/a:b/.local/state/balancer/a.json",
      log: "/home/a:b/.local/state/balancer/a.log",
    },
  ],
];

for (const [what, world, paths] of FOUND) {
  Deno.test(`findPaths() uses ${what}`, () => assertEquals(pathsOf("a", world), paths));
}

Deno.test("findPaths() ignores relative and empty values", () => {
  const relative = {
    RUNTIME_DIRECTORY: "run",
    STATE_DIRECTORY: "./state",
    LOGS_DIRECTORY: "",
    XDG_STATE_HOME: "x",
    XDG_RUNTIME_DIR: "~/r",
  };
  assertEquals(pathsOf("a", world(1000, { ...relative, HOME: "/home/u" })), pathsOf("a", world(1000, { HOME: "/home/u" })));
  assertEquals(pathsOf("a", world(0, relative)), pathsOf("a", world(0, {})));
});

Deno.test("findPaths() takes no slash at a folder's end for another folder", () => {
  assertEquals(pathsOf("a", world(1000, { HOME: "/home/u//" })), pathsOf("a", world(1000, { HOME: "/home/u" })));
});

const WITHOUT_FOLDER: Readonly<Record<string, string>>[] = [{}, { HOME: "" }, { HOME: "home" }, {
  XDG_RUNTIME_DIR: "/run/user/1000",
}];

for (const env of WITHOUT_FOLDER) {
  Deno.test(`findPaths() without a folder for the state fails: ${JSON.stringify(env)}`, () => {
    assertEquals(assertThrows(() => pathsOf("a", world(1000, env)), OperatorError, "set HOME").kind, "failed");
  });
}

Deno.test("findPaths() without a state puts all else beside the socket, and needs no folder for the state", () => {
  const paths = { socket: "/run/u/balancer/a.sock", lock: "/run/u/balancer/a.lock", state: null, log: "/run/u/balancer/a.log" };
  for (const env of [{}, { HOME: "/home/u" }, { XDG_STATE_HOME: "/x" }] as Record<string, string>[]) {
    assertEquals(findPaths("a", { keepsState: false, world: world(1000, { ...env, XDG_RUNTIME_DIR: "/run/u" }) }), paths);
  }
  const logs = world(0, { LOGS_DIRECTORY: "/var/log/lb" });
  assertEquals(findPaths("a", { keepsState: false, world: logs }).log, "/var/log/lb/a.log");
});

Deno.test("findLocks() names a lock with a state and one without, as far as there can be one", () => {
  const runtime = { XDG_RUNTIME_DIR: "/run/u" };
  assertEquals(findLocks("a", world(1000, { ...runtime, HOME: "/home/u" })), [
    "/home/u/.local/state/balancer/a.lock",
    "/run/u/balancer/a.lock",
  ]);
  assertEquals(findLocks("a", world(1000, runtime)), ["/run/u/balancer/a.lock"]);
  assertEquals(findLocks("a", world(1000, {})), []);
});

Deno.test("findPaths() gives balancers of different names different files", () => {
  const [one, two] = ["one", "two"].map((name) => Object.values(pathsOf(name, world(0, {}))));
  assertEquals(new Set([...one, ...two]).size, 8);
});

/** Bytes that the path of a socket may have: 108 (Linux) or 104 with the final zero. */
const SOCKET_PATH_MAX = Deno.build.os === "linux" ? 107 : 103;

Deno.test("findPaths() refuses a socket path that is one byte too long, and says how to shorten it", () => {
  const folder = (bytes: number) => "/" + "é".repeat(40) + "r".repeat(bytes - 81);
  const pathBytes = "/balancer/a.sock".length;
  pathsOf("a", world(0, { XDG_RUNTIME_DIR: folder(SOCKET_PATH_MAX - pathBytes) }));
  const tooLong = world(0, { XDG_RUNTIME_DIR: folder(SOCKET_PATH_MAX + 1 - pathBytes) });
  assertEquals(assertThrows(() => pathsOf("a", tooLong), OperatorError, `has ${SOCKET_PATH_MAX + 1} bytes`).kind, "usage");
});

for (const name of [DEFAULT_NAME, "a", "A-1_b.c", "9", "x".repeat(32)]) {
  Deno.test(`parseName() takes ${JSON.stringify(name)}`, () => assertEquals(parseName(name), name));
}

for (const name of ["", ".", "..", ".hidden", "-a", "_a", "a/b", "../a", "a b", "a\n", "a\0", "é", "x".repeat(33)]) {
  Deno.test(`parseName() refuses ${JSON.stringify(name)}`, () => {
    assertEquals(assertThrows(() => parseName(name), OperatorError, JSON.stringify(name)).kind, "usage");
  });
}
