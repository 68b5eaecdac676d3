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
  watchOutput();
  const isCompleting = argv[0] === "--get-yargs-completions";
  const words = isCompleting ? argv.slice(2) : argv; // after it stands the program's name
  const called = catalogue.find((entry) => entry.name === words.find((word) => !word.startsWith("-")));
  const [first, shell] = argv;
  if (first === "completion" && shell) process.env.SHELL = shell; // where yargs looks
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
    .check(numbersAreNumbers)
    .fail((message, error) => {
      throw error ?? new UsageError(message); // for the one catch below
    });
  for (const entry of catalogue) parser.command(entry === called ? await moduleOf(entry) : stub(entry));
  parser.command({
    command: "version",
    describe: "versions of Margay and of what it runs on",
    handler: printVersion,
  });
  parser.completion(
    "completion",
    "print a completion script for bash or zsh; that of $SHELL when none is named",
    (current: string, args: CompletionArgs, defaults: Defaults, done: (found: string[]) => void) =>
      void complete(args, { current, defaults }).then(done),
  );
  try {
    await parser.parseAsync(first === "completion" ? [first] : [...argv]);
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (isCompleting) return 0; // half a command line: what is wrong with it is no news
    process.stderr.write(`margay: ${explain(error as Error, called)}\n`);
    return 1;
  }
}

/** Whoever has read enough of it ends nothing (`margay get nodes | head -1`); what cannot be written is no success. */
function watchOutput(): void {
  process.stderr.on("error", () => {}); // then nothing can be said
  process.stdout
    .on("error", () => {})
    .once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") return;
      process.stderr.write(`margay: the output cannot be written: ${error.message}\n`);
      process.exitCode = 1;
    });
}

/** Of a word that is no number yargs makes NaN, and goes on. */
function numbersAreNumbers(args: Readonly<Record<string, unknown>>): true {
  const wrong = Object.keys(args).find((name) => Number.isNaN(args[name]));
  if (wrong === undefined) return true;
  throw new UsageError(`${wrong} must be a number`);
}

interface CompletionArgs {
  readonly _: readonly (string | number)[];
  readonly runDir?: string;
}
/** Asks yargs for what it knows itself: verbs, options and choices. */
type Defaults = (onCompleted: (error: Error | null, found: string[] | undefined) => void) => void;

/** Candidates of our own where there are any, else those of yargs. `_`: the program, words, and the one being written. */
async function complete(
  { _: all, runDir }: CompletionArgs,
  { current, defaults }: { readonly current: string; readonly defaults: Defaults },
): Promise<string[]> {
  const { candidates } = await import("@margay/ctl");
  const found = current.startsWith("-") ? undefined : await candidates(all.slice(1, -1).map(String), runDir);
  if (found) return found.filter((word) => word.startsWith(current));
  return new Promise((resolve) => defaults((_error, known) => resolve(known ?? [])));
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
function explain(error: Error, called: Entry | undefined): string {
  const help = ["margay", ...(called ? [called.name] : []), "--help"].join(" ");
  if (error instanceof UsageError || error.name === "YError") return `${error.message} (${help})`;
  return "code" in error ? error.message : (error.stack ?? String(error));
}

function printVersion(): void {
  process.stdout.write(
    `margay ${version}, Node.js ${process.version}, ${process.platform} ${process.arch}\n`,
  );
}
