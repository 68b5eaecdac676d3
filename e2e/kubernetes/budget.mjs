// The time that CI leaves to the cluster tests: a file is begun only while the time that it may take is left.
import { basename } from "node:path";
import { SetupError } from "../../packages/dev/src/progress.mjs";

/**
 * Minutes of each file, as measured on two cores beside other work (load 10 to 13), rounded up. In order of what to know
 * first where the time does not suffice for all.
 */
const USUAL = {
  install: 2,
  objects: 3,
  services: 1,
  bundled: 3,
  external: 2,
  moving: 3,
  calico: 3,
  chart: 1,
};
/** So many times that, or as many minutes, is a slow machine (chart at load 33, at the lowest priority: 3.4); what takes longer hangs. */
const SLOWEST = 5;
const LEAST = 10;
/** Minutes from the tools to the first test: Calico's definitions, Debian packages and images, from nothing 1. */
const READY = 5;

const nameOf = (file) => basename(file, ".spec.ts");
const ORDER = Object.keys(USUAL);

/** Minutes after which a file of tests has failed. */
export const allowed = (file) => Math.max(LEAST, SLOWEST * (USUAL[nameOf(file)] ?? 3));

/** The next of these files that there is time for, the most telling first; none when it does not suffice for any. */
export const next = (files, minutesLeft) =>
  files
    .filter((file) => allowed(file) <= minutesLeft)
    .sort((a, b) => ORDER.indexOf(nameOf(a)) - ORDER.indexOf(nameOf(b)))[0];

/** Minutes that the tools may take to build, if the shortest of the files is to be run after them; none left is 0. */
export const forBuilding = (files, minutesLeft) =>
  Math.max(0, minutesLeft - READY - Math.min(...files.map(allowed)));

/** Minutes as the environment says them; without a word of it there is no bound. */
export function minutes(text = "Infinity") {
  const given = text.trim() === "" ? Number.NaN : Number(text);
  if (Number.isNaN(given)) throw new SetupError(`MARGAY_KUBERNETES_MINUTES=${text} is no number of minutes`);
  return given;
}
