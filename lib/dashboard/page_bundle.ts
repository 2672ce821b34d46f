/** The dashboard's page as `deno task page` has made it from lib/page/, compressed by gzip, in base64. Not written by hand. */

/** See `page.ts`, which unpacks it. */
export const PAGE_GZIP = `
H4sIAAAAAAAA/zxRy26DMBC88xWuTyAFUHuqgs2ltx7aQ75ga5bgyl5Tex2Kovx7Rahymoc0o32opyEYXmcUE3vXF2oD4YDOWiLJvlAeGYSZICZkLTOP9evDJvCo5cXi
MofIUphAjMRaLnbgSQ94sQbru9gybNlh/wUOyGBU7a4LlXh12HuwdB0DcT2Ct249imxrHyikGQweHqxbJstY3/lRzBHrJcJ8U+1eU6itqFftHQqVTLQzi21HLX0YskPZ
XyAK1kMw2SNx85Mxrid0aDjEUm5JWXWQVjJizGTYBhJQVlc7lqy1puxcFZFzpM4hC9KwgGUxIpuplO3luU0MnJOsOm4Yf/nt/zLvp8+PJnG0dLbjWu4xar5ToLI6bL2H
l+q221BWnWr3+ftCtfuH/gAAAP//AwDxOo1KsgEAAA==
`;
