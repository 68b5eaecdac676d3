import { isDeepStrictEqual } from "node:util";
import { describe, expect, test } from "@jest/globals";
import fc from "fast-check";
import type * as z from "zod";
import { type AnyDefinition, definitions, kinds } from "./definitions.ts";
import type { Issue } from "./errors.ts";
import { check } from "./parse.ts";

const refuse = (issues: readonly Issue[]) => new Error(JSON.stringify(issues));
const copy = (document: unknown): object => JSON.parse(JSON.stringify(document));

/** What the schema says: the resource, or what is wrong. */
function bySchema(definition: AnyDefinition, document: unknown): unknown {
  try {
    return check(definition, copy(document), refuse).resource;
  } catch (error) {
    return String(error);
  }
}

/** Texts, some of which many fields take. */
const TEXTS = [
  ...[
    "10.0.0.1",
    "10.0.0.1/32",
    "10.0.0.0/8",
    "10.0.0.1/8",
    "fd00::1",
    "FD00::0001/128",
    "fd00::/64",
    "0.0.0.0/0",
  ],
  ...[
    "all()",
    "app == 'a'",
    "has(x",
    "global()",
    "TCP",
    "tcp",
    "ICMP",
    "http",
    "80:90",
    "90:80",
    "eth0",
    "a b",
  ],
  ...["default", "Allow", "64512", "1m", "02:00:00:00:00:01", "web", "", "é", "__proto__"],
];
const scalar = fc.oneof(
  fc.constantFrom(...TEXTS),
  fc.constantFrom(0, 1, 4, 6, 58, 80, 443, 1000, 65535, 65536, -1, 1.5, 1e16),
  fc.boolean(),
  fc.constant(null),
);
const anything = fc.oneof(
  { weight: 4, arbitrary: scalar },
  fc.array(scalar, { maxLength: 3 }),
  fc.dictionary(fc.constantFrom("name", "a", "spec", "__proto__", "constructor"), scalar, { maxKeys: 3 }),
);

/** Documents that a schema may take, now and then with a part that it does not. */
function like(schema: z.core.$ZodType): fc.Arbitrary<unknown> {
  return fc.oneof({ weight: 40, arbitrary: within(schema) }, anything);
}

function within(schema: z.core.$ZodType): fc.Arbitrary<unknown> {
  const { def } = (schema as z.core.$ZodTypes)._zod;
  switch (def.type) {
    case "object": {
      const fields = Object.entries(def.shape as z.core.$ZodShape);
      const each = Object.fromEntries(fields.map(([name, field]) => [name, like(field)]));
      const required = fields.filter(([, field]) => field._zod.optin === undefined).map(([name]) => name);
      const known = fc
        .tuple(fc.record(each), fc.array(fc.constantFrom(...fields.map(([name]) => name)), { maxLength: 4 }))
        .map(([all, some]) => Object.fromEntries([...required, ...some].map((name) => [name, all[name]])));
      const unknown = fc.dictionary(fc.constantFrom("unheard", "of"), scalar, { maxKeys: 1 });
      return fc
        .tuple(known, fc.oneof({ weight: 5, arbitrary: fc.constant({}) }, unknown))
        .map(([a, b]) => ({ ...a, ...b }));
    }
    case "array":
      return fc.array(like(def.element), { maxLength: 3 });
    case "record":
      return fc.dictionary(fc.constantFrom("app", "a/b", "x y", "__proto__"), like(def.valueType), {
        maxKeys: 2,
      });
    case "optional":
    case "default":
    case "prefault":
      return within(def.innerType);
    case "union":
      return fc.oneof(...def.options.map(like));
    case "enum":
      return fc.constantFrom(...Object.values(def.entries));
    case "literal":
      return fc.constantFrom(...def.values);
    case "pipe":
      return within(def.in);
    case "boolean":
      return fc.boolean();
    case "number":
      return fc.constantFrom(1, 4, 80, 443, 1000, 65535, 1.5);
    default:
      return fc.constantFrom(...TEXTS);
  }
}

/** One value of a document, anywhere in it, another, or gone; or one more. */
const mutation = fc.tuple(fc.nat(), fc.constantFrom("set", "delete", "add"), anything);
function mutated(document: unknown, [at, what, value]: readonly [number, string, unknown]): unknown {
  const made = copy(document);
  const places: [Record<string, unknown>, string][] = [];
  const visit = (parent: Record<string, unknown>): void => {
    for (const key of Object.keys(parent)) {
      places.push([parent, key]);
      if (typeof parent[key] === "object" && parent[key] !== null)
        visit(parent[key] as Record<string, unknown>);
    }
  };
  visit(made as Record<string, unknown>);
  const [parent, key] = places[at % places.length] ?? [{}, ""];
  if (what === "delete") delete parent[key];
  else if (what === "set") parent[key] = value;
  else
    Object.defineProperty(parent, "__proto__", {
      value,
      enumerable: true,
      writable: true,
      configurable: true,
    });
  return made;
}

describe.each(kinds)("%s, read quickly", (kind) => {
  const definition: AnyDefinition = definitions[kind];
  const expectSame = (document: unknown): boolean => {
    const read = definition.quick(copy(document));
    const wanted = bySchema(definition, document);
    // jest takes a field "constructor" for the class
    if (read !== undefined && !isDeepStrictEqual(read, wanted)) expect(read).toStrictEqual(wanted);
    return read !== undefined;
  };

  test("its example is read so, and as the schema reads it", () => {
    expect(expectSame(definition.example)).toBe(true);
  });

  test("its example with anything changed is what the schema says, or is left to it", () => {
    const changes = fc.array(mutation, { minLength: 1, maxLength: 3 });
    const property = fc.property(changes, (all) => void expectSame(all.reduce(mutated, definition.example)));
    fc.assert(property, { numRuns: 300 });
  });

  test("so is any document", () => {
    const { apiVersion, metadata } = definition.example as { apiVersion: string; metadata: object };
    const property = fc.property(like(definition.spec), (spec) => {
      expectSame({ apiVersion, kind, metadata, spec });
    });
    fc.assert(property, { numRuns: 300 });
  });
});
