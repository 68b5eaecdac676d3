/** Where something is in a list that is in order, or would be: how many there `isBefore` holds for (pure). */
export function placeIn<T>(inOrder: readonly T[], isBefore: (one: T) => boolean): number {
  let [low, high] = [0, inOrder.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isBefore(inOrder[middle] as T))
      low = middle + 1; // within the list
    else high = middle;
  }
  return low;
}
