/**
 * A server as a process of its own, so that it can be killed and stopped as servers are: `server.ts <name> <port> <log>
 * <serviceMs> <splitMs>`. It says a line when it listens, answers requests line by line, and ends with its standard input. What it
 * has read is in the log before it is answered, written at once: after a SIGKILL the log says what was delivered.
 */

import { answerLine, PING, PONG, requestKey } from "./protocol.ts";

/** Every fourth request of a client is answered in two parts, if any is: in the middle of an answer nobody may be moved. */
const SPLIT_EVERY = 4;
/** A line that is longer is no client's of ours. */
const LINE_LENGTH_MAX = 1024 ** 2;

interface Traits {
  readonly name: string;
  /** What each request takes, up to twice as long, by its number. */
  readonly serviceMs: number;
  /** Between the parts of an answer; 0: answers are whole. */
  readonly splitMs: number;
  /** Puts a request into the log. */
  log(key: string): void;
}

async function serve(socket: Deno.TcpConn, traits: Traits): Promise<void> {
  let text = "";
  for await (const chunk of socket.readable.pipeThrough(new TextDecoderStream())) {
    const lines = (text + chunk).split("\n");
    text = lines.pop()!;
    if (text.length > LINE_LENGTH_MAX) return;
    for (const line of lines) await answer(socket, line, traits);
  }
}

async function answer(socket: Deno.TcpConn, line: string, { name, serviceMs, splitMs, log }: Traits): Promise<void> {
  if (line === PING) return await write(socket, `${PONG}\n`);
  const key = requestKey(line);
  if (key === undefined) return await write(socket, "?\n");
  log(key);
  const request = Number(key.split(" ")[1]);
  if (serviceMs > 0) await delay(serviceMs * (request % 3));
  const said = `${answerLine(line, name)}\n`;
  const half = splitMs > 0 && request % SPLIT_EVERY === 0 ? said.length >> 1 : 0;
  if (half > 0) {
    await write(socket, said.slice(0, half));
    await delay(splitMs);
  }
  await write(socket, said.slice(half));
}

async function write(socket: Deno.TcpConn, text: string): Promise<void> {
  const bytes = new TextEncoder().encode(text);
  for (let sent = 0; sent < bytes.length;) sent += await socket.write(bytes.subarray(sent));
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Appends lines to a file, each by one write(2), which outlives the process from then on. */
function openLog(path: string): (key: string) => void {
  const file = Deno.openSync(path, { append: true, create: true });
  const encoder = new TextEncoder();
  return (key) => void file.writeSync(encoder.encode(`${key}\n`));
}

async function main([name, port, logPath, serviceMs, splitMs]: readonly string[]): Promise<never> {
  const traits = { name, serviceMs: Number(serviceMs), splitMs: Number(splitMs), log: openLog(logPath) };
  const listener = Deno.listen({ hostname: "127.0.0.1", port: Number(port), tcpBacklog: 4096 });
  endWithInput();
  await Deno.stdout.write(new TextEncoder().encode("listening\n"));
  while (true) {
    const socket = await listener.accept().catch(() => undefined); // a client may be gone before it is accepted
    if (socket !== undefined) serve(socket, traits).catch(() => {}).finally(() => close(socket));
  }
}

/** Whoever started it may have been killed. */
function endWithInput(): void {
  Deno.stdin.readable.pipeTo(new WritableStream()).catch(() => {}).finally(() => Deno.exit(0));
}

function close(socket: Deno.TcpConn): void {
  try {
    socket.close();
  } catch { /* closed with its stream */ }
}

if (import.meta.main) await main(Deno.args);
