/** The command line of floor.c. */

/** What the command line depends on. */
export interface FloorWiring {
  readonly port: number;
  readonly backendPort: number;
  readonly workers: number;
}

/** The words of a command line: listen on `port` of loopback, relay to a server on loopback. */
export function floorCommand(program: string, { port, backendPort, workers }: FloorWiring): readonly string[] {
  return [program, String(port), String(workers), `127.0.0.1:${backendPort}`];
}
