# bash completion for PROGRAM, made by: PROGRAM completion bash

_PROGRAM() {
    local cur=${COMP_WORDS[COMP_CWORD]} value description
    COMPREPLY=()
    local -a words=("${COMP_WORDS[@]:1:COMP_CWORD}")
    [[ $cur != = ]] || { cur=''; words+=(''); } # bash takes --flag=value for three words
    while IFS=$'\t' read -r value description; do
        case $value in
            :*) compopt -o filenames 2>/dev/null ;;& # quoted, and folders with a slash
            :files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
            :folders) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
            "$cur"*) printf -v value %q "$value"; COMPREPLY+=("$value") ;;
        esac
    done < <(PROGRAM ASKED -- "${words[@]}" 2>/dev/null)
}
complete -F _PROGRAM PROGRAM
