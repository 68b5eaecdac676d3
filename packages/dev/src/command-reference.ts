/** Commands with a page of help each, as words after `margay`. */
const COMMANDS = [
  ["get"],
  ["apply"],
  ["delete"],
  ["import", "calico"],
  ["ipam", "show"],
  ["ipam", "check"],
  ["ipam", "why"],
  ["ipam", "release"],
  ["ipam", "split"],
  ["ipam", "configure"],
  ["bgp", "peers"],
  ["bgp", "routes"],
  ["bgp", "refresh"],
  ["bgp", "reset"],
  ["bgp", "shutdown"],
  ["bgp", "start"],
  ["node", "status"],
  ["wait"],
  ["explain"],
  ["policy", "show"],
  ["policy", "domains"],
  ["attach"],
  ["detach"],
  ["lab"],
  ["lab", "demo"],
  ["lab", "up"],
  ["lab", "pod", "add"],
  ["lab", "exec"],
  ["agent"],
  ["bgpd"],
  ["controllers"],
  ["cni"],
  ["cleanup"],
] as const;
/** These have nothing to ask for. */
const WITHOUT_PAGE = ["version", "completion"];

/** docs/reference/cli.md: the help texts, as `help` gives them for the words of a command. Throws when a command has no page. */
export function commandsPage(help: (words: readonly string[]) => string): string {
  const pages = [...COMMANDS.map(([first]): string => first), ...WITHOUT_PAGE];
  const missing = help([])
    .matchAll(/^ {2}margay (\S+)/gm)
    .filter(([, name = ""]) => !pages.includes(name));
  for (const [, name] of missing)
    throw new Error(`packages/dev/src/command-reference.ts has no margay ${name}`);
  const chapters = COMMANDS.map((words) => `## margay ${words.join(" ")}\n\n${block(help(words))}`);
  return `# Commands\n\nMade by \`npm run generate\` from the commands' own help. Do not edit.\n\n${block(help([]))}\n\n${chapters.join("\n\n")}\n`;
}

const block = (text: string): string => `\`\`\`text\n${text.trimEnd()}\n\`\`\``;
