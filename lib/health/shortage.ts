/** Errors of connect(2) that mean this machine has run out of a resource. They say nothing about the server that was dialled. */

/** The errno(3) names: no descriptors, no memory, no free port, no room in the routing cache (connect(2)). */
export const OWN_SHORTAGES = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EADDRNOTAVAIL", "EAGAIN"] as const;

/** Whether a Deno error is a shortage of this machine. */
export function isOwnShortage(error: unknown): boolean {
  return error instanceof Error && "code" in error && OWN_SHORTAGES.some((name) => name === error.code);
}

/** Whether a Deno error says that no local port is free. */
export function isNoLocalPort(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "EADDRNOTAVAIL";
}

const WAY_OUT = "add --source addresses or widen net.ipv4.ip_local_port_range";

/** What EADDRNOTAVAIL of connect(2) means, as a clause. */
export const NO_LOCAL_PORT: string = `no free local address and port; ${WAY_OUT}`;

/** The same for a server with so many open connections. */
export function noLocalPort(server: string, inUse: number): string {
  return `no free local address and port towards ${server}: ${inUse.toLocaleString("en-US")} in use; ${WAY_OUT}`;
}
