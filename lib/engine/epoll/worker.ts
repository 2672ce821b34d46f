/**
 * The main module of a worker thread: receives its setup from main and runs the loop. Between two runs it receives the messages of
 * postMessage, which a thread blocked in epoll_wait(2) cannot do.
 */

/// <reference lib="deno.worker" />

import { EpollLoop } from "./loop.ts";
import { openLibc } from "../system/libc.ts";
import { WorkerTable } from "./worker_table.ts";
import type { FromWorker, ToWorker } from "./worker_setup.ts";

const inbox: ToWorker[] = [];
let onArrival = () => {};

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  inbox.push(data);
  onArrival();
};

async function takeMessage(): Promise<ToWorker> {
  while (inbox.length === 0) await new Promise<void>((resolve) => onArrival = resolve);
  return inbox.shift()!;
}

function post(message: FromWorker): void {
  self.postMessage(message);
}

async function work(): Promise<void> {
  post({ kind: "here" });
  const setup = await takeMessage();
  if (setup.kind !== "setup") throw new Error(`a ${setup.kind} came before the setup`);
  using libc = openLibc();
  const loop = new EpollLoop(libc, setup, post);
  post({ kind: "ready" });
  try {
    await serve(loop);
  } catch (fault) {
    new WorkerTable(setup.workerTable).setEpoch(setup.index, 0); // at once, so that the other workers stop handing clients over
    throw fault;
  }
  post({ kind: "gone" });
}

async function serve(loop: EpollLoop): Promise<void> {
  while (loop.run() === "message") {
    const message = await takeMessage();
    if (message.kind === "publication") loop.adopt(message.publication);
    else if (message.kind === "found") loop.setAddresses(message.server, message.addresses);
    else if (message.kind !== "setup") loop.carry(message);
  }
}

await work();
