package boot

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is a kernel module to be loaded.
type module struct {
	name    string
	content []byte
}

// readModules reads modules and their dependencies, in loading order. dir has lib/modules with one
// version below it. Modules built into the kernel are left out.
func readModules(dir, busybox string, names ...string) ([]module, error) {
	found, err := filepath.Glob(filepath.Join(dir, "lib/modules/*/modules.dep"))
	if err != nil || len(found) != 1 {
		return nil,
			fmt.Errorf("%d lists of kernel modules below %s instead of one: %v",
				len(found), dir, err)
	}
	list, err := os.ReadFile(found[0])
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(filepath.Dir(found[0]), "modules.builtin"))
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{} // by path
	path := map[string]string{}    // by name
	for line := range strings.Lines(string(list)) {
		file, after, _ := strings.Cut(line, ":")
		needs[file] = strings.Fields(after)
		path[moduleName(file)] = file
	}
	var order []string
	for _, name := range names {
		file, ok := path[name]
		switch {
		case ok:
			// The list names the first module to load last.
			all := append([]string{file}, needs[file]...)
			for _, f := range slices.Backward(all) {
				if !slices.Contains(order, f) {
					order = append(order, f)
				}
			}
		case !bytes.Contains(builtin, []byte("/"+name+".ko")):
			return nil, fmt.Errorf("the kernel in %s has no module %s", dir, name)
		}
	}
	var modules []module
	for _, f := range order {
		content, err := readUncompressed(busybox, filepath.Join(filepath.Dir(found[0]), f))
		if err != nil {
			return nil, err
		}
		modules = append(modules, module{moduleName(f), content})
	}
	return modules, nil
}

// moduleName returns the name of the module in a file such as kernel/drivers/net/virtio_net.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".")
	return strings.ReplaceAll(name, "-", "_")
}

func readUncompressed(busybox, file string) ([]byte, error) {
	if !strings.HasSuffix(file, ".xz") {
		return os.ReadFile(file)
	}
	var trouble bytes.Buffer
	cmd := exec.Command(busybox, "xzcat", file)
	cmd.Stderr = &trouble
	content, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("unpacking %s: %w: %s", file, err, trouble.Bytes())
	}
	return content, nil
}
