/** Two projects: `unit` (beside the source, no privileges beyond unshare) and `e2e` (the lab; one file at a time). */
const common = {
  testEnvironment: "node",
  testEnvironmentOptions: { customExportConditions: ["margay-source", "node", "import", "default"] },
  extensionsToTreatAsEsm: [".ts"],
  setupFiles: ["<rootDir>/packages/testing/src/seed.ts"],
  transform: {
    "^.+\\.ts$": [
      "@swc/jest",
      { jsc: { target: "es2024", parser: { syntax: "typescript" } }, module: { type: "es6" } },
    ],
  },
};

export default {
  testTimeout: 900_000, // for what hangs, on a slow machine; what must be quick says so itself
  projects: [
    { ...common, displayName: "unit", testMatch: ["<rootDir>/packages/*/src/**/*.test.ts"] },
    {
      ...common,
      displayName: "e2e",
      testMatch: ["<rootDir>/e2e/**/*.test.ts"],
      runner: "<rootDir>/e2e/serial-runner.mjs",
    },
  ],
};
