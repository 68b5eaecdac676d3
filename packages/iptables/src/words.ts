/** Words of one iptables-restore line, joined; quoted as iptables-save quotes. */
export const joinWords = (words: readonly string[]): string => words.map(quote).join(" ");

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
