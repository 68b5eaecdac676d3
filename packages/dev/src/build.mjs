// Builds what runs: the netlink addon, the CNI relay, and the bundle packages/margay/dist/margay.mjs.
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { must, run, SetupError } from "./progress.mjs";

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const NODE = join(ROOT, "node_modules/.bin/node");
const DIST = join(ROOT, "packages/margay/dist");
const BUNDLE = join(DIST, "margay.mjs");
const RELAY = join(DIST, "margay-cni");
const NATIVE = join(ROOT, "packages/netlink/native");
const ADDON = join(NATIVE, `build/margay-netlink-${process.arch}.node`);
const CNI_RELAY = join(ROOT, "packages/cni/relay/relay.c");

/** The C addon of packages/netlink. @returns false when up to date */
export async function addon(log) {
  if (!stale([ADDON], [join(NATIVE, "margay-netlink.c")])) return false;
  await needGcc();
  await must(NODE, [join(NATIVE, "build.mjs")], { cwd: ROOT, log, what: "building the netlink addon" });
}

/** The static relay that the container runtime executes. @returns false when up to date */
export async function relay(log) {
  if (!stale([RELAY], [CNI_RELAY])) return false;
  await needGcc();
  mkdirSync(DIST, { recursive: true });
  await must("gcc", ["-static", "-Os", "-s", "-o", RELAY, CNI_RELAY], {
    log,
    what: "building the CNI relay",
  });
}

/** One executable from every package's source, split so that a command loads only what it needs. @returns false when up to date */
export async function bundle() {
  const sources = readdirSync(join(ROOT, "packages")).flatMap((name) =>
    files(join(ROOT, "packages", name, "src")),
  );
  if (!stale([BUNDLE], [...sources, ADDON, join(ROOT, "package-lock.json"), fileURLToPath(import.meta.url)]))
    return false;
  const { build } = await import("esbuild");
  rmSync(join(DIST, "chunks"), { recursive: true, force: true });
  await build({
    absWorkingDir: ROOT,
    entryPoints: { margay: join(ROOT, "packages/margay/src/main.ts") },
    outdir: DIST,
    outExtension: { ".js": ".mjs" },
    chunkNames: "chunks/[name]-[hash]",
    bundle: true,
    splitting: true,
    platform: "node",
    target: "node24",
    format: "esm",
    conditions: ["margay-source"],
    banner: { js: REQUIRE },
    define: { __dirname: "import.meta.dirname", __filename: "import.meta.filename" },
    sourcemap: true,
    legalComments: "none",
    logLevel: "silent",
  }).catch((error) => {
    const [first] = error.errors ?? [];
    throw new SetupError(
      `bundle: ${first ? `${first.location?.file}:${first.location?.line}: ${first.text}` : error.message}`,
    );
  });
  besideChunks();
}

/** What CommonJS packages take for granted, inside an ES module. */
const REQUIRE = `import { createRequire as margayRequire } from "node:module"; const require = margayRequire(import.meta.url);`;

/** Files that code in chunks/ looks for one folder above itself: etcd3's protocol and the addon. */
function besideChunks() {
  cpSync(join(ROOT, "node_modules/etcd3/proto"), join(DIST, "proto"), { recursive: true });
  cpSync(join(NATIVE, "build"), DIST, { recursive: true });
}

const needGcc = async () => {
  if ((await run("gcc", ["--version"])).code !== 0)
    throw new SetupError("gcc does not work; as root: apt-get install gcc libc6-dev");
};

function files(folder) {
  if (!existsSync(folder)) return [];
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

const time = (path) => statSync(path).mtimeMs;

/** Is an output missing or older than a source? */
function stale(outputs, sources) {
  if (outputs.length === 0 || !outputs.every((path) => existsSync(path))) return true;
  return Math.min(...outputs.map(time)) < Math.max(...sources.map(time));
}
