import { relay } from "./relay.ts";

/**
 * One CNI call from this process's environment and standard input, answered on its standard output and by
 * its exit code.
 */
export async function serveStdio(): Promise<void> {
  const env = Object.fromEntries(Object.entries(process.env).map(([name, value]) => [name, value ?? ""]));
  const chunks: Buffer[] = [];
  if (env.CNI_COMMAND !== "VERSION") for await (const chunk of process.stdin) chunks.push(chunk as Buffer); // no encoding is set
  const argv0 = env.MARGAY_ARGV0 ?? "margay-cni"; // Node knows no argv[0] of its own
  const { exitCode, stdout } = await relay({ env, stdin: Buffer.concat(chunks), argv0 });
  process.stdout.write(stdout);
  process.exitCode = exitCode;
}
