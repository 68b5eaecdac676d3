import { expect, test } from "@jest/globals";
// @ts-expect-error plain JavaScript: it runs before anything is built
import { told } from "./machine.mjs";

test.each([
  ["what the script ended with, as a serial line ends", "Linux 6.1\r\nmargay-exit: 3\r\n", 3],
  ["success", "tests\nmargay-exit: 0\n[ 9.1] reboot: Power down\n", 0],
  ["the guest died", "Linux 6.1\r\n[    8.1] Kernel panic - not syncing\r\n", undefined],
  ["a test's own words are no answer", "expected margay-exit: 0 to be said\n", undefined],
])("%s", (_why, said, code) => expect(told(said)).toBe(code));
