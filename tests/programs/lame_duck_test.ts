// A balancer that is told to stop says so first, to whoever asks and in a file, and then cuts no more connections than it says.

import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { ask, connect, echo, poll, startServer } from "../helpers.ts";
import { makePlace } from "../programs.ts";

Deno.test("a lame duck serves, and says in /ready, in the track file and in status that it will stop", async () => {
  await using place = await makePlace();
  await using server = startServer(echo);
  const track = `${place.folder}/ready.track`;
  const read = () => Deno.readTextFile(track);
  const address = await place.start("--http", "127.0.0.1:0", "--track-file", track, "--check", "off");
  assertEquals(await read(), "1\n", "the pool is empty");
  await place.do("add", "127.0.0.1", String(server.address.port));
  await poll(read, (text) => text === "0\n", "the file to say that it is ready");
  const { http } = JSON.parse(await place.do("status", "--json"));
  const stopping = place.ctl("stop", "--lame-duck", "1h", "--grace", "1h");
  await poll(read, (text) => text === "1\n", "the file to say that it is not ready");
  const ready = await fetch(`http://${http}/ready`);
  assertEquals([ready.status, await ready.text()], [503, "The balancer is about to stop\n"]);
  assertMatch(await place.do("status"), /^ *Balancer +default \(lame duck: it is about to stop\), version/m);
  assertEquals(await ask(address, "hello"), "hello");
  using client = await connect(address);
  await poll(() => place.do("list", "--json"), (text) => JSON.parse(text).servers[0].open === 1, "the connection");
  const second = await place.ctl("stop", "--lame-duck", "off", "--grace", "100ms");
  const cut = /^Balancer "default" has stopped; 1 connection was cut because the grace time of 100ms was over\n$/;
  assertMatch(second.stdout, cut);
  assertEquals((await stopping).code, 0);
  assertEquals(await read(), "1\n");
  await assertRejects(() => connect(address), Deno.errors.ConnectionRefused);
  client.close();
});

Deno.test("a signal takes the daemon's own times; stop says when nothing was cut", async () => {
  await using place = await makePlace();
  await using server = startServer(echo);
  await place.start("--check", "off", "--lame-duck", "1h", "--grace", "20s");
  await place.do("add", "127.0.0.1", String(server.address.port));
  Deno.kill(await place.pid(), "SIGTERM");
  await poll(() => place.do("status", "--json"), (text) => JSON.parse(text).lameDuck, "the lame duck");
  assertStringIncludes(await place.do("daemon", "set", "--lame-duck", "off"), "holds when the balancer is told to stop");
  assertEquals(await place.do("stop"), 'Balancer "default" has stopped; no connection was cut\n');
});

Deno.test("a track file that cannot be written is refused, at the start and later", async () => {
  await using place = await makePlace();
  const path = `${place.folder}/missing/ready.track`;
  const refused = await place.ctl("start", "127.0.0.1", "0", "--track-file", path);
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertStringIncludes(refused.stderr, `Cannot write track file ${JSON.stringify(path)}: `);
  await place.start("--check", "off");
  const later = await place.ctl("daemon", "set", "--track-file", path);
  assertEquals(later.code, 1);
  assertStringIncludes(later.stderr, `Cannot write track file ${JSON.stringify(path)}: `);
});
