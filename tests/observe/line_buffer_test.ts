// Lines never hold up whoever writes them: what an output does not take is dropped, and told of with its number.

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Appended, LineBuffer, type LineOutput, streamOutput, wholeLines } from "../../lib/observe/line_buffer.ts";

/** An output that a test plays: it takes what `answers` says, one after another, then everything. */
function playedOutput(...answers: readonly ((bytes: number) => Appended | Promise<Appended>)[]) {
  const texts: string[] = [];
  let calls = 0;
  const output: LineOutput = {
    async append(lines) {
      const { bytes, fault } = await (answers[calls++]?.(lines.length) ?? { bytes: lines.length, fault: undefined });
      texts.push(new TextDecoder().decode(lines.subarray(0, bytes)));
      return { bytes, fault };
    },
  };
  return { output, texts };
}

/** A buffer over an output, and what it told of dropped lines. */
function buffer(output: LineOutput, keptMax = 1000) {
  const dropped: [count: number, why: string][] = [];
  const onDropped = (count: number, why: string) => void dropped.push([count, why]);
  return { dropped, lines: new LineBuffer({ output, keptMax, onDropped }) };
}

Deno.test("LineBuffer writes the lines of one turn together, and those that come meanwhile afterwards", async () => {
  const written = Promise.withResolvers<void>();
  const { output, texts } = playedOutput(async (bytes) => (await written.promise, { bytes, fault: undefined }));
  const { lines } = buffer(output);
  lines.write("one\n");
  lines.write("two\n");
  await Promise.resolve();
  await Promise.resolve();
  lines.write("three\n");
  written.resolve();
  await lines.flush();
  assertEquals(texts, ["one\ntwo\n", "three\n"]);
});

Deno.test("LineBuffer keeps no more than its limit, what is being written included, and has room again afterwards", async () => {
  const written = Promise.withResolvers<void>();
  const { output, texts } = playedOutput(async (bytes) => (await written.promise, { bytes, fault: undefined }));
  const { lines, dropped } = buffer(output, 10);
  for (let i = 0; i < 4; i++) lines.write("line\n");
  assertEquals(dropped, Array(2).fill([1, "they come faster than they can be written"]));
  written.resolve();
  await lines.flush();
  lines.write("again\n");
  await lines.flush();
  assertEquals(texts, ["line\nline\n", "again\n"]);
});

Deno.test("LineBuffer tells how many lines an output did not take, and why, and goes on", async () => {
  const { output, texts } = playedOutput(() => ({ bytes: 4, fault: "the disk is full" }));
  const { lines, dropped } = buffer(output);
  for (const line of ["one\n", "two\n", "three\n"]) lines.write(line);
  await lines.flush();
  lines.write("four\n");
  await lines.flush();
  assertEquals([texts, dropped], [["one\n", "four\n"], [[2, "the disk is full"]]]);
});

Deno.test("LineBuffer says in the output what was dropped, once the output takes lines again", async () => {
  const full = () => ({ bytes: 0, fault: "full" });
  const { output, texts } = playedOutput(full, full);
  const lines = new LineBuffer({ output, keptMax: 1000, noticeOf: (count, why) => `${count} lost: ${why}\n` });
  for (const line of ["one\n", "two\n", "three\n", "four\n"]) {
    lines.write(line);
    await lines.flush();
  }
  assertEquals(texts, ["", "", "three\n", "2 lost: full\n", "four\n"]);
});

Deno.test("streamOutput() writes all in as many pieces as the stream takes", async () => {
  let text = "";
  const write = (bytes: Uint8Array) =>
    Promise.resolve((text += new TextDecoder().decode(bytes.subarray(0, 3)), Math.min(3, bytes.length)));
  assertEquals(await streamOutput({ write }).append(new TextEncoder().encode("one\ntwo\n")), { bytes: 8, fault: undefined });
  assertEquals(text, "one\ntwo\n");
});

Deno.test("streamOutput() of a stream that fails tells of the whole lines before, and leaves it alone then", async () => {
  let writes = 0;
  const write = () => ++writes === 1 ? Promise.resolve(6) : Promise.reject(new Deno.errors.BrokenPipe("gone"));
  const output = streamOutput({ write });
  const lines = new TextEncoder().encode("one\ntwo\n");
  assertEquals(await output.append(lines), { bytes: 4, fault: "gone" });
  assertEquals(await output.append(lines), { bytes: 0, fault: "gone" });
  assertEquals(writes, 2);
});

Deno.test("wholeLines() never cuts a line, and loses none that is whole", () => {
  fc.assert(fc.property(fc.array(fc.constantFrom("", "a", "bb")), fc.nat(20), (words, sent) => {
    const text = words.map((word) => `${word}\n`).join("");
    const bytes = Math.min(sent, text.length);
    const whole = wholeLines(new TextEncoder().encode(text), bytes);
    assert(whole <= bytes && (whole === 0 || text[whole - 1] === "\n"));
    assert(!text.slice(whole, bytes).includes("\n"));
  }));
});
