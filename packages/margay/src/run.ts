import { readFileSync } from "node:fs";
import yargs, { type CommandModule } from "yargs";
import { catalogue, type Entry } from "./catalogue.ts";

const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
  version: string;
};

/**
 * The `margay` executable. Only the package of the command called is imported; of the others the help line stands here.
 * @returns the process's exit code
 */
export async function run(argv: readonly string[]): Promise<number> {
  const called = catalogue.find((entry) => entry.name === argv.find((word) => !word.startsWith("-")));
  const parser = yargs()
    .scriptName("margay")
    .locale("en")
    .usage("$0 <command>\n\nEvery pod an address, a route and a policy, with plain Linux and plain BGP.")
    .version(version)
    .alias("help", "h")
    .demandCommand(1, "which command?")
    .recommendCommands()
    .strict()
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message, error) => {
      throw error ?? new UsageError(message); // for the one catch below
    });
  for (const entry of catalogue) parser.command(entry === called ? await moduleOf(entry) : stub(entry));
  parser.command({
    command: "version",
    describe: "versions of Margay and of what it runs on",
    handler: printVersion,
  });
  parser.completion("completion", "print a completion script for bash or zsh");
  try {
    await parser.parseAsync([...argv]);
    return Number(process.exitCode ?? 0);
  } catch (error) {
    process.stderr.write(`margay: ${explain(error as Error)}\n`);
    return 1;
  }
}

const stub = ({ name, describe }: Entry): CommandModule => ({ command: name, describe, handler: () => {} });

async function moduleOf({ name, load }: Entry): Promise<CommandModule> {
  const words = (module: CommandModule) => [module.command ?? []].flat().map((text) => text.split(" ")[0]);
  const found = (await load()).find((module) => words(module).includes(name));
  if (!found) throw new Error(`no command module named ${name}`);
  return found;
}

/** What yargs found wrong with the words of the command line. */
class UsageError extends Error {}

/** Errors with a code speak for themselves, and so does yargs; for any other the stack is what helps. */
function explain(error: Error): string {
  if (error instanceof UsageError || error.name === "YError") return `${error.message} (margay --help)`;
  return "code" in error ? error.message : (error.stack ?? String(error));
}

function printVersion(): void {
  process.stdout.write(
    `margay ${version}, Node.js ${process.version}, ${process.platform} ${process.arch}\n`,
  );
}
