/** Types for `@std/fmt/bytes`. */
export interface FormatBytesOptions {
  binary?: boolean;
  minimumFractionDigits?: number;
  maximumFractionDigits?: number;
}
export function format(bytes: number, options?: FormatBytesOptions): string;
