import { expect, test } from "@jest/globals";
import { decode, encode, type HostEndpoint } from "@margay/api";
import { Calc, type Update } from "./calc.ts";
import type { InterfaceAddresses } from "./host-endpoints.ts";
import { gone, hep } from "./testing/resources.ts";

const UPLINK = "172.20.0.11";
const SECOND = "172.21.0.11";
const INTERFACES: InterfaceAddresses = new Map([
  ["eth0", new Set([UPLINK, "2001:db8::b"])],
  ["eth1", new Set([SECOND])],
]);

const byIp = (name: string, ...expectedIPs: string[]): Update =>
  hep(name, { node: "n1", interfaceName: undefined, expectedIPs });
const byName = (name: string, interfaceName: string): Update => hep(name, { node: "n1", interfaceName });
/** As the datastore has it: nobody could write it now. */
const stored = (name: string, interfaceName: string): Update => {
  const { key, value } = byName(name, "eth0");
  return { key, value: decode(key, encode(value as HostEndpoint).replace('"eth0"', `"${interfaceName}"`)) };
};

/** The endpoints by interface, and what is wrong with which. */
function placed(updates: readonly Update[], interfaces: InterfaceAddresses | "unknown" = INTERFACES) {
  const calc = new Calc("n1");
  if (interfaces !== "unknown") calc.setInterfaces(interfaces);
  calc.apply(updates);
  const { hostEndpoints, problems } = calc.state();
  return {
    at: Object.fromEntries(hostEndpoints.map(({ id, interfaceName }) => [interfaceName, id])),
    problems: problems.map(({ subject, why }) => `${subject} ${why}`),
  };
}

test.each<[why: string, updates: readonly Update[], at: object, problems: readonly string[]]>([
  ["an address finds its interface", [byIp("a", UPLINK)], { eth0: "hep:a" }, []],
  ["an IPv6 address does, however written", [byIp("a", "2001:DB8:0::b")], { eth0: "hep:a" }, []],
  [
    "addresses of two interfaces are one endpoint on both",
    [byIp("a", UPLINK, SECOND)],
    { eth0: "hep:a", eth1: "hep:a" },
    [],
  ],
  [
    "a name comes before an address, whatever the endpoints are called",
    [byIp("a", UPLINK), byName("b", "eth0")],
    { eth0: "hep:b" },
    ["hep:a not enforced: interface eth0 is that of hep:b"],
  ],
  [
    "an address comes before all interfaces",
    [byName("a", "*"), byIp("b", UPLINK)],
    { "*": "hep:a", eth0: "hep:b" },
    [],
  ],
  [
    "of two with the same address the first by name",
    [byIp("b", UPLINK), byIp("a", UPLINK, "203.0.113.1")],
    { eth0: "hep:a" },
    ["hep:b not enforced: interface eth0 is that of hep:a"],
  ],
  [
    "an address that is nowhere is named, not guessed",
    [byIp("a", "203.0.113.1")],
    {},
    ["hep:a not enforced: no interface of the node has 203.0.113.1"],
  ],
  [
    "a pattern of a former version is still given to the packet filter, and is named",
    [stored("a", "eth+")],
    { "eth+": "hep:a" },
    [
      "hep:a spec.interfaceName of a former version: must be the name of one interface: 1 to 15 of A-Z a-z 0-9 '_' '.' '@' '=' '~' '-'",
    ],
  ],
])("%s", (_why, updates, at, problems) => {
  expect(placed(updates)).toEqual({ at, problems });
});

test("whoever does not know the interfaces still knows the endpoint: explain, by the datastore alone", () => {
  expect(placed([byIp("a", UPLINK)], "unknown").at).toEqual({ [`with ${UPLINK}`]: "hep:a" });
});

test("an address that moves takes its endpoint along; other news of interfaces changes nothing", () => {
  const calc = new Calc("n1");
  calc.setInterfaces(INTERFACES);
  calc.apply([byIp("a", UPLINK)]);
  expect(calc.state().hostEndpoints.map(({ interfaceName }) => interfaceName)).toEqual(["eth0"]);
  calc.setInterfaces(new Map([["bond0", new Set([UPLINK])]]));
  expect(calc.state().hostEndpoints.map(({ interfaceName }) => interfaceName)).toEqual(["bond0"]);
  calc.apply([gone(byIp("a", UPLINK)), byName("b", "eth9")]);
  const before = calc.state();
  calc.setInterfaces(INTERFACES);
  expect(calc.state()).toBe(before);
});
