# fish completion for PROGRAM, made by: PROGRAM completion fish

function __PROGRAM_complete
    set -l before (commandline -opc)[2..-1]
    set -l typed (commandline -ct)
    set -l found (PROGRAM ASKED -- $before "$typed" 2>/dev/null)
    set -l prefix (string match -r -- '^-[^=]*=' "$typed") # of --flag=value
    set -l rest (string replace -- "$prefix" '' "$typed")
    switch "$found"
        case ':files*'
            printf "$prefix%s\n" (__fish_complete_path "$rest")
        case ':folders*'
            printf "$prefix%s\n" (__fish_complete_directories "$rest")
        case '*' # else fish searches the descriptions too
            string match -er -- '^'(string escape --style=regex -- "$typed") $found
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
