import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { ToolsMissing, tools, toolsFolder } from "./tools.mjs";

const { PATH = "", XDG_CACHE_HOME } = process.env;
let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "margay-tools-"));
  process.env.XDG_CACHE_HOME = join(folder, "cache");
});
afterEach(() => {
  process.env.PATH = PATH;
  if (XDG_CACHE_HOME === undefined) delete process.env.XDG_CACHE_HOME;
  else process.env.XDG_CACHE_HOME = XDG_CACHE_HOME;
  rmSync(folder, { recursive: true });
});

/** A `go` whose build runs these words; "$out" is the folder it is told to write to. */
const go = (build: string) => {
  const script = `#!/bin/sh\n[ "$1" = list ] && exit 0\nout=$3\n${build}\n`;
  writeFileSync(join(folder, "go"), script, { mode: 0o755 });
  process.env.PATH = `${folder}:${PATH}`;
};
const built = () => (existsSync(toolsFolder()) ? readdirSync(toolsFolder()).sort() : []);
const ALL = ["helm", "kube-apiserver", "kube-proxy", "kubectl"];
const write = (names: readonly string[]) => names.map((name) => `: > "$out/${name}"`).join("\n");

test("what is built is built once", async () => {
  go(write(ALL));
  await tools(undefined);
  expect(built()).toEqual(ALL);
  go("exit 1");
  expect(await tools(undefined)).toBe(false);
});

test("a build that ends half-way leaves nothing that would be taken for whole", async () => {
  go(`${write(ALL.slice(0, 2))}\nexit 1`);
  await expect(tools(undefined)).rejects.toThrow("go build failed");
  expect(built()).toEqual([]);
  go(write(ALL));
  await tools(undefined);
  expect(built()).toEqual(ALL);
});

test.each([
  ["no network", "k8s.io/kubernetes: dial tcp: lookup proxy: no such host"],
  [
    "a proxy that does not give them",
    "reading https://proxy/k8s.io/kubernetes/@v/v1.34.9.zip: 403 Forbidden",
  ],
  [
    "a proxy that has none of it",
    "k8s.io/api@v0.34.9: reading https://proxy/k8s.io/api/@v/v0.34.9.zip: 404 Not Found",
  ],
  ["a proxy that breaks off", 'k8s.io/api@v0.34.9: Get "https://proxy/k8s.io/api/@v/v0.34.9.zip": EOF'],
  ["no proxy wanted", "k8s.io/api@v0.34.9: module lookup disabled by GOPROXY=off"],
  ["a full disk", "link: mapping output file failed: no space left on device"],
  ["too little memory", "build k8s.io/kubernetes/cmd/kube-apiserver: /usr/lib/go/link: signal: killed"],
])("Go without its modules, or without room, is as good as none: %s", async (_why, words) => {
  go(`echo 'go: ${words}'; exit 1`);
  await expect(tools(undefined)).rejects.toThrow(ToolsMissing);
});

test("without Go it says what is missing", async () => {
  process.env.PATH = join(folder, "nothing");
  await expect(tools(undefined)).rejects.toThrow(ToolsMissing);
});

test.each([
  ["none is left", 0, /no time is left/],
  ["what is left is over", 0.005, /not built within 0.0 minutes/],
])("time that is bounded: %s", async (_why, minutes, words) => {
  go(`${write(ALL)}\nsleep 60`);
  await expect(tools(undefined, minutes)).rejects.toThrow(words);
  expect(built()).toEqual([]);
});

test("what is built needs no time", async () => {
  go(write(ALL));
  await tools(undefined);
  expect(await tools(undefined, 0)).toBe(false);
});

test("a Go that cannot read go.mod is none", async () => {
  writeFileSync(join(folder, "go"), "#!/bin/sh\necho 'go.mod requires go >= 1.24'; exit 1\n", {
    mode: 0o755,
  });
  process.env.PATH = `${folder}:${PATH}`;
  await expect(tools(undefined)).rejects.toThrow(/go >= 1.24/);
});
