// Completion as a person meets it: real shells, a real balancer.

import { assert, assertEquals, assertMatch } from "@std/assert";
import { soon } from "../helpers.ts";
import { COMPLETION_SCRIPTS, type Shell, SHELLS } from "../../lib/control/completion_scripts.ts";
import { DIST, makePlace, outcomeOf, type Place } from "../programs.ts";
import { needing } from "../tools.ts";

/** A shell that completes asks a program for it; with some dozen of them at once on a busy machine. */
const SHELL_MAX_MS = 60_000;

/** Shells that show their lines on a terminal: how they are started, and made ready. */
const ON_TERMINAL: Readonly<Record<"bash" | "zsh", { readonly start: string; readonly setUp: string }>> = {
  bash: {
    start: "bash --noprofile --norc -i",
    setUp: "bind 'set enable-bracketed-paste off'; source <(balancerctl completion bash)",
  },
  zsh: {
    start: "zsh -f -i",
    setUp: "unset zle_bracketed_paste; bindkey -e; autoload -Uz compinit; compinit -u -D; source <(balancerctl completion zsh)",
  },
};

/** What is typed (`\t` is the key), and the words that the line then has. */
const LINES: readonly (readonly [typed: string, words: readonly string[]])[] = [
  ["balancerctl service unl\t", ["balancerctl", "service", "unlisten"]],
  ["balancerctl add 10.0.0.3 80 --wei\t2", ["balancerctl", "add", "10.0.0.3", "80", "--weight", "2"]],
  ["balancerctl start --log-level=deb\t", ["balancerctl", "start", "--log-level=debug"]],
  ["balancerctl start --check https\t", ["balancerctl", "start", "--check", "https:/"]],
  ["balancerctl recent --server=10.0.0.1:\t", ["balancerctl", "recent", "--server=10.0.0.1:8001"]],
  ["balancerctl remove :\t80\t", ["balancerctl", "remove", "::1", "8003"]],
  ["balancerctl validate pool\t", ["balancerctl", "validate", "pool.yaml"]],
  ["balancerctl start --allow @poo\t", ["balancerctl", "start", "--allow", "@pool.yaml"]],
  ["balancer run --log-file=poo\t", ["balancer", "run", "--log-file=pool.yaml"]],
  ["balancerctl add \tnothing", ["balancerctl", "add", "nothing"]],
];

async function makeServing(): Promise<Place> {
  const place = await makePlace();
  await place.start();
  await place.do("add", "10.0.0.1", "8001");
  await place.do("add", "::1", "8003");
  await Deno.writeTextFile(`${place.folder}/pool.yaml`, "");
  return place;
}

function worldOf({ env }: Place): Record<string, string> {
  return { ...env, PATH: `${DIST}:${Deno.env.get("PATH")}`, TERM: "dumb" };
}

/** A shell on a terminal of its own. */
class Terminal implements AsyncDisposable {
  #shown = "";
  readonly #process: Deno.ChildProcess;
  readonly #keys: WritableStreamDefaultWriter<Uint8Array>;
  readonly #screen: ReadableStreamDefaultReader<string>;

  constructor(start: string, place: Place) {
    const options = { env: worldOf(place), cwd: place.folder, stdin: "piped", stdout: "piped", stderr: "null" } as const;
    this.#process = new Deno.Command("script", { args: ["-qec", start, "/dev/null"], ...options }).spawn();
    this.#keys = this.#process.stdin.getWriter();
    this.#screen = this.#process.stdout.pipeThrough(new TextDecoderStream()).getReader();
  }

  /** Types, and resolves with what the screen shows from then on, when it matches. */
  async type(keys: string, awaited: RegExp): Promise<RegExpMatchArray> {
    this.#shown = "";
    await this.#keys.write(new TextEncoder().encode(keys));
    const look = async () => {
      for (;;) {
        const match = this.#shown.match(awaited);
        if (match !== null) return match;
        const { value, done } = await this.#screen.read();
        assert(!done, `the shell has ended: ${this.#shown}`);
        this.#shown += value;
      }
    };
    return await soon(look(), `${awaited} after ${JSON.stringify(keys)}`, SHELL_MAX_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL"); // the shell ends with its terminal
    await this.#keys.abort().catch(() => {});
    await this.#screen.cancel();
    await this.#process.status;
  }
}

for (const [shell, { start, setUp }] of Object.entries(ON_TERMINAL) as ["bash" | "zsh", { start: string; setUp: string }][]) {
  Deno.test({
    ...await needing(`[${shell}] words are completed on a terminal`, shell, "script"),
    async fn() {
      await using place = await makeServing();
      await using terminal = new Terminal(start, place);
      await terminal.type(`PS1='rea''dy> '; ${setUp}\n`, /ready> /);
      for (const [typed, words] of LINES) {
        // Ctrl-A goes to the beginning of the line: what was completed becomes the arguments of a command that shows them.
        const [shown] = await terminal.type(`${typed}\x01printf '<%s>' \n`, /(?<=\n)<[^\n]*>(?=[^\n]*ready> )/);
        assertEquals(shown.slice(1, -1).split("><"), words, `${JSON.stringify(typed)} in ${shell}`);
      }
      if (shell === "bash") await terminal.type("balancerctl sta\t\t", /start +status/);
    },
  });
}

Deno.test({
  ...await needing("[fish] words are completed", "fish"),
  async fn() {
    await using place = await makeServing();
    const env = { ...worldOf(place), HOME: place.folder, XDG_CONFIG_HOME: place.folder, XDG_DATA_HOME: place.folder };
    const lines = LINES.filter(([typed]) => typed.endsWith("\t") && typed.indexOf("\t") === typed.length - 1); // one key
    const asked = [...lines.map(([typed]) => typed.slice(0, -1)), "balancerctl sta", "balancerctl remove 10.0.0.1 "];
    const script = "balancerctl completion fish | source; for line in $argv; complete -C $line; echo; end";
    const fish = new Deno.Command("fish", { args: ["-c", script, ...asked], env, cwd: place.folder, stdin: "null" });
    const { stdout } = await outcomeOf(fish, SHELL_MAX_MS);
    const answers = stdout.split("\n\n").map((answer) => answer.split("\n"));
    for (const [i, [typed, words]] of lines.entries()) {
      assertEquals(answers[i].map((offer) => offer.split("\t")[0]), words.slice(-1), typed);
    }
    const commands = ["start\tStart a balancer in the background", "status\tShow the balancer's state and settings"];
    assertEquals(answers[lines.length], commands);
    assertMatch(answers[lines.length + 1][0], /^8001\t(up|resting|down)$/);
  },
});

Deno.test("completion prints the script of each shell, and is refused for another one", async () => {
  await using place = await makePlace();
  for (const shell of SHELLS) assertEquals(await place.do("completion", shell), COMPLETION_SCRIPTS[shell as Shell]);
  const { code, stderr } = await place.ctl("completion", "csh");
  assertEquals(code, 2);
  assertMatch(stderr, /Unknown shell "csh"/);
});

Deno.test("without a balancer, completion is silent and offers what it knows", async () => {
  await using place = await makePlace();
  const complete = (...line: string[]) => place.ctl("complete", "--", "/usr/bin/balancerctl", ...line);
  assertEquals(await complete("remove", ""), { code: 0, stdout: "words\n", stderr: "" });
  assertEquals(await complete("remove", "--name", "bad name", "10.0.0.1", ""), { code: 0, stdout: "words\n", stderr: "" });
  assertEquals((await complete("completion", "")).stdout, "words\nbash\nzsh\nfish\n");
  assertEquals((await complete("stop", "--name", "")).stdout, "words\n");
  await place.start("--name", "edge");
  await place.do("stop", "--name", "edge");
  await place.start("--no-state", "--name", "lab");
  assertEquals((await complete("stop", "--name", "")).stdout, "words\nedge stopped\nlab running\n");
  assertEquals((await place.ctl("complete", "--", "another", "")).stdout, "words\n");
});
