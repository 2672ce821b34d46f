/**
 * What a shell runs to complete `balancer` and `balancerctl`. The scripts know nothing of commands: they give the words of the line
 * up to the cursor to the hidden command `balancerctl complete`, and read what it offers (`printOffer` in `completion.ts`). So
 * they are never older than the program.
 */

/** Shells that have a completion. */
export const SHELLS = ["bash", "zsh", "fish"] as const;
/** One of SHELLS. */
export type Shell = typeof SHELLS[number];

/**
 * bash 3.2 and later, without the package bash-completion. Readline breaks words at `=` and `:` (COMP_WORDBREAKS), so they are put
 * together again here, and what readline does not count as part of its word is cut off from each offer. Paths are left to readline,
 * which knows how to quote them.
 */
const BASH = String.raw`# bash completion of balancer and balancerctl; made by: balancerctl completion bash
_balancerctl() {
  local line=\${COMP_LINE:0:COMP_POINT} words=() rest word i
  for ((i = 0; i <= COMP_CWORD; i++)); do
    rest=\${line#"\${line%%[![:space:]]*}"}
    word=\${COMP_WORDS[i]}
    if ((i == COMP_CWORD)); then word=$rest; fi
    if ((i > 0)) && [[ $rest == "$line" ]]; then
      words[\${#words[@]} - 1]+=$word
    else
      words+=("$word")
    fi
    line=\${rest#"$word"}
  done

  local current=\${words[\${#words[@]} - 1]} program=\${words[0]} answer
  if [[ $program == "~/"* ]]; then program=$HOME/\${program#"~/"}; fi
  program=\${program%balancerctl}
  answer=$("\${program%balancer}balancerctl" complete -- "\${words[@]}" 2>/dev/null) || return

  local beyond='' break
  for break in = :; do
    if [[ $COMP_WORDBREAKS == *"$break"* && \${current%"\${current##*"$break"}"} == "$beyond"* ]]; then
      beyond=\${current%"\${current##*"$break"}"}
    fi
  done

  local kind before
  COMPREPLY=()
  {
    read -r kind before
    while read -r word rest; do
      if [[ $word == "$current"* ]]; then COMPREPLY+=("\${word#"$beyond"}"); fi
    done
  } <<<"$answer"

  if [[ $kind == files && $current == "$before"* ]]; then
    if ((\${#COMPREPLY[@]} == 0)) && [[ $before != *@ ]]; then
      compopt -o default 2>/dev/null
    else
      while read -r word; do COMPREPLY+=("\${before#"$beyond"}$word"); done < <(compgen -f -- "\${current#"$before"}")
      if [[ $before != *@ ]]; then compopt -o filenames 2>/dev/null; fi # it would quote the @
    fi
  elif ((\${#COMPREPLY[@]} == 1)) && [[ \${COMPREPLY[0]} == *[:/@] ]]; then
    compopt -o nospace 2>/dev/null
  fi
}
complete -F _balancerctl balancerctl balancer
`.replaceAll("\\$", "$");

/** zsh: `#compdef` where it is autoloaded from a folder of `fpath`; sourced, it registers itself. */
const ZSH = String.raw`#compdef balancerctl balancer
# zsh completion of balancer and balancerctl; made by: balancerctl completion zsh
_balancerctl() {
  local -a typed lines whole begun
  local program head word rest line before result=1
  typed=("\${(@Q)words[1,CURRENT-1]}" "\${(Q)PREFIX}")
  program=\${typed[1]/#\~\//$HOME/}
  program=\${program%balancerctl}
  lines=("\${(@f)$("\${program%balancer}balancerctl" complete -- "\${typed[@]}" 2>/dev/null)}") || return 1

  head=\${lines[1]}
  shift lines
  for line in "\${lines[@]}"; do
    word=\${line%% *}
    rest=\${line#"$word"}
    line=\${word//:/\\:}\${rest:+:}\${rest# }
    if [[ $word == *[:/@] ]]; then begun+=("$line"); else whole+=("$line"); fi
  done
  if ((\${#whole})); then _describe -t values value whole && result=0; fi
  if ((\${#begun})); then _describe -t values value begun -S '' && result=0; fi

  before=\${\${head#files}# }
  if [[ $head == files* && $PREFIX == "$before"* ]]; then
    compset -p \${#before}
    _files && result=0
  fi
  return result
}
if [[ $funcstack[1] == _balancerctl ]]; then
  _balancerctl "$@"
else
  compdef _balancerctl balancerctl balancer
fi
`.replaceAll("\\$", "$");

/** fish 3.1 and later. */
const FISH = String.raw`# fish completion of balancer and balancerctl; made by: balancerctl completion fish
function __balancerctl_offer
    set -l typed (commandline -opc)
    set -l current (commandline -ct)
    set -l program (string replace -r '(^|/)balancer(ctl)?$' '$1balancerctl' -- $typed[1])
    set -l lines ($program complete -- $typed "$current" 2>/dev/null)
    or return
    set -l head (string split -m 1 ' ' -- $lines[1])
    set -e lines[1]
    string replace ' ' \t -- $lines
    if test "$head[1]" = files
        set -l length (string length -- "$head[2]")
        for file in (__fish_complete_path (string sub -s (math $length + 1) -- "$current"))
            echo "$head[2]$file"
        end
    end
end
complete -c balancerctl -f -a '(__balancerctl_offer)'
complete -c balancer -f -a '(__balancerctl_offer)'
`;

/** The script of each shell. */
export const COMPLETION_SCRIPTS: Readonly<Record<Shell, string>> = { bash: BASH, zsh: ZSH, fish: FISH };
