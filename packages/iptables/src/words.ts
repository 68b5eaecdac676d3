/** Words of one iptables-restore line, joined; quoted as iptables-save quotes. */
export function joinWords(words: readonly string[]): string {
  const line = words.join(" ");
  const isPlain = PLAIN_LINE.test(line) && !words.some((word) => word === "" || word.includes(" "));
  return isPlain ? line : words.map(quote).join(" ");
}

/** One look at a line whose words need no quotes, as nearly all. */
const PLAIN_LINE = /^[\w.,:/@%+=~!^* -]+$/;

function quote(word: string): string {
  if (/^[\w.,:/@%+=~!^*-]+$/.test(word)) return word;
  return `"${word.replace(/[\\"]/g, "\\$&")}"`;
}

/** The words of one line of iptables-save or ipset save: the inverse of `joinWords`. */
export function splitWords(line: string): string[] {
  if (!line.includes('"')) return line.split(" ").filter((word) => word !== "");
  return Array.from(line.matchAll(/"((?:[^"\\]|\\.)*)"|[^\s"]+/g), ([bare, quoted]) =>
    quoted === undefined ? bare : quoted.replace(/\\(.)/g, "$1"),
  );
}
