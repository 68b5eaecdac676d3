import { expect, test } from "@jest/globals";
import { formatAppliedFrom, parseAppliedFrom, type RuleLines } from "./applied-from.ts";
import { readDocuments } from "./file.ts";

const linesOf = (text: string): RuleLines[] =>
  readDocuments(text, "f.yaml").flatMap((outcome) => (outcome.ok ? [outcome.lines] : []));

test.each<[why: string, text: string, lines: readonly RuleLines[]]>([
  [
    "of a second document, from the file's beginning",
    `---
# first
{ apiVersion: margay.dev/v1, kind: Tier, metadata: { name: t }, spec: { order: 1 } }
---
apiVersion: margay.dev/v1
kind: NetworkPolicy
metadata: { name: p }
spec:
  ingress:
    - action: Allow

    - action: Deny
      protocol: TCP
  egress: [{ action: Allow },
    { action: Deny }]
`,
    [
      { ingress: [], egress: [] },
      { ingress: [10, 12], egress: [14, 15] },
    ],
  ],
  [
    "of a Kubernetes policy: each peer and protocol is a rule of ours, from the same line",
    `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: p }
spec:
  podSelector: {}
  ingress:
  - from:
    - podSelector: {}
    - namespaceSelector: {}
    ports: [{ port: 80 }, { port: 53, protocol: UDP }]
  - from: []
`,
    [{ ingress: [7, 7, 7, 7, 11], egress: [] }],
  ],
  [
    "in a List, and in JSON",
    `{ "apiVersion": "v1", "kind": "List", "items": [
  { "apiVersion": "margay.dev/v1", "kind": "GlobalNetworkPolicy", "metadata": { "name": "p" },
    "spec": { "ingress": [
      { "action": "Allow" } ] } } ] }`,
    [{ ingress: [4], egress: [] }],
  ],
])("lines of rules: %s", (_why, text, lines) => {
  expect(linesOf(text)).toEqual(lines);
});

test.each<[origin: string, lines: RuleLines, text: string]>([
  ["web.yaml:3", { ingress: [12, 15], egress: [20] }, "web.yaml:3 ingress 12,15 egress 20"],
  ["a b:c/web.yaml:3", { ingress: [], egress: [20] }, "a b:c/web.yaml:3 egress 20"],
  ["web.yaml:3", { ingress: [], egress: [] }, "web.yaml:3"],
])("%s %j is %s and back", (origin, lines, text) => {
  expect(formatAppliedFrom(origin, lines)).toBe(text);
  const [, file = "", line] = /^(.*):(\d+)$/.exec(origin) ?? [];
  expect(parseAppliedFrom(text)).toEqual({ file, line: Number(line), ...lines });
});

test.each(["", "web.yaml", "web.yaml:x", "web.yaml:3 sideways 4"])("%j says nothing", (text) => {
  expect(parseAppliedFrom(text)).toBeUndefined();
});
