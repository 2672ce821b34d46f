/**
 * The settings whose text may be a path. The daemon has another working directory than the person who writes one, so whoever takes
 * such a text from a person makes the path whole.
 */

import { DEFAULT_TEXT, SETTINGS, STANDARD_OUTPUT } from "./config.ts";
import { isAbsolute, pathFrom } from "./paths.ts";

/** What the text of such a setting may be beside a path, by the setting's flag. */
export const PATH_SETTINGS: Readonly<Record<string, readonly string[]>> = {
  [SETTINGS.checkCa.flag]: ["system", "none", "default"],
  [SETTINGS.accessLog.flag]: [STANDARD_OUTPUT, "off"],
  [SETTINGS.trackFile.flag]: ["off"],
};

/** Whether this text of a setting is a path that is not absolute. */
export function isRelativePath(flag: string, text: string): boolean {
  return isPath(flag, text) && !isAbsolute(text);
}

/** Settings as texts, with whole paths for those that are relative to this folder. Texts that take a setting back stay. */
export function withWholePaths<Texts extends Readonly<Record<string, string | undefined>>>(texts: Texts, folder: string): Texts {
  const whole = Object.entries(texts).map(([flag, text]) =>
    text !== undefined && text !== DEFAULT_TEXT && isPath(flag, text) ? [flag, pathFrom(folder, text)] : [flag, text]
  );
  return Object.fromEntries(whole) as Texts; // the same flags
}

function isPath(flag: string, text: string): boolean {
  const words = PATH_SETTINGS[flag];
  return words !== undefined && text !== "" && !words.includes(text);
}
