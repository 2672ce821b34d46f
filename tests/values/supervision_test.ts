import { assertEquals, assertThrows } from "@std/assert";
import { OperatorError } from "../../lib/values/errors.ts";
import { NOTICES, parseSupervision, serviceOfSocket, whyIrreplaceable } from "../../lib/values/supervision.ts";

const PID = 42;
const NOTHING = { notifySocket: undefined, watchdogMs: undefined, descriptors: [], isStarted: false };

Deno.test("parseSupervision() reads what is meant for this process", () => {
  assertEquals(parseSupervision({}, PID), NOTHING);
  assertEquals(parseSupervision({ NOTIFY_SOCKET: "" }, PID), NOTHING);
  assertEquals(parseSupervision({ NOTIFY_SOCKET: "/run/systemd/notify", WATCHDOG_USEC: "30000000", WATCHDOG_PID: "42" }, PID), {
    notifySocket: "/run/systemd/notify",
    watchdogMs: 30_000,
    descriptors: [],
    isStarted: false,
  });
  assertEquals(parseSupervision({ SYSTEMD_EXEC_PID: "42" }, PID), { ...NOTHING, isStarted: true });
  assertEquals(parseSupervision({ SYSTEMD_EXEC_PID: "43" }, PID), NOTHING);
  assertEquals(parseSupervision({ NOTIFY_SOCKET: "@name" }, PID).notifySocket, "@name");
  assertEquals(parseSupervision({ WATCHDOG_USEC: "500" }, PID).watchdogMs, 0.5);
  assertEquals(parseSupervision({ WATCHDOG_USEC: "0" }, PID).watchdogMs, undefined);
  assertEquals(parseSupervision({ WATCHDOG_USEC: "1000", WATCHDOG_PID: "43" }, PID).watchdogMs, undefined);
});

Deno.test("parseSupervision() numbers descriptors from 3 on, and names them as LISTEN_FDNAMES does", () => {
  const given = { LISTEN_PID: "42", LISTEN_FDS: "3", LISTEN_FDNAMES: "web::api" };
  const descriptors = [
    { descriptor: 3, name: "web" },
    { descriptor: 4, name: "unknown" },
    { descriptor: 5, name: "api" },
  ];
  assertEquals(parseSupervision(given, PID).descriptors, descriptors);
  assertEquals(parseSupervision({ ...given, LISTEN_FDNAMES: undefined }, PID).descriptors.map(({ name }) => name), [
    "unknown",
    "unknown",
    "unknown",
  ]);
  assertEquals(parseSupervision({ ...given, LISTEN_PID: "43" }, PID).descriptors, []);
  assertEquals(parseSupervision({ ...given, LISTEN_PID: undefined }, PID).descriptors, []);
  assertEquals(parseSupervision({ ...given, LISTEN_FDS: "0" }, PID).descriptors, []);
});

Deno.test("parseSupervision() refuses what no service manager sets", () => {
  const refused = [
    [{ NOTIFY_SOCKET: "notify" }, 'NOTIFY_SOCKET is "notify", which is neither a path from the root nor "@" and a name'],
    [{ NOTIFY_SOCKET: "vsock:2:1234" }, 'NOTIFY_SOCKET is "vsock:2:1234", which is neither'],
    [{ WATCHDOG_USEC: "soon" }, 'WATCHDOG_USEC is "soon", which is no number of µs'],
    [{ WATCHDOG_USEC: "-1" }, 'WATCHDOG_USEC is "-1"'],
    [{ LISTEN_PID: "42", LISTEN_FDS: "two" }, 'LISTEN_FDS is "two", which is no number of sockets up to 4096'],
    [{ LISTEN_PID: "42", LISTEN_FDS: "5000" }, 'LISTEN_FDS is "5000"'],
  ] as const;
  for (const [environment, says] of refused) assertThrows(() => parseSupervision(environment, PID), OperatorError, says);
});

Deno.test("serviceOfSocket() takes systemd's own names for none", () => {
  assertEquals(["unknown", "balancer@web.socket", "web"].map(serviceOfSocket), [undefined, undefined, "web"]);
});

Deno.test("NOTICES are what sd_notify(3) says, and a sentence stays one line", () => {
  assertEquals(NOTICES.ready("Ready:\n2 of 2"), "READY=1\nSTATUS=Ready: 2 of 2");
  assertEquals(NOTICES.reloading(7n), "RELOADING=1\nMONOTONIC_USEC=7");
  assertEquals(NOTICES.stopping("It stops", 1500.2), "STOPPING=1\nSTATUS=It stops\nEXTEND_TIMEOUT_USEC=1501000");
  assertEquals(NOTICES.mainPid(7), "MAINPID=7");
  assertEquals(NOTICES.alive(), "WATCHDOG=1");
});

Deno.test("whyIrreplaceable() names what ends with a process", () => {
  const free = { pid: PID, stopsAtEof: false, isStarted: false, notifySocket: undefined };
  const cases = [
    [{}, undefined],
    [{ pid: 1 }, "it is process 1, as in a container, which ends with it; start a new container instead"],
    [{ stopsAtEof: true }, "it ends with the program that has started it (--stop-at-eof)"],
    [{ isStarted: true }, "systemd has started it and is told nothing"],
    [{ isStarted: true, notifySocket: "/run/systemd/notify" }, undefined],
    [{ notifySocket: "/run/systemd/notify" }, undefined],
  ] as const;
  for (const [bonds, says] of cases) {
    const why = whyIrreplaceable({ ...free, ...bonds });
    assertEquals(says === undefined ? why === undefined : why?.includes(says), true, why);
  }
});
