/** The cluster tests alone: `npm run e2e:kubernetes` (run.mjs) starts jest with it inside namespaces of their own. */
import root from "../../jest.config.mjs";

const [unit] = root.projects;
export default {
  ...unit,
  testTimeout: 900_000, // for what hangs: waits have bounds of their own, which a machine that is too busy stretches
  displayName: "kubernetes",
  rootDir: "../..",
  testMatch: ["<rootDir>/e2e/kubernetes/**/*.spec.ts"],
};
