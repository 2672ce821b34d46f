// The log is one JSON object a line, from the level that was asked for, and whole when the program ends.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { LogLevel } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { boundedSink, endLogging, logger, setUpLogging } from "../../lib/observe/log.ts";
import { streamOutput } from "../../lib/observe/line_buffer.ts";
import { LogFile } from "../../lib/observe/log_file.ts";

interface Line {
  readonly "@timestamp": string;
  readonly level: string;
  readonly message: string;
  readonly logger: string;
  readonly properties: Readonly<Record<string, unknown>>;
}

const readLines = (text: string): Line[] => text.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line));

/** What a file holds after logging from `level` up. */
async function logToFile(level: LogLevel, write: () => void): Promise<Line[]> {
  const folder = await Deno.makeTempDir({ prefix: "balancer_log_" });
  try {
    await setUpLogging(level, `${folder}/a.log`);
    write();
    await endLogging();
    return readLines(await Deno.readTextFile(`${folder}/a.log`));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("setUpLogging() to a file writes a JSON object a line", async () => {
  const lines = await logToFile("info", () => {
    logger("test").info("Added {server} with weight {weight}", { server: "10.0.0.1:80", weight: 3 });
  });
  assertEquals(lines.length, 1);
  const [{ "@timestamp": timestamp, ...rest }] = lines;
  assertMatch(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/);
  assertEquals(rest.level, "INFO");
  assertMatch(rest.message, /10\.0\.0\.1:80.* with weight 3/);
  assertEquals(rest.logger, "balancer.test");
  assertEquals(rest.properties, { server: "10.0.0.1:80", weight: 3 });
});

const WRITTEN: [LogLevel, string[]][] = [
  ["debug", ["DEBUG", "INFO", "WARN", "ERROR", "FATAL"]],
  ["info", ["INFO", "WARN", "ERROR", "FATAL"]],
  ["warning", ["WARN", "ERROR", "FATAL"]],
  ["error", ["ERROR", "FATAL"]],
];

for (const [level, written] of WRITTEN) {
  Deno.test(`setUpLogging() from ${level} writes ${written.join(", ")}`, async () => {
    const lines = await logToFile(level, () => {
      const log = logger("test");
      log.debug("a");
      log.info("a");
      log.warn("a");
      log.error("a");
      log.fatal("a");
    });
    assertEquals(lines.map(({ level }) => level), written);
  });
}

Deno.test("endLogging() writes out all that was logged, in order", async () => {
  const lines = await logToFile("info", () => {
    for (let i = 0; i < 5000; i++) logger("test").info("line {i}", { i });
  });
  assertEquals(lines.map(({ properties }) => properties.i), Array.from({ length: 5000 }, (_, i) => i));
});

Deno.test("setUpLogging() can be called again after endLogging()", async () => {
  for (const text of ["one", "two"]) {
    const lines = await logToFile("info", () => logger("test").info(text));
    assertEquals(lines.map(({ message }) => message), [text]);
  }
});

Deno.test("logger() keeps a line feed inside its object", async () => {
  const lines = await logToFile("info", () => logger("test").info("from {ip}", { ip: "1\n2" }));
  assertEquals(lines.map(({ properties }) => properties.ip), ["1\n2"]);
});

Deno.test("setUpLogging() without a file writes JSON to standard error, which is no terminal here, and nothing else", async () => {
  const program = `
    import { boundedSink, endLogging, logger, setUpLogging } from ${
    JSON.stringify(import.meta.resolve("../../lib/observe/log.ts"))
  };
    await setUpLogging("info");
    logger("test").debug("not written");
    logger("test").info("Hello {who}", { who: "world" });
    await endLogging();
  `;
  const cwd = new URL("../..", import.meta.url); // where deno.json is
  const args = ["eval", "--quiet", program];
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd, stdin: "null" }).output();
  const lines = readLines(new TextDecoder().decode(stderr));
  assert(success);
  assertEquals(stdout.length, 0);
  assertEquals(lines.map(({ level, logger, properties }) => [level, logger, properties]), [["INFO", "balancer.test", {
    who: "world",
  }]]);
});

/** A record as LogTape hands it to a sink. */
const RECORD = { category: ["balancer"], level: "info", message: ["x"], rawMessage: "x", timestamp: 0, properties: {} } as const;

Deno.test("boundedSink() writes line after line", async () => {
  let text = "";
  const output = { write: (bytes: Uint8Array) => Promise.resolve((text += new TextDecoder().decode(bytes), bytes.length)) };
  const sink = boundedSink(streamOutput(output), () => "line\n");
  for (let i = 0; i < 3; i++) sink(RECORD);
  await sink[Symbol.asyncDispose]();
  assertEquals(text, "line\nline\nline\n");
});

Deno.test("boundedSink() survives an output that is gone, and asks it no more", async () => {
  let writes = 0;
  const output = { write: () => (writes++, Promise.reject(new Deno.errors.BrokenPipe())) };
  const sink = boundedSink(streamOutput(output), () => "line\n");
  sink(RECORD);
  await sink[Symbol.asyncDispose]();
  sink(RECORD);
  await sink[Symbol.asyncDispose]();
  assertEquals(writes, 1);
});

Deno.test("boundedSink() keeps a limited amount for an output that does not read, and says what it left out", async () => {
  const reads = Promise.withResolvers<void>();
  let bytesWritten = 0;
  let text = "";
  const output = {
    async write(bytes: Uint8Array) {
      await reads.promise;
      text += new TextDecoder().decode(bytes.subarray(0, 200));
      bytesWritten += bytes.length;
      return bytes.length;
    },
  };
  const sink = boundedSink(streamOutput(output), () => "x".repeat(999) + "\n");
  for (let i = 0; i < 5000; i++) sink(RECORD);
  reads.resolve();
  await sink[Symbol.asyncDispose]();
  assert(bytesWritten < 1.1 * 1024 ** 2, `${bytesWritten} bytes were kept`);
  assertMatch(text, /[0-9]+ log lines were dropped/);
});

/** A log file in a folder of its own, gone afterwards. */
async function openLogFile(bytesMax = 1000) {
  const folder = await Deno.makeTempDir({ prefix: "balancer_log_" });
  const path = `${folder}/a.log`;
  const stuck: string[] = [];
  const log = await LogFile.open(path, { bytesMax, oldFilesMax: 2, onStuck: (why) => stuck.push(why) });
  const dispose = async () => {
    await log.close();
    await Deno.remove(folder, { recursive: true });
  };
  const write = (text: string) => log.append(new TextEncoder().encode(text));
  return { path, log, stuck, write, read: (suffix = "") => Deno.readTextFile(path + suffix), [Symbol.asyncDispose]: dispose };
}

Deno.test("LogFile is cut at its size, and so many old ones are kept", async () => {
  await using log = await openLogFile(5);
  for (const line of ["one\n", "two\n", "three\n", "four\n"]) await log.write(line);
  assertEquals(await Promise.all(["", ".1", ".2"].map(log.read)), ["four\n", "three\n", "two\n"]);
  await assertRejects(() => log.read(".3"), Deno.errors.NotFound);
});

Deno.test("LogFile that cannot be cut goes on as it is, and loses no old file", async () => {
  await using log = await openLogFile(5);
  for (const line of ["one\n", "two\n", "three\n"]) await log.write(line);
  await Deno.mkdir(`${log.path}.new/full`, { recursive: true }); // where the next one is made
  for (const line of ["four\n", "five\n"]) await log.write(line);
  const text = await log.read();
  assertEquals(text, "three\nfour\nfive\n");
  assertEquals(log.stuck.map((why) => /"[^"]*a\.log\.new": it is a folder/.test(why)), [true, true]);
  assertEquals(await Promise.all([".1", ".2"].map(log.read)), ["two\n", "one\n"]);
  await Deno.remove(`${log.path}.new`, { recursive: true });
  await log.write("six\n".padStart(6));
  assertEquals(await log.read(".1"), text);
});

Deno.test("LogFile.open() goes on with a file that is there, whose size counts", async () => {
  await using log = await openLogFile(6);
  await log.write("one\n");
  const again = await LogFile.open(log.path, log.log.rotation);
  await again.append(new TextEncoder().encode("two\n"));
  await again.close();
  assertEquals([await log.read(), await log.read(".1")], ["two\n", "one\n"]);
});

Deno.test("LogFile.reopen() writes to the old file what came before, and to the new one what comes then", async () => {
  await using log = await openLogFile();
  const before = Array.from({ length: 20 }, (_, i) => log.write(`${i}\n`));
  await Deno.rename(log.path, `${log.path}.moved`);
  const reopened = log.log.reopen();
  const after = log.write("after\n");
  await Promise.all([...before, reopened, after]);
  assertEquals(await log.read(".moved"), Array.from({ length: 20 }, (_, i) => `${i}\n`).join(""));
  assertEquals([await log.read(), (await Deno.stat(log.path)).mode! & 0o777], ["after\n", 0o600]);
});

Deno.test("LogFile.reopen() that fails says why and goes on with the old file", async () => {
  await using log = await openLogFile();
  await Deno.rename(log.path, `${log.path}.moved`);
  await Deno.mkdir(log.path);
  await assertRejects(() => log.log.reopen(), OperatorError, "it is a folder and must be a plain file");
  await log.write("still here\n");
  assertEquals(await log.read(".moved"), "still here\n");
});
