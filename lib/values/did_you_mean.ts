/** "Did you mean …?": the words that a person may have meant by a word that is unknown. */

import { levenshteinDistance } from "@std/text";

/** Candidates differ from the word in at most one character in so many, but one difference is always allowed. */
const CHARACTERS_PER_EDIT = 3;
/** A part of a candidate is near to it from this length on: `conn` may mean `connections`. */
const PART_LENGTH_MIN = 3;

/** The candidates nearest to `word` by edit distance, nearest first, at most `max`; empty where none is near. */
export function nearest(word: string, candidates: Iterable<string>, max = 3): string[] {
  return [...new Set(candidates)]
    .filter((candidate) => isNear(word, candidate))
    .map((candidate) => ({ candidate, distance: levenshteinDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, max)
    .map(({ candidate }) => candidate);
}

/** Few edits apart, the same letters in another order (two edits for each pair that was swapped), or a part of the candidate. */
function isNear(word: string, candidate: string): boolean {
  if (word.toLowerCase() === candidate.toLowerCase()) return true;
  if (word.length >= PART_LENGTH_MIN && candidate.includes(word)) return true;
  const editsMax = Math.max(1, Math.floor(word.length / CHARACTERS_PER_EDIT));
  if (Math.abs(candidate.length - word.length) > editsMax) return false; // no fewer edits can do
  return levenshteinDistance(word, candidate) <= editsMax || sortedLetters(word) === sortedLetters(candidate);
}

function sortedLetters(word: string): string {
  return [...word].toSorted().join("");
}

/** The question that ends an error: `did you mean "a", "b" or "c"?`, each behind `prefix`; undefined where no candidate is near. */
export function didYouMean(word: string, candidates: Iterable<string>, prefix = ""): string | undefined {
  const names = nearest(word, candidates).map((name) => JSON.stringify(prefix + name));
  if (names.length === 0) return undefined;
  const last = names.pop()!;
  return `did you mean ${names.length === 0 ? last : `${names.join(", ")} or ${last}`}?`;
}
