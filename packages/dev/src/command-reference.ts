/** Commands with a page of help each, as words after `margay`. */
const COMMANDS = [
  ["get"],
  ["apply"],
  ["delete"],
  ["ipam", "show"],
  ["ipam", "check"],
  ["ipam", "why"],
  ["ipam", "release"],
  ["ipam", "split"],
  ["ipam", "configure"],
  ["bgp", "peers"],
  ["bgp", "routes"],
  ["node", "status"],
  ["wait"],
  ["lab"],
  ["lab", "demo"],
  ["lab", "up"],
  ["lab", "pod", "add"],
  ["lab", "exec"],
  ["agent"],
  ["bgpd"],
] as const;

/** docs/reference/cli.md: the help texts, as `help` gives them for the words of a command. */
export function commandsPage(help: (words: readonly string[]) => string): string {
  const chapters = COMMANDS.map((words) => `## margay ${words.join(" ")}\n\n${block(help(words))}`);
  return `# Commands\n\nMade by \`npm run generate\` from the commands' own help. Do not edit.\n\n${block(help([]))}\n\n${chapters.join("\n\n")}\n`;
}

const block = (text: string): string => `\`\`\`text\n${text.trimEnd()}\n\`\`\``;
