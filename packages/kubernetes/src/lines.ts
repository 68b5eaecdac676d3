/** A watch event may be so long: an object of etcd's usual limit of 1.5 MB, and room. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** The lines that each chunk of a stream completes. Throws RangeError for a line beyond all measure. */
export async function* linesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<string[]> {
  let rest: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of stream) {
    const end = chunk.lastIndexOf(NEWLINE);
    if (end < 0) {
      rest.push(chunk);
      bytes += chunk.length;
      if (bytes > MAX_LINE_BYTES) throw new RangeError(`a line of more than ${MAX_LINE_BYTES} bytes`);
      continue;
    }
    const whole = Buffer.concat([...rest, chunk.subarray(0, end)]).toString();
    rest = [chunk.subarray(end + 1)];
    bytes = chunk.length - end - 1;
    yield whole.split("\n").filter((line) => line.trim() !== "");
  }
}

const NEWLINE = 0x0a;
