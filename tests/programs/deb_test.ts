// The Debian package: lintian finds nothing, and dpkg installs, upgrades, removes and purges it in a root of its own.

import { assertEquals, assertStringIncludes } from "@std/assert";
import { makeDeb } from "../../tools/deb.ts";
import { type Outcome, outcomeOf } from "../programs.ts";
import { needing } from "../tools.ts";

/** What works on packages of 80 MB on a busy machine. */
const PACKAGE_MAX_MS = 120_000;

/** lintian reads the whole package several times: 50 s. */
const IS_LONG = Deno.env.get("BALANCER_TEST_LONG") !== undefined;
const CLEAN = "the package is clean under lintian";

let deb: Promise<string> | undefined;

/** The package, which is made once. */
const made = () => deb ??= makeDeb();

function run(program: string, ...args: string[]): Promise<Outcome> {
  return outcomeOf(new Deno.Command(program, { args, env: { LC_ALL: "C" }, stdin: "null" }), PACKAGE_MAX_MS);
}

async function succeed(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(program, ...args);
  assertEquals(code, 0, `${program} ${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

/** A small root: a shell, what the package's scripts call, and an empty database of packages. Gives dpkg in it. */
async function makeRoot(folder: string) {
  for (const path of ["bin", "dev", "tmp", "var/lib/dpkg/info", "var/lib/dpkg/updates"]) {
    await Deno.mkdir(`${folder}/${path}`, { recursive: true });
  }
  for (const file of ["status", "available"]) await Deno.writeTextFile(`${folder}/var/lib/dpkg/${file}`, "");
  await succeed("sh", "-c", COPY_SHELL, folder);
  const dpkg = (...args: string[]) => succeed("dpkg", `--root=${folder}`, "--force-depends", ...args);
  const exists = (path: string) => Deno.lstat(`${folder}/${path}`).then(() => true, () => false);
  return { dpkg, exists };
}

/** Copies sh and rm into the root $0, with the libraries that they need. */
const COPY_SHELL = `
for program in sh rm; do
  path=$(command -v $program)
  cp -L "$path" "$0/bin/$program"
  for library in $(ldd "$path" | grep -o '/[^ ]*'); do
    mkdir -p "$0\${library%/*}" && cp -L "$library" "$0$library"
  done
done`;

/** The package as that of a later version. */
async function makeLater(deb: string, folder: string): Promise<string> {
  const [tree, later] = [`${folder}/tree`, `${folder}/later.deb`];
  await succeed("dpkg-deb", "-R", deb, tree);
  const control = await Deno.readTextFile(`${tree}/DEBIAN/control`);
  await Deno.writeTextFile(`${tree}/DEBIAN/control`, control.replace(/^Version: .*$/m, "Version: 9.9.9-1"));
  await Deno.writeTextFile(`${tree}/usr/bin/balancer`, "#!/bin/sh\necho balancer 9.9.9\n");
  await succeed("dpkg-deb", "-Znone", "--build", tree, later);
  return later;
}

Deno.test({
  ...IS_LONG
    ? await needing(CLEAN, "dpkg-deb", "lintian")
    : { name: `${CLEAN} (ignored: it needs BALANCER_TEST_LONG=1)`, ignore: true },
  async fn() {
    const { code, stdout, stderr } = await run("lintian", "--no-cfg", "--allow-root", "--fail-on", "warning", await made());
    assertEquals({ code, stdout, stderr }, { code: 0, stdout: "", stderr: "" });
  },
});

Deno.test({
  ...await needing("dpkg installs, upgrades, removes and purges the package", "dpkg-deb", "root", "Linux"),
  async fn() {
    const folder = await Deno.makeTempDir({ prefix: "balancer_test_" });
    try {
      const { dpkg, exists } = await makeRoot(`${folder}/root`);
      const deb = await made();
      await dpkg("--install", deb);
      const installed = [
        "usr/bin/balancer",
        "usr/bin/balancerctl",
        "usr/lib/systemd/system/balancer@.service",
        "usr/share/man/man1/balancer.1.gz",
      ];
      for (const path of installed) assertEquals(await exists(path), true, path);
      assertStringIncludes(await dpkg("--status", "balancer"), "Status: install ok installed");
      const state = `${folder}/root/var/lib/private/balancer`;
      await Deno.mkdir(state, { recursive: true });
      await Deno.writeTextFile(`${state}/default.json`, "{}");
      await Deno.symlink("private/balancer", `${folder}/root/var/lib/balancer`);
      await dpkg("--install", await makeLater(deb, folder));
      assertStringIncludes(await dpkg("--status", "balancer"), "Version: 9.9.9-1");
      assertEquals(await Deno.readTextFile(`${folder}/root/usr/bin/balancer`), "#!/bin/sh\necho balancer 9.9.9\n");
      await dpkg("--remove", "balancer");
      assertEquals([await exists("usr/bin/balancer"), await exists("var/lib/balancer/default.json")], [false, true]);
      await dpkg("--purge", "balancer");
      for (const path of ["var/lib/balancer", "var/lib/private/balancer", ...installed]) {
        assertEquals(await exists(path), false, path);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});
