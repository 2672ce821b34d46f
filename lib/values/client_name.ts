/** A client as a person names it: an IP address, with a port or without. Parses it into its canonical form and its key. */

import { clientKey, formatAddress, ipBytes, isIp, type KeyRule, parseAddress, parseHost } from "./address.ts";
import { OperatorError } from "./errors.ts";

/** The example in error messages. */
const WITH_PORT = "192.0.2.1:5000";

/** A client as a person named it: its key, and its name in canonical form. */
interface ParsedClient {
  readonly key: Uint8Array;
  /** An IP address, with the port if one was given. */
  readonly client: string;
}

/** Reads an IP address, `ip:port` or `[ip6]:port`; the port is required where it is part of the key. Throws a `usage` error. */
export function parseClient(text: string, rule: KeyRule): ParsedClient {
  const parsed = readIp(text) ?? readIpAndPort(text);
  if (parsed === undefined) throw cannotExplain(text, `give an IP address such as 192.0.2.1, or ${WITH_PORT} with a port`);
  const { ip, port } = parsed;
  if (port === undefined && rule.withPort) {
    throw cannotExplain(text, `the key is ip:port; give the port as well, as in ${WITH_PORT}`);
  }
  const client = port === undefined ? ip : formatAddress({ host: ip, port });
  return { key: clientKey(rule, ipBytes(ip), port ?? 0), client };
}

function cannotExplain(text: string, why: string): OperatorError {
  return new OperatorError("usage", `Cannot explain ${JSON.stringify(text)}: ${why}`);
}

/** A client that was read; `ip` is canonical. */
interface IpAndPort {
  readonly ip: string;
  readonly port?: number;
}

function readIp(text: string): IpAndPort | undefined {
  const host = orUndefined(() => parseHost(text));
  return host !== undefined && isIp(host) ? { ip: host } : undefined;
}

function readIpAndPort(text: string): IpAndPort | undefined {
  const address = orUndefined(() => parseAddress(text));
  return address !== undefined && isIp(address.host) ? { ip: address.host, port: address.port } : undefined;
}

/** The result of the parser, or undefined where it throws: its error message is about servers. */
function orUndefined<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch (error) {
    if (error instanceof OperatorError) return undefined;
    throw error;
  }
}
