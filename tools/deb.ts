/**
 * Makes a Debian package of the programs, for this machine's architecture, in `dist/deb`: with the units of systemd, the user that
 * they run as, the manual pages and the completion of shells. Its fixed parts are in `contrib/debian`. Needs dpkg-deb and gzip.
 */

// deno-lint-ignore-file no-console -- a tool speaks to its user

import deno from "../deno.json" with { type: "json" };
import { DIST, makePrograms } from "./compile.ts";
import { FILES, INSTALLED } from "./contrib/contrib.ts";

const ROOT = `${import.meta.dirname}/../`;
const OUTPUT = `${DIST}/deb`;

/** What Debian calls the architectures. */
const ARCHITECTURES: Readonly<Record<string, string>> = { x86_64: "amd64", aarch64: "arm64" };

/** The first revision of the package of a version. */
const REVISION = "1";

/** Where Debian has what `install.sh` puts elsewhere in share. */
const MOVED: readonly (readonly [from: RegExp, to: string])[] = [[/^zsh\/site-functions\//, "zsh/vendor-completions/"]];

/** Each file of the package by its path, whether it is a program, and where it comes from. */
interface Packed {
  readonly to: string;
  readonly from: string;
  readonly mode: number;
  /** Whether Debian wants it compressed. */
  readonly isZipped?: boolean;
}

function filesOf(parts: string): Packed[] {
  const shared = Object.keys(FILES).filter((path) => path.startsWith(`${INSTALLED}/`)).map((path) => {
    const plain = path.slice(INSTALLED.length + 1);
    const to = MOVED.reduce((path, [from, to]) => path.replace(from, to), plain);
    return { to: `usr/share/${to}`, from: ROOT + path, mode: 0o644, isZipped: to.startsWith("man/") };
  });
  const documents = "usr/share/doc/balancer";
  return [
    ...["balancer", "balancerctl"].map((name) => ({ to: `usr/bin/${name}`, from: `${DIST}/${name}`, mode: 0o755 })),
    ...["balancer@.service", "balancer@.socket"].map((unit) => ({
      to: `usr/lib/systemd/system/${unit}`,
      from: `${ROOT}contrib/systemd/${unit}`,
      mode: 0o644,
    })),
    { to: "usr/lib/sysusers.d/balancer.conf", from: `${ROOT}contrib/debian/balancer.sysusers`, mode: 0o644 },
    { to: `${documents}/copyright`, from: `${parts}/copyright`, mode: 0o644 },
    { to: `${documents}/changelog.gz`, from: `${ROOT}CHANGELOG.md`, mode: 0o644, isZipped: true },
    { to: `${documents}/changelog.Debian.gz`, from: `${parts}/changelog`, mode: 0o644, isZipped: true },
    { to: "usr/share/lintian/overrides/balancer", from: `${ROOT}contrib/debian/lintian-overrides`, mode: 0o644 },
    ...shared,
  ];
}

/** Makes the package. Returns its path. */
export async function makeDeb(): Promise<string> {
  await makePrograms();
  const architecture = ARCHITECTURES[Deno.build.arch];
  const version = `${deno.version}-${REVISION}`;
  const work = await Deno.makeTempDir({ prefix: "balancer_deb_" });
  try {
    const [tree, parts] = [`${work}/tree`, `${work}/parts`];
    await Deno.mkdir(parts);
    await Deno.writeTextFile(`${parts}/copyright`, await copyright());
    await Deno.writeTextFile(`${parts}/changelog`, await changelog(version));
    const sums: string[] = [];
    let kibibytes = 0;
    for (const file of filesOf(parts)) {
      const { path, size } = await place(file, tree);
      sums.push(`${await run("md5sum", [path], tree)}`);
      kibibytes += Math.ceil(size / 1024);
    }
    await writeControl(tree, { VERSION: version, ARCHITECTURE: architecture, SIZE: String(kibibytes) });
    await Deno.writeTextFile(`${tree}/DEBIAN/md5sums`, sums.join(""));
    await Deno.mkdir(OUTPUT, { recursive: true });
    const output = `${OUTPUT}/balancer_${version}_${architecture}.deb`;
    await run("dpkg-deb", ["--root-owner-group", "-Zgzip", "-z1", "--build", tree, output], ".");
    return output;
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function place({ to, from, mode, isZipped }: Packed, tree: string): Promise<{ path: string; size: number }> {
  const path = isZipped && !to.endsWith(".gz") ? `${to}.gz` : to;
  const whole = `${tree}/${path}`;
  await Deno.mkdir(whole.replace(/[^/]*$/, ""), { recursive: true, mode: 0o755 });
  if (isZipped) {
    await Deno.copyFile(from, whole.slice(0, -".gz".length));
    await run("gzip", ["-9n", whole.slice(0, -".gz".length)], ".");
  } else await Deno.copyFile(from, whole);
  await Deno.chmod(whole, mode);
  return { path, size: (await Deno.stat(whole)).size };
}

async function writeControl(tree: string, values: Readonly<Record<string, string>>): Promise<void> {
  await Deno.mkdir(`${tree}/DEBIAN`, { mode: 0o755 });
  const control = await Deno.readTextFile(`${ROOT}contrib/debian/control`);
  await Deno.writeTextFile(`${tree}/DEBIAN/control`, control.replaceAll(/@([A-Z]+)@/g, (_, name: string) => values[name]));
  for (const script of ["postinst", "prerm", "postrm"]) {
    await Deno.copyFile(`${ROOT}contrib/debian/${script}`, `${tree}/DEBIAN/${script}`);
    await Deno.chmod(`${tree}/DEBIAN/${script}`, 0o755);
  }
}

/** The licence as Debian's copyright file, in the machine-readable format. */
async function copyright(): Promise<string> {
  const [, holders, ...licence] = (await Deno.readTextFile(`${ROOT}LICENSE`)).trim().split(/\n\n/);
  const indented = licence.join("\n\n").split("\n").map((line) => line === "" ? " ." : ` ${line}`).join("\n");
  const format = "https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/";
  const whose = holders.replace(/^Copyright \(c\) /, "");
  return `Format: ${format}\nUpstream-Name: balancer\n\nFiles: *\nCopyright: ${whose}\nLicense: Expat\n${indented}\n`;
}

/** Of the package itself there is nothing to tell; the time is that of the changelog. */
async function changelog(version: string): Promise<string> {
  const { mtime } = await Deno.stat(`${ROOT}CHANGELOG.md`);
  const maintainer = (await Deno.readTextFile(`${ROOT}contrib/debian/control`)).match(/^Maintainer: (.*)$/m)![1];
  const date = (mtime ?? new Date()).toUTCString().replace("GMT", "+0000");
  const text = "  * What has changed is in changelog.gz: this package is made with each version.";
  return `balancer (${version}) unstable; urgency=medium\n\n${text}\n\n -- ${maintainer}  ${date}\n`;
}

async function run(program: string, args: readonly string[], cwd: string): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(program, { args: [...args], cwd, stdin: "null" }).output();
  if (!success) throw new Error(`${program} failed: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

if (import.meta.main) console.error(`Made ${(await makeDeb()).slice(DIST.length - "dist".length)}`);
