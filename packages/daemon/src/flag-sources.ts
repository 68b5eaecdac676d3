import { readFileSync } from "node:fs";
import { parse, YAMLError } from "yaml";
import type { Argv, Options } from "yargs";

type Values = Record<string, unknown>;

/** What a file that `--config` names means to a command which has another use for some: values of flags, or undefined for a file of flags. */
export type OtherFile = (values: Values, path: string) => Values | undefined;

/**
 * Adds options that can be set by flag, by environment variable and in the YAML file that `--config` names,
 * in this order of precedence. Only the variables of these options are read: in a Kubernetes pod others may
 * begin with MARGAY_ too.
 */
export function withSources<T, O extends Record<string, Options>>(
  yargs: Argv<T>,
  options: O,
  other: OtherFile = () => undefined,
) {
  const environment = fromEnvironment([...Object.keys(options), "config"]);
  const { config } = environment;
  const read = (path: string) => {
    const values = fromFile(path);
    return other(values, path) ?? values;
  };
  const below = typeof config === "string" ? read(config) : {};
  return yargs
    .options(options)
    .config("config", "YAML file with values for these flags", (path: string) => ({
      ...read(path),
      ...environment,
    }))
    .config({ ...below, ...environment })
    .epilogue("Each flag may also be given as environment variable MARGAY_<FLAG>, as in MARGAY_RUN_DIR.");
}

/** The environment variable of a flag: `etcd-ca` -> `MARGAY_ETCD_CA`. */
const variableOf = (flag: string): string => `MARGAY_${flag.toUpperCase().replaceAll("-", "_")}`;

function fromEnvironment(flags: readonly string[]): Values {
  const found = flags.map((flag) => [flag, process.env[variableOf(flag)]] as const);
  return Object.fromEntries(found.filter(([, value]) => value !== undefined && value !== ""));
}

/** Errors name the file, and the line when it is not YAML. */
function fromFile(path: string): Values {
  let values: unknown;
  try {
    values = parse(readFileSync(path, "utf8"));
  } catch (error) {
    const why =
      error instanceof YAMLError ? `is not YAML: ${error.message}` : `cannot be read: ${String(error)}`;
    throw new Error(`--config ${path} ${why}`, { cause: error });
  }
  if (typeof values === "object" && !Array.isArray(values)) return { ...values };
  throw new Error(`--config ${path} must be a map of flags to values, as in "run-dir: /run/margay"`);
}
