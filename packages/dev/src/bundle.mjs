// The bundle packages/margay/dist/margay.mjs with its chunks.
import { cpSync, mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ADDON, DIST, files, ROOT, stale, time } from "./outputs.mjs";
import { SetupError } from "./progress.mjs";

const BUNDLE = join(DIST, "margay.mjs");

/** One executable from every package's source, split so that a command loads only what it needs. @returns false when up to date */
export async function bundle() {
  const sources = readdirSync(join(ROOT, "packages")).flatMap((name) =>
    files(join(ROOT, "packages", name, "src")),
  );
  if (!stale([BUNDLE], [...sources, ADDON, join(ROOT, "package-lock.json"), fileURLToPath(import.meta.url)]))
    return false;
  const { build, stop } = await import("esbuild");
  const { outputFiles } = await build({
    write: false,
    absWorkingDir: ROOT,
    entryPoints: {
      margay: join(ROOT, "packages/margay/src/main.ts"),
      "wiring-worker": join(ROOT, "packages/cni/src/wiring-worker.ts"), // a thread's own
    },
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
    plugins: [requireBuiltins],
    minifyWhitespace: true, // names stay: they are in stacks and logs
    minifySyntax: true,
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
  await stop(); // its process would keep 600 MB until the tests, or whatever this is for, are over
  besideChunks();
  replace(outputFiles);
}

const KEEP_MS = 3_600_000;

/** Chunks are named for their content and the entry comes last: a lab that runs meanwhile still finds its own. */
function replace(outputs) {
  const chunks = join(DIST, "chunks");
  mkdirSync(chunks, { recursive: true });
  for (const { path, contents } of outputs.toSorted((a, b) => (a.path === BUNDLE) - (b.path === BUNDLE))) {
    writeFileSync(`${path}.${process.pid}`, contents, { mode: path === BUNDLE ? 0o755 : 0o644 });
    renameSync(`${path}.${process.pid}`, path);
  }
  const current = new Set(outputs.map(({ path }) => path));
  const old = files(chunks).filter((path) => !current.has(path) && time(path) < Date.now() - KEEP_MS);
  for (const path of old) rmSync(path);
}

/** What CommonJS packages take for granted, inside an ES module. */
const REQUIRE = `import { createRequire as margayRequire } from "node:module"; const require = margayRequire(import.meta.url);`;

/**
 * Node's own modules come by `require`: `import` reads every property of them, and reading `http.WebSocket` loads undici,
 * 12 MB that nobody uses (docs/adr/0003-footprint.md).
 */
const requireBuiltins = {
  name: "require-builtins",
  setup(bundle) {
    const builtin = ({ path, kind }) =>
      kind === "import-statement" && isBuiltin(path) && path !== "node:module"
        ? { path, namespace: "builtin", sideEffects: false }
        : undefined;
    bundle.onResolve({ filter: /^[a-z_:/]+$/ }, builtin);
    bundle.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

/**
 * Files that code in chunks/ looks for one folder above itself: etcd3's protocol and the addon. A running daemon has the addon
 * mapped: writing into that file would kill it (SIGSEGV), so another takes its name.
 */
function besideChunks() {
  cpSync(join(ROOT, "node_modules/etcd3/proto"), join(DIST, "proto"), { recursive: true });
  for (const path of files(dirname(ADDON))) {
    const copy = join(DIST, basename(path));
    cpSync(path, `${copy}.${process.pid}`);
    renameSync(`${copy}.${process.pid}`, copy);
  }
}
