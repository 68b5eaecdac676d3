import * as z from "zod";
import type { Between } from "./between.ts";
import type { Issue } from "./errors.ts";
import { labelName, labelValue, nameOf } from "./fields/names.ts";
import { text } from "./fields/text.ts";
import { quickly } from "./quick.ts";

/** The group and version of every Margay resource. */
export const API_VERSION = "margay.dev/v1";

export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  /** The datastore revision of the last write, decimal; absent before the first. */
  readonly resourceVersion?: string;
  readonly uid?: string;
  readonly creationTimestamp?: string;
}

export interface Resource<K extends string = string, Spec = unknown, Status = unknown> {
  readonly apiVersion: typeof API_VERSION;
  readonly kind: K;
  readonly metadata: Metadata;
  readonly spec: Spec;
  readonly status?: Status;
}

/** `T` with every object and array in it read-only: specs are values, changed by making new ones. */
export type Frozen<T> = T extends (infer E)[]
  ? readonly Frozen<E>[]
  : T extends object
    ? { readonly [P in keyof T]: Frozen<T[P]> }
    : T;

/** The read-only type of what a schema accepts, after defaults. */
export type SpecOf<S extends z.ZodType> = Frozen<z.output<S>>;

/** One column of `margay get`. `wide` columns appear only with `-o wide`. */
export interface Column<R = Resource> {
  readonly title: string;
  readonly wide?: boolean;
  /** A method, so that a column of one kind may stand among those of any. */
  value(resource: R): string | number | boolean | undefined;
}

/** Everything Margay knows about a kind; validation, storage, CLI, CRD and reference page come from it. */
export interface Definition<K extends string = string, Spec = unknown> {
  readonly kind: K;
  /** Lower case; part of the datastore key and a name the CLI accepts. */
  readonly plural: string;
  readonly singular: string;
  readonly aliases: readonly string[];
  readonly scope: "cluster" | "namespaced";
  readonly description: string;
  /** The spec alone, with a description per field. */
  readonly spec: z.ZodType<Spec>;
  /** For kinds merged from several objects: the fields with their defaults, which the spec leaves out. */
  readonly settings?: z.ZodType;
  /** Rules between fields of the spec, which holds them already: for the CRDs. */
  readonly between?: readonly Between[];
  /** The whole document: apiVersion, kind, metadata, spec, status. */
  readonly schema: z.ZodType<Resource<K, Spec>>;
  /** Reads a document of the datastore, which it may change; undefined: `schema` is to be asked, of another copy (see `quickly`). */
  quick(document: unknown): Resource<K, Spec> | undefined;
  readonly columns: readonly Column<Resource<K, Spec>>[];
  /**
   * What is wrong with a spec that is written now, by path, though values of former versions have it: those stay in force as they
   * were. A method, as in Column.
   */
  outdated?(spec: Spec): readonly Issue[];
  /** Fields that have no effect where a spec has them, and why: taken, as Calico takes them, and warned of. A method, as in Column. */
  idle?(spec: Spec): Idle;
  readonly example: unknown;
}

/** By field of the spec. */
export type Idle = Readonly<Record<string, string>>;

/** How such a field is described. */
export const withoutEffect = (why: string): string => `Without effect: ${why}.`;

/** What a resource file states; `define` adds what all kinds share. */
interface Statement<K extends string, S extends z.ZodType> {
  readonly kind: K;
  readonly plural: string;
  readonly aliases: readonly string[];
  readonly scope: "cluster" | "namespaced";
  readonly description: string;
  readonly spec: S;
  readonly settings?: z.ZodType;
  readonly between?: readonly Between[];
  /** Why a name is refused; DNS-1123 subdomain by default. */
  readonly name?: (name: string) => string | undefined;
  /** Defaults that depend on other fields. */
  readonly complete?: (spec: z.output<S>) => z.output<S>;
  /** A rule that needs the name as well as the spec. */
  readonly check?: (resource: {
    name: string;
    spec: z.output<S>;
  }) => readonly { path: string; message: string }[];
  readonly columns: readonly Column<Resource<K, SpecOf<S>>>[];
  outdated?(spec: SpecOf<S>): readonly Issue[];
  idle?(spec: SpecOf<S>): Idle;
  readonly example: { metadata: Metadata; spec: z.input<S> };
}

/** A kind's definition from its statement. */
export function define<K extends string, S extends z.ZodType>(
  statement: Statement<K, S>,
): Definition<K, SpecOf<S>> {
  const { kind, plural, aliases, scope, description, columns, example } = statement;
  const whole = z.object({
    apiVersion: z.literal(API_VERSION),
    kind: z.literal(kind),
    metadata: metadata(scope, statement.name ?? nameOf),
    spec: statement.spec,
    status: z.record(z.string(), z.unknown()).optional(),
  });
  const checked = whole.superRefine((document, context) => {
    const { metadata, spec } = document as { metadata: Metadata; spec: z.output<S> };
    for (const { path, message } of statement.check?.({ name: metadata.name, spec }) ?? [])
      context.addIssue({ code: "custom", path: path.split("."), message });
  });
  const completed = checked.transform((document) => {
    const spec = (document as { spec: z.output<S> }).spec;
    return { ...document, spec: statement.complete ? statement.complete(spec) : spec };
  });
  const read = quickly(whole);
  const quick = (document: unknown): Resource<K, SpecOf<S>> | undefined => {
    const found = read(document) as { metadata: Metadata; spec: z.output<S> } | undefined;
    if (!found || statement.check?.({ name: found.metadata.name, spec: found.spec }).length) return undefined;
    const spec = statement.complete ? statement.complete(found.spec) : found.spec;
    return { ...found, spec } as unknown as Resource<K, SpecOf<S>>;
  };
  return {
    ...{ kind, plural, singular: kind.toLowerCase(), aliases, scope, description, columns },
    ...(statement.settings && { settings: statement.settings }),
    ...(statement.between && { between: statement.between }),
    ...(statement.outdated && { outdated: statement.outdated }),
    ...(statement.idle && { idle: statement.idle }),
    // The read-only view of what the schemas give; nothing is different at run time.
    spec: statement.spec as unknown as z.ZodType<SpecOf<S>>,
    quick,
    schema: completed as unknown as z.ZodType<Resource<K, SpecOf<S>>>,
    example: { apiVersion: API_VERSION, kind, ...example },
  };
}

const metadata = (scope: Definition["scope"], why: (name: string) => string | undefined) =>
  z.object({
    name: text(why),
    namespace:
      scope === "namespaced"
        ? text(nameOf).default("default")
        : text(() => "must be absent: the kind is not namespaced").optional(),
    labels: z.record(labelName, labelValue).optional(),
    annotations: z.record(z.string(), z.string()).optional(),
    resourceVersion: z.string().optional(),
    uid: z.string().optional(),
    creationTimestamp: z.string().optional(),
  });
