import {
  type AnyDefinition,
  definitionOf,
  type JsonSchema,
  kindPrefix,
  kinds,
  specSchema,
} from "@margay/api";
import { stringify } from "yaml";

/** docs/reference/resources.md: every kind with its fields and an example that a test parses. */
export function resourcesPage(): string {
  const chapters = kinds.flatMap((kind) => definitionOf(kind) ?? []).map(chapter);
  const index = kinds.map(
    (kind) => `- [${kind}](#${kind.toLowerCase()}): ${definitionOf(kind)?.description}`,
  );
  return [INTRODUCTION, index.join("\n"), ...chapters].join("\n\n").concat("\n");
}

const INTRODUCTION = `# Resources

Made by \`npm run generate\` from \`packages/api\`. Do not edit.

Every document has \`apiVersion: margay.dev/v1\` (\`projectcalico.org/v3\` is accepted and means the same), \`kind\`, \`metadata\` with
\`name\` (and \`namespace\` for namespaced kinds, \`default\` when absent), and \`spec\`. Unknown fields are kept, warned of, and have no
effect. The tables list what \`spec\` may hold: \`[]\` is an item of a list, \`*\` any key.`;

function chapter(definition: AnyDefinition): string {
  const { kind, plural, aliases, scope, description, example } = definition;
  const key = `${kindPrefix(kind)}${scope === "namespaced" ? "<namespace>/" : ""}<name>`;
  return `## ${kind}

${description}

${scope === "namespaced" ? "Namespaced" : "Cluster-wide"}. On the command line: ${[plural, ...aliases].map(code).join(", ")}. Key: ${code(key)}.

| field | type | default | meaning |
|---|---|---|---|
${rows(specSchema(kind, { settings: true })).join("\n")}

\`\`\`yaml
${stringify(example, { lineWidth: 100 }).trimEnd()}
\`\`\``;
}

const code = (text: string): string => `\`${text}\``;

function rows(schema: JsonSchema, path = ""): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([name, field]) => {
    const at = `${path}${name}`;
    const required = schema.required?.includes(name) ? "required" : "";
    const cells = [
      code(at),
      typeOf(field),
      field.default === undefined ? required : code(JSON.stringify(field.default)),
      field.description,
    ];
    return [
      `| ${cells.map((cell) => (cell ?? "").replaceAll("|", "\\|")).join(" | ")} |`,
      ...inner(field, at),
    ];
  });
}

function inner(field: JsonSchema, path: string): string[] {
  if (field.items) return inner(field.items, `${path}[]`);
  if (field.additionalProperties) return inner(field.additionalProperties, `${path}.*`);
  return field.properties ? rows(field, `${path}.`) : [];
}

function typeOf(field: JsonSchema): string {
  if (field.enum) return field.enum.map((value) => code(String(value))).join(" ");
  if (field["x-kubernetes-int-or-string"]) return "number or text";
  if (field.items) return `list of ${typeOf(field.items)}`;
  if (field.additionalProperties) return `map to ${typeOf(field.additionalProperties)}`;
  return `${WORDS[field.type ?? "any"] ?? field.type}${range(field)}`;
}

const WORDS: Readonly<Record<string, string>> = {
  string: "text",
  integer: "whole number",
  boolean: "true or false",
  any: "anything",
};

const range = ({ minimum, maximum }: JsonSchema): string =>
  minimum === undefined && maximum === undefined ? "" : ` ${minimum ?? ""}–${maximum ?? ""}`;
