/**
 * The certificates of the authorities that HTTPS checks trust, read once and kept. A file that cannot be used is refused when
 * somebody names it; if it is gone only at a restart, the checks that need it fail and say so. Knows no check and no server.
 */

import type { CheckCa } from "../values/check_spec.ts";
import { LIMITS } from "../values/config.ts";
import { failWith, messageOf, OperatorError } from "../values/errors.ts";
import { ifMissing, readPlain } from "../values/plain_file.ts";
import { formatSize } from "../values/size.ts";
import type { Trust } from "./tls_channel.ts";

/** Where systems keep the certificates they trust: Debian, Fedora, openSUSE, Alpine and macOS. */
const SYSTEM_FILES = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/ca-bundle.pem",
  "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
  "/etc/ssl/cert.pem",
];

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g;

/** Trust that could not be loaded: why, as a clause. */
interface Distrust {
  readonly fault: string;
}

/** The authorities of one daemon. */
export class Authorities {
  /** By path; the system's by "". */
  readonly #loaded = new Map<string, Trust | Distrust>();

  /** Reads what checks with this setting need, again if it was read before. Throws an operator error if it cannot be used. */
  async load(ca: CheckCa): Promise<void> {
    if (ca.kind === "none") return;
    if (ca.kind === "system") this.#loaded.set("", await readSystem());
    else this.#loaded.set(ca.path, { verifies: true, authorities: await readAuthorities(ca.path) });
  }

  /** Does the same at a restart: checks with this setting fail if it cannot be used. Returns why, in a sentence. */
  async restore(ca: CheckCa): Promise<string | undefined> {
    try {
      await this.load(ca);
    } catch (error) {
      const reason = messageOf(error);
      if (ca.kind === "file") this.#loaded.set(ca.path, { fault: reason });
      return reason;
    }
  }

  /** Whom checks with this setting trust, or why that is not known. */
  trustOf(ca: CheckCa): Trust | Distrust {
    if (ca.kind === "none") return { verifies: false };
    const loaded = this.#loaded.get(ca.kind === "file" ? ca.path : "");
    return loaded ??
      (ca.kind === "file" ? { fault: `${JSON.stringify(ca.path)} was not read` } : { verifies: true, authorities: undefined });
  }
}

/** The system's authorities, or those that Deno ships where no file of the system is known. */
async function readSystem(): Promise<Trust> {
  for (const path of SYSTEM_FILES) {
    const authorities = await readAuthorities(path).catch(() => undefined);
    if (authorities !== undefined) return { verifies: true, authorities };
  }
  return { verifies: true, authorities: undefined };
}

/** The certificates in a PEM file, at least one. Throws an operator error. */
async function readAuthorities(path: string): Promise<readonly string[]> {
  const cannot = `Cannot use the CA file ${JSON.stringify(path)}`;
  const bytes = await readPlain(path, LIMITS.caFileBytesMax, cannot).catch(ifMissing(undefined)).catch(failWith(cannot));
  if (bytes === undefined) throw new OperatorError("failed", `${cannot}: it does not exist; give the path of a file in PEM format`);
  if (bytes === null) {
    throw new OperatorError("failed", `${cannot}: it is larger than the limit of ${formatSize(LIMITS.caFileBytesMax)}`);
  }
  const certificates = new TextDecoder().decode(bytes).match(CERTIFICATE) ?? [];
  if (certificates.length === 0) throw new OperatorError("failed", `${cannot}: it has no certificate in PEM format`);
  const { X509Certificate } = await import("node:crypto");
  for (const [index, certificate] of certificates.entries()) {
    try {
      new X509Certificate(certificate);
    } catch {
      throw new OperatorError("failed", `${cannot}: its certificate number ${index + 1} is damaged`);
    }
  }
  return certificates;
}
