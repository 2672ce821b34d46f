/**
 * What clients and servers of the tool say to each other, a line for a request and a line for its answer, and how an answer is
 * known to be the whole answer to that request and to no other. Imports nothing: the server runs without the repository's
 * configuration.
 */

/** What a health check sends, and what it gets. Neither is a client's. */
export const PING = "PING";
/** See PING. */
export const PONG = "PONG";

/** An answer as a client reads it. */
export interface Answer {
  readonly client: number;
  readonly request: number;
  readonly server: string;
  /** It is that of the request's line, and the line was whole. */
  readonly checksum: string;
}

/** A request, without the end of the line. No two requests of a client have the same number, whatever connection they go by. */
export function requestLine(client: number, request: number, padding: string): string {
  return `${client} ${request} ${padding}`;
}

/** The key under which a server logs a request; undefined for what is no request. */
export function requestKey(line: string): string | undefined {
  return line.match(/^\d+ \d+(?= )/)?.[0];
}

/** The answer to a request's line, without the end of the line. */
export function answerLine(line: string, server: string): string {
  return `${requestKey(line)} ${server} ${checksum(line)}`;
}

/** Reads an answer; undefined if it is none. */
export function parseAnswer(line: string): Answer | undefined {
  const [, client, request, server, checksum] = line.match(/^(\d+) (\d+) (\S+) ([0-9a-f]{8})$/) ?? [];
  return checksum === undefined ? undefined : { client: Number(client), request: Number(request), server, checksum };
}

/** FNV-1a of 32 bits (RFC 9923) over ASCII, in hexadecimal. */
export function checksum(text: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, "0");
}
