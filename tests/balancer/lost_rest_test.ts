// What a process counts that goes on with a part of the connections of one that has died.

import { assertEquals } from "@std/assert";
import { NO_SERVICE } from "../../lib/routing/name_routes.ts";
import { startBalancer } from "../one_service.ts";

Deno.test("what a dead process had and did not give is lost once, also if clients come meanwhile", async () => {
  await using balancer = await startBalancer();
  const { counters } = balancer;
  const counted = (name: string) => ({ counters: { [name]: 10, done: 7 }, gauges: { open: 3, serviceOpen: 3 }, histograms: {} });
  const before = {
    process: counted("accepted"),
    services: [{ service: "default", counted: counted("serviceAccepted") }],
    listeners: [],
    servers: [],
  };
  counters.addCarried(0, 0); // one has come
  const { get, getOfService } = counters;
  let coming = 5;
  const come = () => coming-- > 0 && counters.addAccepted(0, 0);
  Object.assign(counters, {
    get: (...args: Parameters<typeof get>) => (come(), get.apply(counters, args)),
    getOfService: (...args: Parameters<typeof getOfService>) => (come(), getOfService.apply(counters, args)),
  });
  const lost = balancer.balancer.loseRest(before, 1);
  Object.assign(counters, { get, getOfService });
  while (coming-- > 0) counters.addAccepted(0, 0);
  assertEquals([lost, counters.get("upgrade_lost"), counters.getOfService(0, "upgrade_lost")], [2, 2, 2]);
  assertEquals(counters.get("accepted") - counters.get("open"), 7 + lost);
  assertEquals(counters.getOfService(0, "serviceAccepted") - counters.getOfService(0, "serviceOpen"), 7 + lost);
  while (counters.get("open") > 0) counters.lowerOpen(0, 0);
});

Deno.test("who came to the dead process after it had counted, and was given, is counted as accepted", async () => {
  await using balancer = await startBalancer();
  const { counters } = balancer;
  const none = { counters: {}, gauges: {}, histograms: {} };
  for (let i = 0; i < 3; i++) counters.addCarried(NO_SERVICE, 0);
  const before = { process: { ...none, gauges: { open: 1 } }, services: [], listeners: [], servers: [] };
  assertEquals(balancer.balancer.loseRest({ ...before, process: { ...before.process, counters: { accepted: 1 } } }, 3), 0);
  assertEquals([counters.get("accepted"), counters.get("open")], [3, 3]);
  while (counters.get("open") > 0) counters.lowerOpen(NO_SERVICE, 0);
});
