// `npm run check`: everything that needs no lab, cheapest first; every part runs even when an earlier one failed.
const PARTS = [
  ["lint", ["node_modules/@biomejs/biome/bin/biome", "check", "."]],
  ["layers", ["packages/dev/src/layers.mjs"]],
  ["types", ["node_modules/typescript/bin/tsc", "-b"]],
  ["generated files", ["--conditions=margay-source", "packages/dev/src/generate.ts", "--check"]],
  [
    "unit tests",
    [
      "--experimental-vm-modules",
      "--no-warnings",
      "node_modules/jest/bin/jest.js",
      "--selectProjects",
      "unit",
    ],
  ],
];

/** @param {(args: string[]) => Promise<number>} node runs Node.js 24 and returns its exit code */
export async function check(node) {
  const failed = [];
  for (const [name, args] of PARTS) {
    process.stderr.write(`— ${name}\n`);
    if ((await node(args)) !== 0) failed.push(name);
  }
  process.stderr.write(failed.length === 0 ? "✓ all checks pass\n" : `✗ failed: ${failed.join(", ")}\n`);
  return failed.length === 0 ? 0 : 1;
}
