import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { type GivenSocket, requireDeclared, withGivenSockets } from "../../lib/balancer/given_sockets.ts";
import { parseAddress } from "../../lib/values/address.ts";
import { OperatorError } from "../../lib/values/errors.ts";
import { formatListener, parseListenerText } from "../../lib/values/listener_text.ts";
import type { SavedState } from "../../lib/values/saved_state.ts";

const SERVERS = [{ server: "10.0.0.1:80", weight: 1, connectionsMax: null }];

function stateOf(services: Record<string, readonly string[]>): SavedState {
  const all = Object.entries(services).map(([name, listeners]) => ({
    name,
    listeners: listeners.map((text) => parseListenerText(text)),
    settings: {},
    servers: SERVERS,
  }));
  return { generation: 4, services: all };
}

const socket = (address: string, service?: string): GivenSocket => ({ address: parseAddress(address, "Address", 0), service });

const listeners = ({ services }: SavedState) =>
  Object.fromEntries(services.map(({ name, listeners }) => [name, listeners.map(formatListener)]));

Deno.test("withGivenSockets() lets a service listen on its sockets and nowhere else", () => {
  const before = stateOf({ api: ["0.0.0.0:9000"], web: ["0.0.0.0:80", "0.0.0.0:81"] });
  const after = withGivenSockets(before, [socket("0.0.0.0:81", "web"), socket("[::1]:8443", "web")]);
  assertEquals(listeners(after), { api: ["0.0.0.0:9000"], web: ["0.0.0.0:81", "[::1]:8443"] });
  assertEquals(after.generation, 5);
  assertEquals(after.services.map(({ servers }) => servers), [SERVERS, SERVERS]);
});

Deno.test("withGivenSockets() adds services that are missing, default for sockets without a name", () => {
  const after = withGivenSockets({ generation: 0, services: [] }, [socket("0.0.0.0:80"), socket("0.0.0.0:443", "tls")]);
  assertEquals(listeners(after), { default: ["0.0.0.0:80"], tls: ["0.0.0.0:443"] });
});

Deno.test("withGivenSockets() changes nothing where services listen there already, a range of ports included", () => {
  const before = stateOf({ default: ["0.0.0.0:8000-8002"], web: ["0.0.0.0:80"] });
  const sockets = ["0.0.0.0:8000", "0.0.0.0:8001", "0.0.0.0:8002"].map((address) => socket(address, "default"));
  assertStrictEquals(withGivenSockets(before, [...sockets, socket("0.0.0.0:80")]), before);
  assertStrictEquals(withGivenSockets(before, []), before);
});

Deno.test("withGivenSockets() refuses an address that another service has in another form", () => {
  const before = stateOf({ web: ["10.0.0.1:80"] });
  assertThrows(
    () => withGivenSockets(before, [socket("0.0.0.0:80", "all")]),
    OperatorError,
    'Cannot listen for service "all": service "web" listens on 10.0.0.1:80; choose another port',
  );
});

Deno.test("requireDeclared() takes sockets that the file has, and refuses others", () => {
  const state = stateOf({ web: ["0.0.0.0:80"] });
  requireDeclared(state, [socket("0.0.0.0:80"), socket("0.0.0.0:80", "web")], "/etc/b.yaml");
  assertThrows(
    () => requireDeclared(state, [socket("0.0.0.0:81")], "/etc/b.yaml"),
    OperatorError,
    "Cannot use the socket on 0.0.0.0:81 from the service manager: no service of /etc/b.yaml listens there; write it into the file",
  );
  assertThrows(() => requireDeclared(state, [socket("0.0.0.0:80", "api")], "/etc/b.yaml"), OperatorError, 'not service "api" of');
});
