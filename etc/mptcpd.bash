# SPDX-License-Identifier: BSD-3-Clause
# Completes the arguments of mptcpd in bash.

_mptcpd() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} words links=
    [ ! -d /sys/class/net ] || links=$(cd /sys/class/net && echo *)
    COMPREPLY=()
    case $COMP_CWORD:${COMP_WORDS[1]} in
    *:-*)
        case $previous in
        -c | --config | --state-file | --plugin-dir)
            mapfile -t COMPREPLY < <(compgen -f -- "$word")
            return
            ;;
        -l | --log) words='stderr syslog journal null' ;;
        --path-manager | --load-plugins) words=$(mptcpd --list-plugins 2>/dev/null | sed 's/ .*//') ;;
        *) words=$(mptcpd --help 2>/dev/null | grep -o -- '--[a-z-]*') ;;
        esac
        ;;
    1:*) words='status connections monitor reload path wait --help --check --version' ;;
    *:status) words="-j --exit-code $links" ;;
    *:connections | *:monitor) words=-j ;;
    2:path) words=$links ;;
    3:path) words='down backup auto' ;;
    *:wait) words="-t $links" ;;
    *) return ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -F _mptcpd mptcpd
