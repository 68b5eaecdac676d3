import { expect, test } from "@jest/globals";
import { StoreError } from "@margay/datastore";
import type { Logger } from "pino";
import { Troubles } from "./troubles.ts";

/** As @margay/kubernetes has it. */
class KubernetesError extends Error {
  readonly code: string;
  constructor(code: string, message: string) {
    super(message);
    this.code = code;
  }
}

function logged() {
  const lines: string[] = [];
  const write = (level: string) => (event: { event: string }, text: string) =>
    void lines.push(`${level} ${event.event} ${text}`);
  const log = { info: write("info"), warn: write("warn") } as unknown as Logger; // just these
  return { lines, troubles: new Troubles(log, { datastore: StoreError, kubernetes: KubernetesError }) };
}
const etcd = (text: string) => new StoreError("unavailable", text);
const forbidden = (path: string) => new KubernetesError("forbidden", `GET ${path}: forbidden`);

test("a datastore that is away is one line, however many notice, each in words of its own; and one when all are back", () => {
  const { lines, troubles } = logged();
  for (const source of ["nodes", "pods", "services"])
    troubles.begin(source, etcd(`etcd: late for ${source}`));
  troubles.begin("nodes", etcd("etcd: refused"));
  expect(troubles.texts()).toHaveLength(1);
  troubles.end("nodes");
  troubles.end("pods");
  expect(lines).toEqual(["warn datastore-lost etcd: late for nodes"]);
  troubles.end("services");
  troubles.end("services");
  expect(lines.slice(1)).toEqual(["info connected over: etcd: late for services"]);
  expect(troubles.texts()).toEqual([]);
});

test("a datastore that does not let us in is one line, whichever key it names; being away before was another, and so is a right password without a role", () => {
  const { lines, troubles } = logged();
  troubles.begin("nodes", etcd("etcd: refused"));
  for (const source of ["nodes", "pods"])
    troubles.begin(source, new StoreError("unauthorized", "etcd: refuses margay"));
  for (const source of ["nodes", "pods", "nodes"])
    troubles.begin(source, new StoreError("denied", `etcd: "margay" may not use ${source}`));
  expect(lines).toEqual([
    "warn datastore-lost etcd: refused",
    "warn datastore-lost etcd: refuses margay",
    'warn datastore-lost etcd: "margay" may not use nodes',
  ]);
  expect(troubles.texts()).toHaveLength(1);
});

test("rights that are missing are told one by one: each has its own remedy", () => {
  const { lines, troubles } = logged();
  for (const path of ["/a", "/b", "/a"]) troubles.begin(path, forbidden(path));
  expect(lines).toEqual(["warn kubernetes-lost GET /a: forbidden", "warn kubernetes-lost GET /b: forbidden"]);
  expect(troubles.texts()).toEqual(["GET /a: forbidden", "GET /b: forbidden"]);
});

test("both may be away at once", () => {
  const { troubles } = logged();
  troubles.begin("a", etcd("etcd"));
  troubles.begin("b", new KubernetesError("unavailable", "API server"));
  expect(troubles.texts()).toEqual(["etcd", "API server"]);
});

test.each([
  ["a race", new StoreError("conflict", "changed since")],
  ["an object that is not valid", new KubernetesError("invalid", "no")],
  ["a fault of the program", new TypeError("undefined")],
])("%s is no trouble: whoever has it tells it", (_why, error) => {
  const { lines, troubles } = logged();
  expect(troubles.begin("a", error)).toBe(false);
  expect([lines, troubles.texts()]).toEqual([[], []]);
});
