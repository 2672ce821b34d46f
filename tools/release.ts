/**
 * Makes in `dist/release` what `install.sh --release` takes: for each target a tarball with both programs, the licence, the manual
 * pages, the completion of shells and the units of systemd, and SHA256SUMS. For every target where `deno compile` can be used, else
 * for this machine's; with `--all-targets` it fails rather than that.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import deno from "../deno.json" with { type: "json" };
import { parseArgs } from "@std/cli";
import type { ProgramName } from "../lib/values/packaging.ts";
import { compileByDeno, DIST, makePrograms } from "./compile.ts";
import { FILES, INSTALLED } from "./contrib/contrib.ts";

const ROOT = `${import.meta.dirname}/../`;
const OUTPUT = `${DIST}/release`;

/** Targets of `deno compile` on which the programs run. */
const TARGETS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin", "aarch64-apple-darwin"];
const UNITS = ["balancer@.service", "balancer@.socket"];
const PROGRAMS: readonly ProgramName[] = ["balancer", "balancerctl"];

/** Packs the programs in a folder; gives the tarball's name. */
async function pack(folder: string, target: string): Promise<string> {
  const name = `balancer-${deno.version}-${target}.tar.gz`;
  await Deno.copyFile(`${ROOT}LICENSE`, `${folder}/LICENSE`);
  for (const path of Object.keys(FILES).filter((path) => path.startsWith(`${INSTALLED}/`))) {
    const to = `${folder}/share/${path.slice(INSTALLED.length + 1)}`;
    await Deno.mkdir(to.replace(/[^/]*$/, ""), { recursive: true });
    await Deno.copyFile(ROOT + path, to);
  }
  await Deno.mkdir(`${folder}/systemd`);
  for (const unit of UNITS) await Deno.copyFile(`${ROOT}contrib/systemd/${unit}`, `${folder}/systemd/${unit}`);
  const args = ["-czf", `${OUTPUT}/${name}`, "-C", folder, ...PROGRAMS, "LICENSE", "share", "systemd"];
  const { success, stderr } = await new Deno.Command("tar", { args }).output();
  if (!success) throw new Error(`tar failed: ${new TextDecoder().decode(stderr)}`);
  return name;
}

async function compileFor(target: string, folder: string): Promise<boolean> {
  for (const program of PROGRAMS) if (!await compileByDeno(program, `${folder}/${program}`, target)) return false;
  return true;
}

async function main(): Promise<void> {
  await Deno.remove(OUTPUT, { recursive: true }).catch(() => {});
  await Deno.mkdir(OUTPUT, { recursive: true });
  const selfExtracting = await makePrograms();
  if (selfExtracting && parseArgs(Deno.args, { boolean: ["all-targets"] })["all-targets"] === true) {
    throw new Error("Deno's runtime base cannot be had, so there would be programs for this machine's target alone");
  }
  const tarballs: string[] = [];
  for (const target of selfExtracting ? [Deno.build.target] : TARGETS) {
    const folder = await Deno.makeTempDir({ prefix: "balancer_release_" });
    try {
      if (selfExtracting) { for (const program of PROGRAMS) await Deno.copyFile(`${DIST}/${program}`, `${folder}/${program}`); }
      else if (!await compileFor(target, folder)) throw new Error(`The runtime base for ${target} cannot be had`);
      tarballs.push(await pack(folder, target));
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  }
  const sums = await Promise.all(tarballs.map(async (name) => `${await sha256(`${OUTPUT}/${name}`)}  ${name}\n`));
  await Deno.writeTextFile(`${OUTPUT}/SHA256SUMS`, sums.join(""));
  console.error(`Made ${tarballs.join(", ")} and SHA256SUMS in dist/release`);
}

async function sha256(path: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))).toHex();
}

if (import.meta.main) await main();
