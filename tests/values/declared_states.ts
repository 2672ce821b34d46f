/** States for property tests: valid ones, of few names and ports, so that two of them have much in common. */

import fc from "fast-check";
import {
  DAEMON_ROWS,
  type DeclaredServer,
  type DeclaredService,
  type DeclaredState,
  SERVICE_ROWS,
} from "../../lib/values/declared_state.ts";
import { faultsOfState } from "../../lib/values/state_rules.ts";

/** Texts that a setting can have beside its default. Some mean the same as others. */
const TEXTS: Readonly<Record<string, readonly string[]>> = {
  key: ["ip", "ip:port", "ip/24,64"],
  "load-bound": ["1.25", "2", "2.0", "off"],
  redistribute: ["new", "unanswered", "idle"],
  "idle-timeout": ["10m", "600s", "1h"],
  check: ["tcp", "off", "http:/health?a=b#c", "expect:\\x00: +OK # 'x' \"y\"", "send:PING\\r\\n expect:+PONG"],
  "check-host": ["same", "example.org", "true", "null", "::1"],
  "check-ca": ["system", "none", "/etc/ssl/ä b.pem"],
  "check-status": ["200-399", "200,204"],
  proxy: ["off", "v1", "v2"],
  source: ["off", "10.0.0.9,10.0.0.8"],
  allow: ["off", "10.0.0.0/8,2001:db8::/32", "@/etc/allow list.txt"],
};
const DAEMON_TEXTS: Readonly<Record<string, readonly string[]>> = {
  "log-level": ["info", "debug"],
  "access-log": ["off", "/var/log/a: b#c\u0085.json"],
  "access-log-sample": ["100%", "1%"],
  http: ["off", "[::1]:9100"],
  workers: ["auto", "1"],
};

const texts = (table: typeof TEXTS) =>
  fc.record(Object.fromEntries(Object.entries(table).map(([flag, texts]) => [flag, fc.constantFrom(...texts)])), {
    requiredKeys: [],
    noNullPrototype: true,
  });

const server: fc.Arbitrary<DeclaredServer> = fc.record({
  server: fc.oneof(
    fc.nat(9).map((n) => `10.0.0.${n}:80`),
    fc.constantFrom("[2001:db8::1]:443", "db.example:5432", "on:1", "1e3.example:7"),
  ),
  weight: fc.integer({ min: 1, max: 3 }),
  connectionsMax: fc.constantFrom(null, 1, 500),
  proxy: fc.constantFrom(null, "v2"),
  check: fc.constantFrom(null, "http:/a", "expect:a: b"),
  checkPort: fc.constantFrom(null, 8080),
  checkHost: fc.constantFrom(null, "no", "a.example"),
  draining: fc.boolean(),
}, { requiredKeys: ["server"], noNullPrototype: true }) as fc.Arbitrary<DeclaredServer>;

const listener = fc.tuple(fc.constantFrom("127.0.0.1", "::1", "0.0.0.0"), fc.integer({ min: 8000, max: 8040 }), fc.nat(2)).map(
  ([address, port, more]) => more === 0 ? { address, port } : { address, port, lastPort: port + more },
);

const service = (name: string): fc.Arbitrary<DeclaredService> =>
  fc.record({
    name: fc.constant(name),
    listeners: fc.uniqueArray(listener, { maxLength: 3, selector: (listener) => JSON.stringify(listener) }),
    settings: texts(TEXTS),
    servers: fc.uniqueArray(server, { maxLength: 6, selector: ({ server }) => server }),
  }, { noNullPrototype: true });

/** A state that `faultsOfState` has nothing against. */
export const validState: fc.Arbitrary<DeclaredState> = fc.record({
  services: fc.uniqueArray(fc.constantFrom("web", "api", "80", "true", "a.b-c_d", "constructor"), { minLength: 1, maxLength: 4 })
    .chain((names) => fc.tuple(...names.map(service))),
  daemon: texts(DAEMON_TEXTS),
}, { noNullPrototype: true }).filter((state) => faultsOfState(state).length === 0);

/** Flags that the tests above must know: a misspelt one would test nothing. */
export const FLAGS_USED: readonly (readonly [flags: readonly string[], rows: ReadonlyMap<string, unknown>])[] = [
  [Object.keys(TEXTS), SERVICE_ROWS],
  [Object.keys(DAEMON_TEXTS), DAEMON_ROWS],
];
