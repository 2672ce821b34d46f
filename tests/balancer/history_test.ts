// The last generations can be listed and restored; a fault of the history stops nothing, and no kill makes it claim what never was.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import fc from "fast-check";
import { type Generation, GENERATIONS_MAX, History, historyPath } from "../../lib/balancer/history.ts";
import { loadState, saveState } from "../../lib/balancer/state_file.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { EMPTY_STATE, type SavedState } from "../../lib/values/saved_state.ts";
import { sha256, soon } from "../helpers.ts";
import { stateOf } from "./state_keeper.ts";

const AT = new Date("2026-11-28T12:00:00Z");

interface TestFolder extends AsyncDisposable {
  readonly path: string;
  readonly state: string;
  readonly history: string;
  /** Sentences of warnings. */
  readonly warnings: string[];
  open(generation: number): Promise<History>;
  /** The names in the folder of the history; empty if there is none. */
  names(): Promise<string[]>;
}

/** A folder that is gone afterwards, with the paths of a state and its history. */
async function makeFolder(): Promise<TestFolder> {
  const path = await Deno.makeTempDir({ prefix: "balancer_history_" });
  const history = historyPath(`${path}/a.json`);
  const warnings: string[] = [];
  return {
    path,
    state: `${path}/a.json`,
    history,
    warnings,
    open: (generation) => History.open(history, generation, (sentence) => void warnings.push(sentence)),
    names: async () => (await namesIn(history)).sort((a, b) => parseInt(a) - parseInt(b)),
    [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }),
  };
}

async function namesIn(folder: string): Promise<string[]> {
  return (await Array.fromAsync(Deno.readDir(folder)).catch(() => [])).map(({ name }) => name);
}

const entryOf = (generation: number) => ({ at: AT, who: "a person", what: `change ${generation}`, state: stateOf(generation) });
const listed = ({ state: { generation }, ...entry }: ReturnType<typeof entryOf>): Generation => ({ generation, ...entry });

async function recordAll(history: History, from: number, to: number): Promise<void> {
  for (let generation = from; generation <= to; generation++) await history.record(entryOf(generation));
}

/** The numbers that are listed. */
const numbersOf = async (history: History) => (await history.list()).map(({ generation }) => generation);

const range = (from: number, to: number) => Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);

/** An entry as a file, with a right checksum. */
async function sealed(entry: unknown, version = 1): Promise<string> {
  const hash = await sha256(new TextEncoder().encode(JSON.stringify(entry)));
  return JSON.stringify({ format: "balancer-history", version, sha256: hash, entry });
}

Deno.test("record() keeps what list() and load() give, over a restart too", async () => {
  await using folder = await makeFolder();
  const history = await folder.open(0);
  await history.record({ ...entryOf(1), moved: 12 });
  await history.record(entryOf(2));
  for (const one of [history, await folder.open(2)]) {
    assertEquals(await one.list(), [listed(entryOf(2)), { ...listed(entryOf(1)), moved: 12 }]);
    assertEquals([await one.load(1), await one.load(2), one.last], [stateOf(1), stateOf(2), 2]);
  }
  assertEquals([await folder.names(), folder.warnings], [["1.json", "2.json"], []]);
});

Deno.test({
  name: "record() makes a folder and files that only their owner may use",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using folder = await makeFolder();
    await (await folder.open(0)).record(entryOf(1));
    assertEquals((await Deno.stat(folder.history)).mode! & 0o777, 0o700);
    assertEquals((await Deno.stat(`${folder.history}/1.json`)).mode! & 0o777, 0o600);
  },
});

Deno.test(`record() drops all but the last ${GENERATIONS_MAX} generations, however they are numbered`, async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 15, maxLength: 30 }),
      fc.nat(25),
      async (steps, restart) => {
        await using folder = await makeFolder();
        let history = await folder.open(0);
        const all: number[] = [];
        for (const [index, step] of steps.entries()) {
          if (index === restart) history = await folder.open(all.at(-1) ?? 0);
          all.push((all.at(-1) ?? 0) + step);
          await history.record(entryOf(all.at(-1)!));
        }
        const kept = all.slice(-GENERATIONS_MAX);
        assertEquals([await numbersOf(history), await folder.names()], [kept.toReversed(), kept.map((one) => `${one}.json`)]);
        assertEquals(folder.warnings, []);
      },
    ),
    { numRuns: 5 },
  );
});

Deno.test("record() that is not waited for is seen by list() and load(), in order", async () => {
  await using folder = await makeFolder();
  const history = await folder.open(0);
  for (const generation of range(1, 5)) void history.record(entryOf(generation));
  assertEquals(await history.load(5), stateOf(5));
  assertEquals(await numbersOf(history), [5, 4, 3, 2, 1]);
});

Deno.test("load() of a generation that is not there is a sentence", async () => {
  await using folder = await makeFolder();
  const history = await folder.open(0);
  await recordAll(history, 1, 2);
  const sentence = "Cannot restore generation 7: it is not in the history; balancerctl history lists those that there are";
  const error = await assertRejects(() => history.load(7), OperatorError, sentence);
  assertEquals(error.kind, "unknown");
});

Deno.test("open() of a missing folder is an empty history, and makes nothing", async () => {
  await using folder = await makeFolder();
  const history = await folder.open(7);
  assertEquals([await history.list(), history.last, await namesIn(folder.path), folder.warnings], [[], 0, [], []]);
});

Deno.test("open() moves generations above the state's to a folder beside, and says so", async () => {
  await using folder = await makeFolder();
  await recordAll(await folder.open(0), 1, 6);
  const history = await folder.open(4);
  assertEquals([await numbersOf(history), history.last], [[4, 3, 2, 1], 4]);
  assertEquals(folder.warnings.length, 1);
  assertMatch(
    folder.warnings[0],
    /^The state file has generation 4, and the history has later ones, up to 6: they are of another past/,
  );
  const [aside] = (await namesIn(folder.path)).filter((name) => name.includes(".aside-"));
  assertEquals((await namesIn(`${folder.path}/${aside}`)).sort(), ["5.json", "6.json"]);
});

Deno.test("open() removes what a killed balancer did not finish, and leaves other files alone", async () => {
  await using folder = await makeFolder();
  await recordAll(await folder.open(0), 1, 2);
  for (const name of ["3.json.new", "0.json", "07.json", "notes.txt", "1.json.bak"]) {
    await Deno.writeTextFile(`${folder.history}/${name}`, "x");
  }
  const history = await folder.open(2);
  assertEquals(await numbersOf(history), [2, 1]);
  assertEquals((await namesIn(folder.history)).sort(), ["0.json", "07.json", "1.json", "1.json.bak", "2.json", "notes.txt"]);
  assertEquals(folder.warnings, []);
});

const { at: _, ...untimed } = entryOf(2);
const SAVED = { ...entryOf(2), at: AT.toISOString() };

/** What may be in the place of 2.json. */
const BROKEN: readonly [what: string, text: string | undefined, why: string][] = [
  ["missing", undefined, "it does not exist"],
  ["empty", "", "it is empty"],
  ["torn", (await sealed(SAVED)).slice(0, 500), "it is incomplete or not JSON"],
  ["of another program", "{}", "another program wrote it"],
  ["changed", (await sealed(SAVED)).replace("10.2.0.7:80", "10.2.0.8:80"), "its checksum is wrong"],
  ["of a later version", await sealed(SAVED, 2), "it has version 2, and this program reads version 1"],
  ["with an unknown field", await sealed({ ...SAVED, mood: "good" }), 'it has the field "mood", which this program does not know'],
  ["without a time", await sealed(untimed), "it does not say when, by whom and how the generation was made"],
  ["without a state", await sealed({ ...SAVED, state: 7 }), "it has no state"],
  ["of another generation", await sealed({ ...SAVED, state: stateOf(3) }), "it has generation 3"],
];

for (const [what, text, why] of BROKEN) {
  Deno.test(`a history file that is ${what} is skipped with one warning, and left where it is`, async () => {
    await using folder = await makeFolder();
    await recordAll(await folder.open(0), 1, 3);
    const path = `${folder.history}/2.json`;
    const history = await folder.open(3);
    if (text === undefined) await Deno.remove(path);
    else await Deno.writeTextFile(path, text);
    for (let i = 0; i < 2; i++) assertEquals(await numbersOf(history), [3, 1]);
    const sentence = `The history file ${JSON.stringify(path)} cannot be used: ${why}; generation 2 cannot be restored`;
    assertEquals(folder.warnings, [sentence]);
    const cannot = `Cannot restore generation 2: its file cannot be used: ${why}; balancerctl history lists those that there are`;
    const error = await assertRejects(() => history.load(2), OperatorError, cannot);
    assertEquals(error.kind, "failed");
    assertEquals(await Deno.readTextFile(path).catch(() => undefined), text);
    await recordAll(history, 4, 5);
    assertEquals([await numbersOf(history), await history.load(5)], [[5, 4, 3, 1], stateOf(5)]);
  });
}

Deno.test("load() of a state that this version does not understand is a sentence that names what it is", async () => {
  await using folder = await makeFolder();
  await recordAll(await folder.open(0), 1, 3);
  const [service] = stateOf(2).services;
  const state = { ...stateOf(2), services: [{ ...service, settings: { warp: "9" } }] };
  await Deno.writeTextFile(`${folder.history}/2.json`, await sealed({ ...SAVED, state }));
  const why = 'service number 1 (default) has the setting "warp", which this program does not know';
  await assertRejects(async () => (await folder.open(3)).load(2), OperatorError, why);
});

Deno.test("a history that cannot be written is told of once, until it can be again, and stops nothing", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.history, "in the way");
  const history = await folder.open(1);
  await recordAll(history, 1, 3);
  assertEquals(folder.warnings.length, 2);
  assertMatch(folder.warnings[0], /^Cannot read the history in "[^"]+": it is a file and must be a folder; earlier generations/);
  assertMatch(folder.warnings[1], /^Cannot keep the history in "[^"]+": [^;]+; new changes cannot be undone$/);
  assertEquals(await history.list(), []);
  await Deno.remove(folder.history);
  await recordAll(history, 4, 4);
  assertEquals([await numbersOf(history), folder.warnings.length], [[4], 2]);
  await Deno.remove(folder.history, { recursive: true });
  await Deno.writeTextFile(folder.history, "in the way again");
  await recordAll(history, 5, 5);
  assertEquals(folder.warnings.length, 3);
});

Deno.test("begin() records the state that there is no entry of, once", async () => {
  await using folder = await makeFolder();
  for (let start = 0; start < 3; start++) {
    const history = await folder.open(7);
    assertEquals(await history.begin(stateOf(7), AT), stateOf(7));
    assertEquals(await history.list(), [{ generation: 7, at: AT, who: "balancer", what: "found at the start" }]);
  }
});

Deno.test("begin() replaces an entry whose state was another", async () => {
  await using folder = await makeFolder();
  await recordAll(await folder.open(0), 6, 7);
  const restored = { ...stateOf(3), generation: 7 };
  const history = await folder.open(7);
  assertEquals([await history.begin(restored, AT), await history.load(7)], [restored, restored]);
  assertEquals(await numbersOf(history), [7, 6]);
});

for (const [what, state] of [["an old file", { ...stateOf(3), generation: 0 }], ["no file", EMPTY_STATE]] as const) {
  Deno.test(`begin() with the state of ${what} goes on after the history, which stays`, async () => {
    await using folder = await makeFolder();
    await recordAll(await folder.open(0), 6, 7);
    for (let start = 0; start < 3; start++) { // nothing was saved between
      const history = await folder.open(0);
      assertEquals(await history.begin(state, AT), { ...state, generation: 8 });
      assertEquals(await numbersOf(history), [8, 7, 6]);
    }
    assertEquals(folder.warnings, []);
  });
}

Deno.test("begin() of a history that cannot be written gives the state a generation all the same", async () => {
  await using folder = await makeFolder();
  await Deno.writeTextFile(folder.history, "in the way");
  assertEquals((await (await folder.open(0)).begin(EMPTY_STATE, AT)).generation, 1);
});

/** Times that the program is killed, and how long after a change at most. */
const KILLS = 8;
const KILL_AFTER_MAX_MS = 30;

/** Starts the program that changes the state, and kills it in the midst of a change. */
async function changeUntilKilled(path: string): Promise<void> {
  const script = new URL("./state_keeper.ts", import.meta.url).pathname;
  const args = ["run", "-q", "--no-check", "--no-prompt", "-P=test", script, path];
  const child = new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "piped", stderr: "inherit" }).spawn();
  const reader = child.stdout.getReader();
  try {
    assertEquals((await soon(reader.read(), "the first change")).done, false);
    await new Promise((resolve) => setTimeout(resolve, Math.random() * KILL_AFTER_MAX_MS));
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
  }
}

Deno.test("a kill at any moment leaves a state that is all old or all new, and a history of what it was", async () => {
  await using folder = await makeFolder();
  let before = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    await changeUntilKilled(folder.state);
    const { state, warning }: { state: SavedState; warning?: string } = await loadState(folder.state);
    assertEquals([state, warning], [stateOf(state.generation), undefined]);
    assert(state.generation > before);
    const history = await folder.open(state.generation);
    const numbers = await numbersOf(history);
    // An entry is written after its state, so the last one may be missing until the next start, and no other; and the oldest is
    // dropped after that, so there may be one more.
    const last = numbers[0] === state.generation ? state.generation : state.generation - 1;
    assertEquals(numbers.slice(0, GENERATIONS_MAX), range(Math.max(1, last - GENERATIONS_MAX + 1), last).toReversed());
    for (const generation of numbers) assertEquals(await history.load(generation), stateOf(generation));
    assertEquals(folder.warnings, []);
    before = state.generation;
  }
});

Deno.test("the history of a state that was saved and recorded goes on after the restart", async () => {
  await using folder = await makeFolder();
  const first = await folder.open(0);
  const begun = await first.begin(EMPTY_STATE, AT);
  await saveState(folder.state, stateOf(2));
  await first.record(entryOf(2));
  const { state } = await loadState(folder.state);
  const second = await folder.open(state.generation);
  assertEquals(await second.begin(state, AT), stateOf(2));
  assertEquals([await numbersOf(second), await second.load(1)], [[2, 1], begun]);
});

Deno.test("an entry is in its place only once the state is saved, and never if that fails", async () => {
  await using folder = await makeFolder();
  const history = await folder.open(0);
  const saving = Promise.withResolvers<void>();
  const recorded = history.record(entryOf(1), saving.promise);
  const isThere = async () => (await folder.names()).includes("1.json.new");
  for (const endMs = Date.now() + 10_000; !await isThere() && Date.now() < endMs;) await Deno.stat(folder.path);
  assertEquals(await folder.names(), ["1.json.new"], "it waits for the state");
  saving.resolve();
  await recorded;
  assertEquals(await folder.names(), ["1.json"]);
  await history.record(entryOf(2), Promise.reject(new Error("the disk is full")));
  assertEquals([await numbersOf(history), folder.warnings], [[1], []]);
  await history.record(entryOf(2));
  assertEquals([await numbersOf(history), await folder.names()], [[2, 1], ["1.json", "2.json"]]);
});
