import { describe, expect, test } from "@jest/globals";
import { any, has, implies, is, isEmpty, not } from "./between.ts";
import {
  decode,
  definitionOf,
  definitions,
  encode,
  type JsonSchema,
  keyOf,
  kinds,
  parse,
  parseKey,
  specSchema,
} from "./index.ts";

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

/** Every field of a schema with its path; lists add "[]", maps ".*". */
function* fields(schema: JsonSchema, path = ""): Generator<[string, JsonSchema]> {
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    const at = path === "" ? name : `${path}.${name}`;
    yield [at, field];
    yield* fields(field.items ?? field, field.items ? `${at}[]` : at);
  }
}

test.each(kinds)("every field of %s has a type and says what it means", (kind) => {
  const all = [...fields(specSchema(kind))];
  expect(all.length).toBeGreaterThan(0);
  const typed = ({ type, ...rest }: JsonSchema) =>
    type !== undefined || Object.keys(rest).some((key) => key.startsWith("x-kubernetes-"));
  expect(all.filter(([, field]) => !field.description || !typed(field)).map(([path]) => path)).toEqual([]);
});

test("a schema says what Kubernetes can check, and nothing that it refuses in a CRD", () => {
  expect(specSchema("Tier")).toEqual({
    type: "object",
    default: {},
    properties: {
      order: { type: "number", description: "Smaller comes first; absent means last. Ties go by name." },
      defaultAction: {
        type: "string",
        enum: ["Deny", "Pass"],
        default: "Deny",
        description: "What happens to a packet that no rule of the tier decided.",
      },
    },
  });
  const rule = specSchema("NetworkPolicy").properties?.ingress?.items?.properties;
  expect(rule?.ipVersion).toMatchObject({ type: "integer", enum: [4, 6] });
  expect(rule?.protocol).toMatchObject({ "x-kubernetes-int-or-string": true });
  expect(specSchema("Profile").properties?.labelsToApply).toMatchObject({
    additionalProperties: { type: "string" },
  });
  expect(specSchema("FelixConfiguration").properties?.ipv6Support).not.toHaveProperty("default");
  expect(specSchema("FelixConfiguration", { settings: true }).properties?.ipv6Support).toHaveProperty(
    "default",
    true,
  );
});

describe("rules between fields", () => {
  const ruled = kinds.filter((kind) => definitions[kind].between);

  test.each(ruled)("those of %s are about fields that it has, and hold for its default", (kind) => {
    const { between = [] } = definitions[kind];
    const { properties = {}, default: usual } = specSchema(kind);
    const named = between.flatMap(({ must }) =>
      [...must.cel.matchAll(/self\.(\w+)/g)].map(([, name]) => name),
    );
    expect(named.filter((name) => !Object.hasOwn(properties, name ?? ""))).toEqual([]);
    // the API server refuses a CRD whose default its own rules refuse
    const faults =
      usual === undefined ? [] : between.filter(({ must }) => !must.holds(usual as Record<string, unknown>));
    expect(faults.map(({ message }) => message)).toEqual([]);
  });

  test("a condition says the same in CEL and here", () => {
    const one = implies(is("a", true), any(has("b"), not(isEmpty("c"))));
    expect(one.cel).toBe(
      "(!(has(self.a) && self.a == true) || (has(self.b) || !(!has(self.c) || size(self.c) == 0)))",
    );
    const held = [{}, { a: false }, { a: true, b: 0 }, { a: true, c: [1] }, { a: true }, { a: true, c: [] }];
    expect(held.map((spec) => one.holds(spec))).toEqual([true, true, true, true, false, false]);
  });
});
