import fc from "fast-check";

/**
 * Before each test file: what is random is the same in every run, so that a test that fails fails again. MARGAY_SEED=<number>
 * picks another beginning, MARGAY_SEED=random one that no run had: a failure prints it. Tests read it with
 * `fc.readConfigureGlobal().seed`.
 */
const { MARGAY_SEED = "20261123" } = process.env;
const seed = MARGAY_SEED === "random" ? Date.now() % 2 ** 31 : Number(MARGAY_SEED);
if (!Number.isInteger(seed))
  throw new Error(`MARGAY_SEED is "${MARGAY_SEED}": an integer or "random" is meant`);
fc.configureGlobal({ seed });
