import TestRunner from "jest-runner";

/** Labs are timed and use both cores: one e2e file at a time, after the unit tests, within the same jest run. */
export default class SerialRunner extends TestRunner {
  isSerial = true;
}
