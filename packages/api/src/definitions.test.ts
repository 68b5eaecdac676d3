import { expect, test } from "@jest/globals";
import { decode, definitionOf, definitions, encode, keyOf, kinds, parse, parseKey } from "./index.ts";

test.each(kinds)("the example of %s parses without a warning and survives the datastore", (kind) => {
  const { resource, warnings } = parse(definitions[kind].example, "example");
  expect(warnings).toEqual([]);
  expect(resource.kind).toBe(kind);
  const key = keyOf(kind, resource.metadata.name, resource.metadata.namespace);
  expect(parseKey(key)).toEqual({ kind, ...pick(resource.metadata) });
  expect(decode(key, encode(resource))).toEqual(resource);
});

const pick = ({ name, namespace }: { name: string; namespace?: string }) =>
  namespace ? { name, namespace } : { name };

test.each([
  ["ippools", "IPPool"],
  ["POOL", "IPPool"],
  ["gnp", "GlobalNetworkPolicy"],
  ["networkpolicy", "NetworkPolicy"],
  ["wep", "WorkloadEndpoint"],
  ["no", "Node"],
])("%s means %s on the command line", (alias, kind) => {
  expect(definitionOf(alias)?.kind).toBe(kind);
});
