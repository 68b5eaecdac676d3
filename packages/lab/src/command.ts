import type { CommandModule } from "yargs";

/** `margay lab`. */
export const command: CommandModule = {
  command: "lab",
  describe: "a whole cluster on this machine",
  handler: () => {},
};
