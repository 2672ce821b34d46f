// The page in a real browser: what it shows is what the API says, for everyone, and nothing leaves it.

import type { AxeResults } from "axe-core";
import type { Browser, Locator, Page } from "playwright-core";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatCount, formatPercent } from "../../lib/page/model/format.ts";
import { figuresOf } from "../../lib/page/model/what_if.ts";
import { soon } from "../helpers.ts";
import { CHROMIUM, type Opening, type OpenPage, openPage, PATIENCE_MS, startBrowser } from "./browsers.ts";
import { eventfulStory, Story } from "./story.ts";

const NOW = Math.floor(Date.now() / 1000);

let browser: Browser | undefined;
Deno.test.afterAll(async () => await browser?.close());

/** A test in Chromium; ignored where there is none. The browser is shared, and has no part in what a test may leave open. */
function inChromium(
  name: string,
  story: () => Story,
  test: (open: OpenPage, story: Story) => Promise<void>,
  opening?: Opening,
): void {
  Deno.test({
    name: `[chromium] ${name}`,
    ignore: CHROMIUM === undefined,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn() {
      browser ??= await startBrowser();
      const told = story();
      await using open = await openPage(browser, told, opening);
      await test(open, told);
      assertEquals(open.faults, []);
    },
  });
}

function killed(): Story {
  const story = new Story({ start: NOW - 400 });
  story.pass(395);
  story.kill("10.0.0.3:80", "connection refused");
  story.pass(5);
  return story;
}

/** The cells of the pool's rows by server: texts, as a person reads them. */
async function readPool(page: Page): Promise<Map<string, string[]>> {
  const rows = await page.evaluate<string[][]>(
    `[...document.querySelectorAll("table.pool tbody tr:not(.spacer)")]
      .map((row) => [...row.children].map((cell) => cell.innerText.trim()))`,
  );
  return new Map(rows.map(([first, ...rest]) => [first.match(/[0-9.]+:[0-9]+/)![0], [first, ...rest]]));
}

/** Waits until a text is in an element. */
async function shows(page: Page, selector: string, text: string | RegExp): Promise<void> {
  await page.locator(selector).filter({ hasText: text }).first().waitFor({ timeout: PATIENCE_MS });
}

/** Waits until the slider stands at this second: a key is obeyed at once, and drawn with the next frame. */
async function standsAt(page: Page, second: number): Promise<void> {
  await page.locator(`[role=slider][aria-valuenow="${second}"]`).waitFor({ timeout: PATIENCE_MS });
}

inChromium("after a kill the numbers are the API's", killed, async ({ page }, story) => {
  await shows(page, ".sentence", "5 of 6 servers up; 10.0.0.3:80 is down since");
  const lost = story.servers().servers.find(({ server }) => server === "10.0.0.3:80")!;
  await shows(page, ".sentence", `of its connections ${formatCount(lost.movedAway)} moved, ${lost.fates.server_lost} were reset`);
  const pool = await readPool(page);
  assertEquals(pool.size, 6);
  for (const { server, open, share, movedAway } of story.servers().servers) {
    const [, load, openText, , , , moved] = pool.get(server)!;
    assertEquals(openText, formatCount(open));
    assertStringIncludes(load, formatPercent(share));
    assert(moved.endsWith(`/ ${formatCount(movedAway)}`), moved);
  }
  assertStringIncludes(pool.get("10.0.0.3:80")![0], "connection refused · next check in ");
  assertMatch(pool.get("10.0.0.1:80")![0], /\nup for [^\n]+ · next check in [12] s$/);
  assertEquals([...pool.keys()][0], "10.0.0.3:80");
  const { connections, fates } = story.status();
  const ended = Object.values(fates).reduce((sum, count) => sum + count, 0);
  await shows(
    page,
    ".balance",
    `${formatCount(connections.accepted)} accepted − ${formatCount(connections.open)} open − ${formatCount(ended)} ended = 0`,
  );
});

inChromium(
  "a second later it shows what has changed meanwhile",
  () => new Story({ start: NOW - 100 }),
  async ({ page, server }, story) => {
    server.pass(3);
    await shows(page, ".sentence", "All 6 servers up");
    story.kill("10.0.0.5:80", "no answer within 2 s");
    server.pass(1);
    await shows(page, ".sentence", "10.0.0.5:80 is down since");
    await shows(page, "#events li", "Server 10.0.0.5:80 is down: no answer within 2 s");
    assertEquals([...(await readPool(page)).keys()][0], "10.0.0.5:80");
    assertMatch(await page.title(), /^✖/);
  },
);

inChromium("what if says what the plan says, and the command", () => eventfulStory(NOW), async ({ page }, story) => {
  await page.getByLabel("If I").selectOption("drain");
  await page.locator("#what-if").getByLabel(/^server/).selectOption("10.0.0.2:80");
  const plan = story.plan({ kind: "remove", server: "10.0.0.2:80" });
  for (const { label, value } of figuresOf(plan)) await shows(page, ".figures div", `${label}${value}`);
  const { to, share } = plan.flows[0];
  await shows(page, ".takers li", `to ${to}${formatPercent(share)}`);
  await shows(page, ".command code", "balancerctl drain 10.0.0.2 80");
  await page.getByLabel("If I").selectOption("add");
  await page.getByLabel("address and port").fill("10.0.0.2:80");
  await shows(page, "#what-if .answer", "10.0.0.2:80 is already in the pool");
  await page.getByLabel("address and port").fill("10.0.0.77:80");
  const added = story.plan({ kind: "add", server: "10.0.0.77:80", weight: 1 });
  await shows(page, ".figures div", formatPercent(added.movedShare!));
  await shows(page, ".command code", "balancerctl add 10.0.0.77 80");
});

inChromium("without --write there is nothing in the document that acts", () => eventfulStory(NOW), async ({ page, server }) => {
  await page.getByLabel("If I").selectOption("drain");
  await page.locator("#what-if").getByLabel(/^server/).selectOption("10.0.0.2:80");
  await shows(page, ".command code", "balancerctl drain 10.0.0.2 80");
  await shows(page, ".figures div", "clients");
  await page.locator("#connections").scrollIntoViewIfNeeded();
  await page.locator("table.connections tbody tr").first().waitFor();
  assertEquals(await page.locator(".act, .ask, .yes, .sure, option[value=undrain], .acts, dialog").count(), 0);
  assertEquals(server.changes, []);
});

inChromium(
  "with --write a change is made once its plan is seen and it is confirmed",
  () => eventfulStory(NOW),
  async (open, story) => {
    const { page, server } = open;
    const name = "10.0.0.2:80";
    const path = `/v1/servers/${encodeURIComponent(name)}?service=default application/json`;
    const chosen = page.locator("#what-if").getByLabel(/^server/);
    const button = (text: string) => page.locator("#what-if").getByRole("button", { name: text, exact: true });
    const state = () => story.servers().servers.find((one) => one.server === name)?.state;
    assertEquals(await page.locator(".ask").isVisible(), false, "nothing is chosen");

    await page.getByLabel("If I").selectOption("drain");
    await chosen.selectOption(name);
    await button(`Drain ${name} …`).click();
    await shows(page, ".figures div", "clients that get another server");
    await button("No").click();
    assertEquals([server.changes, state()], [[], "up"], "nobody has confirmed it");
    await button(`Drain ${name} …`).click();
    await page.getByLabel("If I").selectOption("remove");
    await button(`Drain ${name}`).waitFor({ state: "hidden" });
    await page.getByLabel("If I").selectOption("drain");
    await button(`Drain ${name} …`).click();
    assertEquals(await accessibilityFaults(page), []);
    await button(`Drain ${name}`).click();
    await shows(page, "#what-if .answer", `${name} gets no more clients; it has `);
    assertEquals([server.changes, state()], [[`PATCH ${path} {"draining":true}`], "draining"]);
    server.pass(2);
    await shows(page, "table.pool tbody tr", "draining");

    await page.getByLabel("If I").selectOption("undrain");
    await chosen.selectOption(name);
    await shows(page, ".figures div", "clients that get it again");
    await button(`Put back ${name} …`).click();
    await button(`Put back ${name}`).click();
    await shows(page, "#what-if .answer", `${name} is no longer drained by hand`);
    server.pass(1);

    await page.getByLabel("If I").selectOption("remove");
    await chosen.selectOption(name);
    await button(`Remove ${name} …`).click();
    await button(`Remove ${name}`).click();
    await shows(page, "#what-if .answer", `${name} is removed: of `);
    assertEquals(server.changes.slice(1), [`PATCH ${path} {"draining":false}`, `DELETE ${path} `]);
  },
  { writes: true },
);

/** The row of a connection, with its client and its buttons. */
function rowOf(page: Page, client: string): Locator {
  return page.locator("table.connections tbody tr").filter({ has: page.getByRole("cell", { name: client, exact: true }) });
}

inChromium(
  "with --write a connection is closed and moved, and what cannot move is reset by force alone",
  () => eventfulStory(NOW),
  async ({ page, server }, story) => {
    const dialog = page.getByRole("dialog");
    const button = (name: string) => dialog.getByRole("button", { name, exact: true });
    const { connections } = story.connections({ server: "10.0.0.4:80" });
    const [one, other, free] = connections.filter(({ state }) => state === "idle");
    const busy = connections.find(({ state }) => state === "busy")!;
    const pathOf = ({ id }: { id: string }, verb: string) => `POST /v1/connections/${id}/${verb} application/json`;
    await page.locator("#connections").scrollIntoViewIfNeeded();
    await page.locator("#connections").getByLabel("server").selectOption("10.0.0.4:80");
    await shows(page, "#connections .count", new RegExp(`^${connections.length} connections$`));

    await rowOf(page, one.client).getByRole("button", { name: `Close … connection of ${one.client}` }).click();
    await shows(page, "dialog .facts", `${one.client}, with 10.0.0.4:80: idle`);
    await shows(page, "dialog", "Its client notices, and has to connect again");
    assertEquals(await page.evaluate("document.activeElement.textContent"), "No", "who presses Enter too soon changes nothing");
    await page.keyboard.press("Escape");
    await dialog.waitFor({ state: "hidden" });
    await shows(page, ".time", "Live");
    assertEquals(await page.evaluate("document.activeElement.dataset.change"), "close", "it is where it was");
    assertEquals(server.changes, [], "nobody has confirmed it");
    await page.keyboard.press("Enter");
    await dialog.waitFor();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await shows(page, "#connections .answer", `Closed connection ${one.id} of client ${one.client} with server 10.0.0.4:80.`);
    await rowOf(page, one.client).waitFor({ state: "detached" });

    // By key: a pointer may come too late for a row that moves. And again, if the focus was just brought back to where it was
    // before the last dialog, and the key went there.
    const askToMove = async ({ client }: { client: string }, tries = 5): Promise<void> => {
      await rowOf(page, client).getByRole("button", { name: "Move" }).press("Enter");
      const isAsked = await dialog.filter({ hasText: client }).waitFor({ timeout: 2000 }).then(() => true, () => false);
      if (isAsked || tries === 1) return await shows(page, "dialog .facts", client);
      if (await dialog.isVisible()) await page.keyboard.press("Escape");
      await askToMove({ client }, tries - 1);
    };
    await askToMove(other);
    await dialog.getByLabel("to").selectOption("10.0.0.2:80");
    await shows(page, "dialog .command code", `balancerctl move ${other.id} 10.0.0.2 80`);
    await button("Move it").click();
    await shows(page, "#connections .answer", `Moved connection ${other.id} of client ${other.client} (idle) from 10.0.0.4:80 to `);
    await askToMove(free);
    await button("Move it").click();
    await shows(page, "#connections .answer", `Moved connection ${free.id}`);

    await askToMove(busy);
    await button("Move it").click();
    await shows(page, "dialog [role=alert]", `Cannot move connection "${busy.id}": it is in the middle of an exchange`);
    await shows(page, "dialog", "By force it is reset: its client notices");
    assertEquals(await accessibilityFaults(page), []);
    await button("Reset it").click();
    await shows(
      page,
      "#connections .answer",
      `Reset connection ${busy.id} of client ${busy.client}, which could not move: it is in`,
    );
    assertEquals(server.changes, [
      `${pathOf(one, "close")} {}`,
      `${pathOf(other, "move")} {"server":"10.0.0.2:80"}`,
      `${pathOf(free, "move")} {}`,
      `${pathOf(busy, "move")} {}`,
      `${pathOf(busy, "move")} {"force":true}`,
    ]);
  },
  { writes: true },
);

inChromium("a connection that ends while its question stands is told of", () => eventfulStory(NOW), async ({ page }, story) => {
  const [first] = story.connections({}).connections;
  await page.locator("#connections").scrollIntoViewIfNeeded();
  await rowOf(page, first.client).getByRole("button", { name: "Close" }).click();
  story.closeConnection(first.id);
  await page.getByRole("button", { name: "Close it" }).click();
  await shows(page, "dialog [role=alert]", `Cannot close connection "${first.id}": it is not open`);
  await page.getByRole("button", { name: "No", exact: true }).click();
  await page.getByRole("dialog").waitFor({ state: "hidden" });
}, { writes: true });

inChromium("the needle points where explain says", killed, async ({ page }, story) => {
  for (const client of ["192.0.2.1", "203.0.113.77", "2001:db8::9"]) {
    const { server } = story.explain(client);
    await page.getByLabel("Address of a client").fill(client);
    await page.getByRole("button", { name: "Find" }).click();
    await shows(page, "#ring .answer", `gets ${server}`);
  }
  await page.getByLabel("Address of a client").fill("nobody");
  await page.getByRole("button", { name: "Find" }).click();
  await shows(page, "#ring .answer", "nobody");
});

inChromium(
  "a moment that is picked is shown everywhere, and the page comes back to now",
  () => eventfulStory(NOW),
  async ({ page }, story) => {
    await page.getByRole("button", { name: "15 min" }).click();
    const down = story.events.find(({ text }) => text.includes("is down"))!;
    await page.locator("#events li").filter({ hasText: down.text }).getByRole("button").click();
    await shows(page, ".time", "As it was at");
    await shows(page, ".sentence", "5 of 6 servers up; 10.0.0.3:80 is down");
    const second = Math.floor(Date.parse(down.at) / 1000) + 1;
    await standsAt(page, second);
    const { servers, from } = story.series();
    const pool = await readPool(page);
    assertEquals(pool.size, 6);
    for (const { server, open } of servers) {
      const then = open![second - from];
      assertEquals(pool.get(server)?.[2], then === null ? undefined : formatCount(then), server);
    }
    await page.getByRole("slider").press("ArrowRight");
    await standsAt(page, second + 1);
    await page.getByRole("slider").press("Escape");
    await shows(page, ".time", "Live");
    assertEquals((await readPool(page)).size, 7);
  },
);

inChromium("a page that is opened late shows the past", () => eventfulStory(NOW), async ({ page }, story) => {
  for (const { text } of story.events.filter(({ at }) => Date.parse(at) > 1000 * (NOW - 890))) {
    await shows(page, "#events li", text);
  }
  await page.getByRole("button", { name: "15 min" }).click();
  const place = (await page.locator(".charts-place").boundingBox())!;
  await page.mouse.move(place.x + place.width * 0.3, place.y + 40);
  await shows(page, ".says", "connections open");
});

inChromium(
  "a daemon that is gone is told of, and what was missed is read when it is back",
  () => new Story({ start: NOW - 60 }),
  async ({ page, server }, story) => {
    server.pass(2);
    server.tellDaemon(false, "No balancer default is running");
    await shows(page, "[role=alert]", "No balancer default is running. What you see is how it was before");
    server.tellDaemon(true, null);
    await shows(page, ".time", "Live");
    server.lose();
    await shows(page, "[role=alert]", "The dashboard does not answer");
    await shows(page, ".time", "Not connected");
    story.pass(5);
    story.kill("10.0.0.2:80");
    story.pass(5);
    server.back();
    await shows(page, ".time", "Live");
    await shows(page, ".sentence", "10.0.0.2:80 is down since");
    const lost = story.servers().servers.find(({ server }) => server === "10.0.0.2:80")!;
    await shows(page, ".sentence", `${formatCount(lost.movedAway)} moved`);
  },
);

inChromium("markup in a reason and in an event is shown as text", () => {
  const story = new Story({ start: NOW - 60 });
  story.pass(40);
  story.kill("10.0.0.2:80", `<script>document.title="taken"</script><img src=x onerror="document.title='taken'">`);
  story.say("command", `Noted: <img src="http://192.0.2.1/x"><b>bold</b>`, { who: "<i>root</i>" });
  story.pass(20);
  return story;
}, async ({ page, requests }) => {
  await shows(page, ".reason", "<script>document.title");
  await shows(page, ".sentence", "<img src=x onerror=");
  await shows(page, "#events li", `<b>bold</b>`);
  assert(!(await page.title()).includes("taken"));
  assertEquals(await page.locator("#page img, #page b:not(.takers b), #page script").count(), 0);
  assert(requests.every((url) => !url.includes("192.0.2.1")));
});

inChromium("nothing leaves the page but to its own server", () => eventfulStory(NOW), async ({ page, server, requests }) => {
  await page.getByLabel("If I").selectOption("remove");
  await shows(page, ".figures div", "servers");
  await page.locator("#connections").scrollIntoViewIfNeeded();
  await page.locator("table.connections tbody tr").first().waitFor();
  server.pass(2);
  for (const url of requests) assert(url.startsWith(server.url) || url.startsWith("data:"), url);
  for (const path of server.asked) {
    assertMatch(path, /^\/$|^\/live$|^\/v1\/(status|servers|series|events|ring|plan|explain|connections)$/);
  }
});

inChromium("connections are listed by the filter", () => eventfulStory(NOW), async ({ page }, story) => {
  await page.locator("#connections").scrollIntoViewIfNeeded();
  await page.locator("#connections").getByLabel("server").selectOption("10.0.0.4:80");
  const { total, connections } = story.connections({ server: "10.0.0.4:80" });
  await shows(page, "#connections .count", new RegExp(`^${total} connections$`)); // not "100 of 2,440 connections", of all
  const first = await page.locator("table.connections tbody tr").first().locator("td").allInnerTexts();
  assertEquals([first[0], first[1], first[8]], [connections[0].client, "10.0.0.4:80", connections[0].id]);
  await page.locator("#connections").getByLabel("client").fill("203.0.113.1");
  await shows(page, "#connections .answer", "No connection fits");
});

inChromium("a thousand servers are a few rows in the document, and the last one can be reached", () => {
  const story = new Story({ start: NOW - 60, servers: 1000, open: 200_000 });
  story.pass(60);
  return story;
}, async ({ page, server }) => {
  await shows(page, "#pool .count", "1,000 servers");
  assert((await readPool(page)).size < 40);
  await page.locator("#pool .scroller").evaluate((scroller) => scroller.scrollTop = scroller.scrollHeight);
  await shows(page, "table.pool tbody th", "10.0.3.250:80");
  assert((await readPool(page)).size < 40);
  server.pass(2);
  await page.getByLabel("Filter servers by a part of their address").fill("10.0.2.77:");
  await shows(page, "#pool .count", "1 of 1,000 servers");
});

inChromium("the page is exported as a picture and as data", killed, async ({ page }, story) => {
  const save = async (name: string) => {
    const saved = page.waitForEvent("download");
    await page.getByText("Export", { exact: true }).click();
    await page.getByRole("button", { name }).click();
    const download = await soon(saved, "the download");
    return { name: download.suggestedFilename(), bytes: await Deno.readFile(await download.path()) };
  };
  const picture = await save("Picture (PNG)");
  assertMatch(picture.name, /^balancer-default-.*\.png$/);
  assertEquals([...picture.bytes.subarray(1, 4)].map((code) => String.fromCharCode(code)).join(""), "PNG");
  assert(picture.bytes.length > 50_000, "an empty picture is small");
  const { bytes } = await save("Data (JSON)");
  const data = JSON.parse(new TextDecoder().decode(bytes));
  assertEquals(data.servers, JSON.parse(JSON.stringify(story.servers().servers)));
  assertEquals(data.series.open.at(-1), story.status().connections.open);
  assertEquals(data.events.length, story.events.length);
});

inChromium("nothing moves for who wants no motion", killed, async ({ page, server }, story) => {
  story.kill("10.0.0.1:80");
  server.pass(1);
  await page.locator("table.pool tr[data-pulse]").first().waitFor();
  const moving = await page.evaluate<number>(
    `[...document.querySelectorAll("table.pool tr[data-pulse] > *, .bullet i")].map((element) => getComputedStyle(element))
      .filter(({ animationName, transitionDuration }) => animationName !== "none" || parseFloat(transitionDuration) > 0).length`,
  );
  assertEquals(moving, 0);
}, { reducedMotion: true });

/** What axe (Deque) finds in the page at this moment, as sentences. */
async function accessibilityFaults(page: Page): Promise<string[]> {
  const { default: axe } = await import("axe-core");
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate<AxeResults>("axe.run(document)");
  return violations.flatMap(({ id, impact, nodes }) =>
    nodes.map(({ target, failureSummary }) => `${impact} ${id}: ${target} ${failureSummary}`)
  );
}

const LOOKS: readonly Opening[] = [
  { theme: "light" },
  { theme: "dark", width: 400, height: 800 },
];

for (const look of LOOKS) {
  inChromium(`axe finds nothing, ${look.theme}, ${look.width ?? 1280} px wide`, killed, async ({ page, server }) => {
    await page.getByLabel("If I").selectOption("add");
    await page.getByLabel("address and port").fill("10.0.0.77:80");
    await shows(page, ".figures div", "servers");
    await page.getByLabel("Address of a client").fill("192.0.2.1");
    await page.getByRole("button", { name: "Find" }).click();
    await shows(page, "#ring .answer", "gets");
    await page.locator("#connections").scrollIntoViewIfNeeded();
    await page.locator("table.connections tbody tr").first().waitFor();
    await page.getByRole("slider").press("ArrowLeft");
    await shows(page, ".time", "As it was at");
    server.tellDaemon(false, "No balancer is running");
    await shows(page, "[role=alert]", "No balancer is running");
    assertEquals(await accessibilityFaults(page), []);
    const width = await page.evaluate<number>("document.documentElement.scrollWidth");
    assertEquals(width, look.width ?? 1280, "the page is wider than the window");
  }, look);
}
