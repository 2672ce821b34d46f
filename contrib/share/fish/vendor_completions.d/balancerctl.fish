# fish completion of balancer and balancerctl; made by: balancerctl completion fish
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
