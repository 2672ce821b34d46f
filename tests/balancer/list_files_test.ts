// Files of lists: what is taken, what is refused with its line, and that the old list stays in force.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { ListFiles } from "../../lib/balancer/list_files.ts";
import { includesIp } from "../../lib/values/cidr_list.ts";
import { ipBytes } from "../../lib/values/address.ts";
import { parseListSource } from "../../lib/values/client_limits.ts";
import { LIMITS } from "../../lib/values/config.ts";
import { OperatorError } from "../../lib/values/errors.ts";

/** A file of a folder of its own, with this content. */
async function listFile(
  content: string | Uint8Array,
): Promise<{ path: string; write(content: string): Promise<void> } & AsyncDisposable> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/list.txt`;
  const write = (content: string | Uint8Array) =>
    typeof content === "string" ? Deno.writeTextFile(path, content) : Deno.writeFile(path, content);
  await write(content);
  return { path, write, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

function load(deny: string, allow = "off"): Promise<ListFiles> {
  const source = (text: string, flag: string) => parseListSource(text, flag, LIMITS.listPrefixesMax);
  return ListFiles.load({ allow: source(allow, "allow"), deny: source(deny, "deny") });
}

function denies({ lists }: ListFiles, ip: string): boolean {
  const bytes = ipBytes(ip);
  return includesIp(lists!.deny!, bytes, 0, bytes.length);
}

async function refusal(deny: string, allow?: string): Promise<string> {
  const { kind, message } = await assertRejects(() => load(deny, allow), OperatorError);
  assertEquals(kind, "usage");
  return message;
}

Deno.test("A file has a prefix per line; comments, empty lines and other ends of lines count for nothing", async () => {
  await using file = await listFile("\uFEFF# the office\r\n10.0.0.0/8 # all of it\r\n\r\n  2001:db8::/32\n192.0.2.7");
  const files = await load(`@${file.path}`);
  assertEquals(files.lists!.deny!.entries, 3);
  assertEquals(["10.1.2.3", "2001:db8::5", "192.0.2.7", "192.0.2.8"].map((ip) => denies(files, ip)), [true, true, true, false]);
});

Deno.test("Without lists there is nothing to read", async () => {
  const files = await load("off");
  assertEquals([files.lists, await files.reload()], [undefined, []]);
});

Deno.test("A list of the command line is there, and never read again", async () => {
  const files = await load("10.0.0.0/8");
  assertEquals([denies(files, "10.0.0.1"), await files.reload()], [true, []]);
});

Deno.test("A file that is read again replaces the list as a whole", async () => {
  await using file = await listFile("10.0.0.0/8\n");
  const files = await load(`@${file.path}`);
  await file.write("192.0.2.0/24\n198.51.100.0/24\n");
  assertEquals(await files.reload(), [{ path: file.path, entries: 2, fault: undefined }]);
  assertEquals([denies(files, "10.0.0.1"), denies(files, "192.0.2.1")], [false, true]);
});

Deno.test("A file that is broken in line 4,711 is refused at the start, and changes nothing later", async () => {
  const lines = Array.from({ length: 5000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
  await using file = await listFile(lines.join("\n"));
  const files = await load(`@${file.path}`);
  lines[4710] = "10.0.0.300";
  await file.write(lines.join("\n"));
  const sentence =
    `Cannot use list ${JSON.stringify(file.path)}: line 4711: "10.0.0.300" is not an IP address or a prefix such as ` +
    "10.0.0.0/8 or 2001:db8::/32";
  assertEquals(await files.reload(), [{ path: file.path, entries: 5000, fault: sentence }]);
  assert(denies(files, "10.0.18.102"));
  assertEquals(await refusal(`@${file.path}`), sentence);
});

Deno.test("A file that is missing or cannot be read is refused, and later the old list stays", async () => {
  await using file = await listFile("10.0.0.0/8\n");
  assertMatch(await refusal(`@${file.path}.not`), /^Cannot use list ".*list\.txt\.not": No such file/);
  assertMatch(
    await refusal(`@${file.path.replace(/\/[^/]*$/, "")}`),
    /^Cannot use list ".*": it is a folder and must be a plain file/,
  );
  const files = await load(`@${file.path}`);
  await Deno.remove(file.path);
  const [{ entries, fault }] = await files.reload();
  assertEquals(entries, 1);
  assertMatch(fault!, /No such file/);
  assert(denies(files, "10.0.0.1"));
});

Deno.test("A file that is no text is refused by its first line, shown in part and without control characters", async () => {
  await using file = await listFile(Uint8Array.from({ length: 5000 }, (_, i) => i % 9 === 0 ? 0x1b : 0x80 + i % 100));
  const message = await refusal(`@${file.path}`);
  assertMatch(message, /line 1: "\\u001b/);
  assert(message.length < 700 && !message.includes("\u001b"), message);
});

Deno.test("A file of more prefixes than a list may have is refused, and one that is too large is not even parsed", async () => {
  await using many = await listFile("1.1.1.1\n".repeat(LIMITS.listPrefixesMax + 1));
  assertMatch(await refusal(`@${many.path}`), /: line 1000001: The list has more than 1000000 prefixes$/);
  await using lines = await listFile("1.1.1.1\n".repeat(10_000_000));
  assertMatch(await refusal(`@${lines.path}`), /: it is larger than the limit of 64MiB$/);
});

Deno.test("An empty file denies nobody, and is refused as a list of those who are allowed", async () => {
  await using file = await listFile("# nobody\n");
  const files = await load(`@${file.path}`);
  assertEquals(files.lists!.deny!.entries, 0);
  assertMatch(await refusal("off", `@${file.path}`), /: it has no prefix, and would refuse every client$/);
});

Deno.test("One file that is broken does not keep the other one from being read", async () => {
  await using deny = await listFile("10.0.0.0/8\n");
  await using allow = await listFile("192.0.2.0/24\n");
  const files = await load(`@${deny.path}`, `@${allow.path}`);
  await allow.write("nonsense\n");
  await deny.write("11.0.0.0/8\n");
  const [one, other] = await files.reload();
  assertMatch(one.fault!, /line 1: "nonsense" is not/);
  assertEquals([one.entries, other.fault, denies(files, "11.0.0.1")], [1, undefined, true]);
});
