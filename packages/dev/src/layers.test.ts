import { describe, expect, test } from "@jest/globals";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { violations as untyped } from "./layer-rules.mjs";

interface Subject {
  readonly package: string;
  readonly file: string;
  readonly source: string;
  readonly declared: ReadonlySet<string>;
}
const violations = untyped as (subject: Subject) => { line: number; text: string }[];

const all = new Set(["net", "api", "calc", "ipam", "daemon", "cni", "agent", "bgpd", "ctl", "datastore"]);
const declared = new Set([...[...all].map((name) => `@margay/${name}`), "zod", "yaml"]);
const check = (place: string, source: string) => {
  const [name = "", ...file] = place.split("/");
  return violations({ package: name, file: file.join("/"), source, declared });
};
const text = (place: string, source: string) => check(place, source).map((found) => found.text);

describe("allowed", () => {
  test.each<[string, string, string]>([
    ["a lower layer", "calc/calc.ts", 'import { x } from "@margay/api";'],
    ["two layers down", "agent/a.ts", 'import { x } from "@margay/net";'],
    ["the agent serves CNI calls", "agent/a.ts", 'import { serveCni } from "@margay/cni";'],
    ["the lab applies as the CLI does", "lab/a.ts", 'const { apply } = await import("@margay/ctl");'],
    ["margay imports the programs", "margay/main.ts", 'const c = () => import("@margay/agent");'],
    [
      "a neighbour file, and one folder up inside the package",
      "api/resources/node.ts",
      'import { x } from "../fields.ts";',
    ],
    ["node: where I/O is the job", "ipam/ipam.ts", 'import { hostname } from "node:os";'],
    [
      "node: in a pure package's test",
      "bgp/fsm.test.ts",
      'import { readFileSync } from "node:fs"; Date.now();',
    ],
    [
      "a type named like a global",
      "api/x.ts",
      "export type T = { at: Date }; const f = (now: () => Date) => now;",
    ],
    [
      "a property named like a global",
      "bgp/x.ts",
      "export const f = (s: { process: number }) => s.process + { Date: 1 }.Date;",
    ],
    ["a declared dependency, by a deep path of its own", "api/x.ts", 'import { z } from "zod/v4";'],
  ])("%s", (_why, place, source) => expect(text(place, source)).toEqual([]));
});

describe("refused", () => {
  test.each<[string, string, string, string]>([
    ["up", "net/a.ts", 'import { x } from "@margay/api";', "net (layer 0) must not import api (layer 1)"],
    [
      "sideways",
      "agent/a.ts",
      'import { x } from "@margay/bgpd";',
      "agent (layer 4) must not import bgpd (layer 4)",
    ],
    [
      "sideways in L3",
      "ipam/a.ts",
      'import { x } from "@margay/daemon";',
      "ipam (layer 3) must not import daemon (layer 3)",
    ],
    [
      "up, lazily",
      "calc/a.ts",
      'await import("@margay/ipam");',
      "calc (layer 2) must not import ipam (layer 3)",
    ],
    [
      "up, re-exported",
      "calc/a.ts",
      'export * from "@margay/ipam";',
      "calc (layer 2) must not import ipam (layer 3)",
    ],
    [
      "up, types only",
      "calc/a.ts",
      'import type { I } from "@margay/ipam";',
      "calc (layer 2) must not import ipam (layer 3)",
    ],
    [
      "deep",
      "ipam/a.ts",
      'import { x } from "@margay/api/src/x.ts";',
      "@margay/api/src/x.ts reaches into @margay/api; its index.ts is its public face",
    ],
    [
      "by a path out of the package",
      "api/resources/n.ts",
      'import "../../net/src/x.ts";',
      "../../net/src/x.ts leaves the package; import it by its name",
    ],
    [
      "undeclared",
      "ipam/a.ts",
      'import x from "lodash/fp";',
      "lodash is not among the dependencies of packages/ipam/package.json",
    ],
    [
      "node: in a pure package",
      "bgp/a.ts",
      'import { Buffer } from "node:buffer";',
      "bgp is pure and imports node:buffer",
    ],
    ["node: in ipam's block logic", "ipam/block.ts", 'import "node:os";', "ipam is pure and imports node:os"],
    ["the clock", "reconcile/a.ts", "const t = Date.now();", "reconcile is pure and uses Date"],
    ["the clock, constructed", "bgp/a.ts", "const t = new Date();", "bgp is pure and uses Date"],
    ["a timer", "reconcile/a.ts", "setTimeout(f, 1);", "reconcile is pure and uses setTimeout"],
    ["randomness", "bgp/a.ts", "const t = Math.random();", "bgp is pure and uses Math.random"],
    ["logging", "calc/a.ts", "console.log(1);", "calc is pure and uses console"],
    ["the environment", "api/a.ts", "f(process.env.HOME);", "api is pure and uses process"],
  ])("%s", (_why, place, source, expected) => expect(text(place, source)).toEqual([expected]));

  test("the line is the import's own, past comments of more bytes than characters", () => {
    expect(check("net/a.ts", '// é → ü\n\nconst a = 1;\nimport "node:fs";')).toEqual([
      { line: 4, text: "net is pure and imports node:fs" },
    ]);
  });
});
