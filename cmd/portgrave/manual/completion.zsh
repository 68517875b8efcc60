#compdef PROGRAM
# zsh completion for PROGRAM, made by: PROGRAM completion zsh

_PROGRAM() {
    local -a found
    local line flag
    ! compset -P '-*=' || flag='-*=' # of --flag=value, only the value is completed
    for line in ${(f)"$(PROGRAM ASKED -- "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
        case $line in
            :files*) _files; return ;;
            :folders*) _files -/; return ;;
        esac
        line=${line#$~flag}
        line="${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}"
        found+=("${line%:}") # a description, if there is one
    done
    _describe -V -t values value found
}

# As a file of $fpath this is the function's first call; where it is sourced, it is registered.
if [[ ${funcstack[1]} == _PROGRAM ]]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
