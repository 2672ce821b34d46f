/** The PROXY headers of open connections, as workers reported them: kept on the main thread for the access log. */

import { formatIp } from "../../values/address.ts";
import type { ReceivedProxy } from "../../observe/connections.ts";
import { describeProxy } from "../../observe/received_proxy.ts";
import type { HeaderReport } from "./reports.ts";

/** The headers by the id of their connection. */
export class ReceivedHeaders {
  readonly #headers = new Map<number, HeaderReport>();

  /** With more headers than `max`, the oldest is forgotten: the report of its connection's end was dropped. */
  constructor(readonly max: number) {}

  /** Adds a part of a header. */
  add({ id, ip, port, service, tlvs }: HeaderReport): void {
    const before = this.#headers.get(id);
    const joined = before === undefined ? tlvs.slice() : Uint8Array.of(...before.tlvs, ...tlvs);
    this.#headers.set(id, { id, ip: ip.slice(), port, service, tlvs: joined });
    if (this.#headers.size > this.max) this.#headers.delete(this.#headers.keys().next().value!);
  }

  /** Returns and forgets the header of a connection that has ended; undefined if it had none. */
  take(id: number): ReceivedProxy | undefined {
    const header = this.#headers.size === 0 ? undefined : this.#headers.get(id);
    if (header === undefined) return undefined;
    this.#headers.delete(id);
    return describeProxy({ host: formatIp(header.ip), port: header.port }, header.tlvs);
  }
}
