import { relay } from "./relay.ts";

/** The fallback plugin, where no compiler built relay/relay.c: environment and standard input in, answer and exit code out. */
const env = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? ""]));
const chunks: Buffer[] = [];
if (env.CNI_COMMAND !== "VERSION") for await (const chunk of process.stdin) chunks.push(chunk as Buffer); // no encoding is set
const { exitCode, stdout } = await relay({
  ...{ env, stdin: Buffer.concat(chunks) },
  argv0: env.MARGAY_ARGV0 ?? "margay-cni", // Node knows no argv[0] of its own
});
process.stdout.write(stdout);
process.exitCode = exitCode;
