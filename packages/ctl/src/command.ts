import { storeFlags as flagsOfStore, openStore, type StoreOptions } from "@margay/daemon";
import type { Store } from "@margay/datastore";
import type { ArgumentsCamelCase, Argv, CommandModule } from "yargs";
import { FORMS } from "./terminal.ts";

/** Opens the datastore for one action and closes it whatever happens. */
export async function withStore<T>(options: StoreOptions, action: (store: Store) => Promise<T>): Promise<T> {
  const store = openStore(options);
  try {
    return await action(store);
  } finally {
    await store.close();
  }
}

/** A command whose answer is no: the exit code says so, what was printed says why. */
export function exitUnless(ok: boolean): void {
  if (!ok) process.exitCode = 1;
}

export const output = {
  alias: "o",
  choices: FORMS,
  default: "table",
  describe: "Form of the output",
} as const;
export const namespace = {
  alias: "n",
  type: "string",
  default: "default",
  describe: "Namespace, for namespaced kinds",
} as const;
/** No yargs array: those take no "-", and would swallow what follows. */
export const filename = {
  alias: "f",
  type: "string",
  coerce: (value: string | string[]): string[] => [value].flat(),
  describe: "YAML or JSON file, directory of such, or - for standard input; may be repeated",
} as const;

/** The daemons' own flags, with the type that their handler gets. */
export const storeFlags = <T>(yargs: Argv<T>): Argv<T & StoreOptions> => flagsOfStore(yargs);

interface Command<A> {
  readonly command: string;
  readonly describe: string;
  readonly builder: (yargs: Argv) => Argv<A>;
  readonly handler: (args: ArgumentsCamelCase<A>) => Promise<void>;
}

/** Gives `handler` the types of the arguments that `builder` declares; yargs' own CommandModule forgets them. */
export const command = <A>(module: Command<A>): CommandModule => module as unknown as CommandModule;

/** `margay ipam` and its like: nothing by themselves. */
export const group = (name: string, describe: string, members: CommandModule[]): CommandModule => ({
  command: name,
  describe,
  builder: (yargs) => yargs.command(members).demandCommand(1, `which of margay ${name}'s commands?`).strict(),
  handler: () => {},
});
