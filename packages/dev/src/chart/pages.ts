import { customKinds, definitions } from "@margay/api";
import { stringify } from "yaml";
import { values } from "./values.ts";
import type { Value } from "./words.ts";

const NOTE = "Made by `npm run generate` from packages/dev/src/chart/values.ts. Do not edit.";

/** charts/margay/values.yaml: every default with what it means above it. */
export const valuesYaml = (): string => `# ${NOTE}\n${lines(values, "").join("\n")}\n`;

function lines({ properties = {} }: Value, indent: string): string[] {
  return Object.entries(properties).flatMap(([name, value]) => {
    const comment = `${indent}# ${value.description}`;
    if (isGroup(value)) return [comment, `${indent}${name}:`, ...lines(value, `${indent}  `)];
    const body = stringify({ [name]: value.default }, { lineWidth: 0, version: "1.1" }).trimEnd();
    return [comment, ...body.split("\n").map((line) => indent + line)];
  });
}

const isGroup = ({ properties, default: byDefault }: Value): boolean =>
  properties !== undefined && byDefault === undefined;

/** charts/margay/values.schema.json, with which Helm refuses what is not right. */
export function valuesSchema(): string {
  const { properties, ...rest } = values;
  const schema = {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "charts/margay",
    ...rest,
    // what Helm hands to every chart
    properties: { ...properties, global: { type: "object", description: "Values of all charts." } },
  };
  return `${JSON.stringify(schema, undefined, 2)}\n`;
}

/** docs/reference/values.md. */
export const valuesPage = (): string =>
  `# Values of charts/margay

${NOTE}

Names and types are checked by \`values.schema.json\`: Helm refuses what is not here. What an item of \`pools\`, \`bgpPeers\` and
\`bgpFilters\` may hold beside its \`name\`, and what \`bgpConfiguration\` and \`felixConfiguration\` may hold, is the spec of
IPPool, BGPPeer, BGPFilter, BGPConfiguration and FelixConfiguration in [resources.md](resources.md).

| value | type | default | meaning |
|---|---|---|---|
${rows(values, "").join("\n")}
`;

function rows({ properties = {} }: Value, path: string): string[] {
  return Object.entries(properties).flatMap(([name, value]) => {
    const at = `${path}${name}`;
    if (isGroup(value)) return [`| **${at}** |  |  | ${value.description} |`, ...rows(value, `${at}.`)];
    const cells = [
      `\`${at}\``,
      typeOf(value),
      `\`${JSON.stringify(value.default)}\``,
      value.description ?? "",
    ];
    return [`| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`];
  });
}

function typeOf({ type, enum: choices, minimum, maximum }: Value): string {
  if (choices) return choices.map((value) => `\`${value}\``).join(" ");
  const range = minimum === undefined || maximum === undefined ? "" : ` ${minimum}–${maximum}`;
  const words = { integer: "whole number", array: "list", string: "text", boolean: "true or false" } as const;
  const types = [type ?? []].flat().map((one) => (words as Record<string, string>)[one] ?? one);
  return types.join(" or ") + range;
}

/** charts/margay/templates/_kinds.tpl: the resources of ours that the controllers read, as RBAC names them. */
export const kindsTemplate = (): string =>
  `{{/* ${NOTE.replace("chart/values.ts", "chart/pages.ts")} */}}
{{- define "margay.kinds" -}}
[${customKinds.map((kind) => definitions[kind].plural).join(", ")}]
{{- end }}
`;
