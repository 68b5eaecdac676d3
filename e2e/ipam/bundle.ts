import { spawnSync } from "node:child_process";
import { cpSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { build } from "esbuild";

/** What CommonJS packages take for granted, inside an ES module. */
const REQUIRE = `import { createRequire } from "node:module"; const require = createRequire(import.meta.url);`;

/** How to start a program of the soak: what node is given, and its environment. */
export interface Program {
  readonly path: string;
  readonly env: NodeJS.ProcessEnv;
}

/**
 * The program as one file below `directory`, compiled once. From its sources it starts in 0.65 s of processor time, so in
 * 0.2: it is killed and started some thousand times, and that was most of what the soak did.
 */
export async function bundled(source: string, directory: string): Promise<Program> {
  const path = join(directory, "program", "program.mjs");
  await build({
    ...{ entryPoints: [source], outfile: path, bundle: true, logLevel: "silent" },
    ...{ platform: "node", target: "node24", format: "esm", conditions: ["margay-source"] },
    banner: { js: REQUIRE },
    define: { __dirname: "import.meta.dirname", __filename: "import.meta.filename" },
  });
  const etcd3 = dirname(createRequire(import.meta.url).resolve("etcd3/package.json"));
  cpSync(join(etcd3, "proto"), join(directory, "proto"), { recursive: true }); // one folder above the code that reads it
  const env = { ...process.env, NODE_COMPILE_CACHE: join(directory, "compiled") };
  spawnSync(process.execPath, [path], { env, stdio: "ignore" }); // without a parent it ends at once; killed ones would not keep the cache
  return { path, env };
}
