// What a source file may import and use (docs/architecture.md, "Packages"), decided on its syntax tree.
import { parseSync } from "@swc/core";

/** Imports go to a lower layer only. */
const LAYERS = {
  net: 0, reconcile: 0, testing: 0,
  api: 1, bgp: 1, iptables: 1, kubernetes: 1, netlink: 1,
  calc: 2, datastore: 2, nftables: 2,
  ipam: 3, daemon: 3,
  agent: 4, bgpd: 4, controllers: 4, cni: 4, ctl: 4, lab: 4,
  margay: 5, dev: 5,
}; // biome-ignore format: one row per layer
/** The two sideways imports there are: the agent serves CNI calls, the lab applies a policy as the CLI does. */
const SIDEWAYS = new Set(["agent>cni", "lab>ctl"]);
const PURE = new Set(["net", "reconcile", "api", "bgp", "calc"]);
const isPure = (name, file) => PURE.has(name) || (name === "ipam" && file === "block.ts");
/** Test files may do I/O and use devDependencies. */
export const isTest = (file) => /\.test\.ts$|(^|\/)(testdata|testing)\//.test(file);
const IMPURE_GLOBALS = new Set([
  "process", "console", "Date", "performance", "crypto", "fetch",
  "setTimeout", "setInterval", "setImmediate", "queueMicrotask", "globalThis", "require",
]); // biome-ignore format: short words

/**
 * @param {{package: string, file: string, source: string, declared: Set<string>}} subject
 *   `file` is relative to the package's src; `declared` are the npm packages it may import
 * @returns {{line: number, text: string}[]}
 */
export function violations(subject) {
  const ast = parseSync(subject.source, { syntax: "typescript", target: "es2024" });
  const test = isTest(subject.file);
  const found = [];
  visit(ast, undefined, (node, parent) => {
    const text = importProblem(node, subject, test) ?? (test ? undefined : impurity(node, parent, subject));
    if (text) found.push({ line: lineOf(subject.source, node.span.start - 1), text });
  });
  return found;
}

/** Depth first over everything that looks like a node. */
function visit(node, parent, see) {
  if (node === null || typeof node !== "object") return;
  if (Array.isArray(node)) {
    for (const child of node) visit(child, parent, see);
    return;
  }
  if (typeof node.type === "string") see(node, parent);
  for (const [field, child] of Object.entries(node)) {
    const name =
      (field === "property" && child?.type === "Identifier") ||
      (field === "key" && child?.type === "Identifier");
    if (field !== "span" && field !== "typeAnnotation" && !name) visit(child, node, see);
  }
}

function specifierOf(node) {
  if (["ImportDeclaration", "ExportNamedDeclaration", "ExportAllDeclaration"].includes(node.type))
    return node.source?.value;
  if (node.type === "CallExpression" && node.callee.type === "Import")
    return node.arguments[0]?.expression?.value;
  return undefined;
}

function importProblem(node, { package: from, file, declared }, test) {
  const specifier = specifierOf(node);
  if (specifier === undefined) return undefined;
  if (specifier.startsWith("node:"))
    return isPure(from, file) && !test ? `${from} is pure and imports ${specifier}` : undefined;
  if (specifier.startsWith(".")) {
    const ups = specifier.split("/").filter((part) => part === "..").length;
    return ups > file.split("/").length - 1
      ? `${specifier} leaves the package; import it by its name`
      : undefined;
  }
  const [, dependency, deep] = /^(@[^/]+\/[^/]+|[^/]+)(\/.*)?$/.exec(specifier);
  if (!declared.has(dependency))
    return `${dependency} is not among the dependencies of packages/${from}/package.json`;
  if (!dependency.startsWith("@margay/")) return undefined;
  const name = dependency.slice("@margay/".length);
  if (deep) return `${specifier} reaches into @margay/${name}; its index.ts is its public face`;
  if (LAYERS[name] >= LAYERS[from] && !SIDEWAYS.has(`${from}>${name}`)) {
    return `${from} (layer ${LAYERS[from]}) must not import ${name} (layer ${LAYERS[name]})`;
  }
}

/** Values only: `Date` as a type is no clock. */
function impurity(node, parent, { package: from, file }) {
  if (!isPure(from, file)) return undefined;
  if (node.type === "MemberExpression" && node.object.value === "Math" && node.property.value === "random") {
    return `${from} is pure and uses Math.random`;
  }
  const typeOnly = parent?.type?.startsWith("Ts");
  if (node.type === "Identifier" && IMPURE_GLOBALS.has(node.value) && !typeOnly)
    return `${from} is pure and uses ${node.value}`;
}

/** swc counts UTF-8 bytes. */
const lineOf = (source, offset) => Buffer.from(source).subarray(0, offset).toString().split("\n").length;
