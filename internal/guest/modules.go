package guest

import (
	"bytes"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// moduleTree is a kernel's modules. The package has no modules.dep, which is made where it is installed, so the dependencies
// are read from where modules.dep has them, too: the modules' section .modinfo.
type moduleTree struct {
	dir     string
	Modules map[string]moduleInfo // by name
	Builtin map[string]bool       // names of what is no module in this kernel but part of it
}

// moduleInfo is what .modinfo says. Names have _ for -.
type moduleInfo struct {
	Depends []string
	Before  []string `json:",omitempty"` // modules or aliases that should be loaded before (softdep pre:)
	Aliases []string `json:",omitempty"` // other names, without those that are patterns
}

// moduleName is the name as the kernel has it.
func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

// parseModinfo reads a .modinfo section: key=value, each ended by a zero octet.
func parseModinfo(section []byte) moduleInfo {
	var info moduleInfo
	for entry := range bytes.SplitSeq(section, []byte{0}) {
		key, value, _ := strings.Cut(string(entry), "=")
		switch key {
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					info.Depends = append(info.Depends, moduleName(name))
				}
			}
		case "softdep":
			pre := false
			for _, word := range strings.Fields(value) {
				switch {
				case strings.HasSuffix(word, ":"):
					pre = word == "pre:"
				case pre:
					info.Before = append(info.Before, moduleName(word))
				}
			}
		case "alias":
			if value != "" && !strings.ContainsAny(value, "*?[:") {
				info.Aliases = append(info.Aliases, moduleName(value))
			}
		}
	}
	return info
}

func (t *moduleTree) path(name string) string {
	return filepath.Join(t.dir, "modules", name+".ko")
}

// add stores a module's file and notes what it says of itself.
func (t *moduleTree) add(file string, data []byte) error {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	section := f.Section(".modinfo")
	if section == nil {
		return fmt.Errorf("%s has no .modinfo", file)
	}
	text, err := section.Data()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	name := moduleName(strings.TrimSuffix(file, ".ko"))
	t.Modules[name] = parseModinfo(text)
	if err := os.MkdirAll(filepath.Dir(t.path(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(t.path(name), data, 0o644)
}

// addBuiltin reads modules.builtin: a path for each.
func (t *moduleTree) addBuiltin(list string) {
	t.Builtin = make(map[string]bool)
	for _, p := range strings.Fields(list) {
		t.Builtin[moduleName(strings.TrimSuffix(path.Base(p), ".ko"))] = true
	}
}

// readTree reads the index that unpackKernel wrote.
func readTree(dir string) (*moduleTree, error) {
	index, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		return nil, err
	}
	t := &moduleTree{dir: dir}
	return t, json.Unmarshal(index, t)
}

// order is the modules and all that they need, each after what it needs. A name that is neither a module nor built in is an
// error; of those that are only recommended (softdep) it is not.
func (t *moduleTree) order(names []string) ([]string, error) {
	w := moduleWalk{tree: t, seen: make(map[string]bool)}
	for _, name := range names {
		if err := w.visit(moduleName(name)); err != nil {
			return nil, err
		}
	}
	return w.list, nil
}

type moduleWalk struct {
	tree *moduleTree
	seen map[string]bool
	list []string
}

func (w *moduleWalk) visit(name string) error {
	if w.seen[name] || w.tree.Builtin[name] {
		return nil
	}
	w.seen[name] = true // also against cycles of softdep
	info, known := w.tree.Modules[name]
	if !known {
		return fmt.Errorf("the kernel has no module %s, or it is of a kind that is left out of the cache", name)
	}
	for _, before := range info.Before {
		if real, ok := w.tree.resolve(before); ok {
			if err := w.visit(real); err != nil {
				return err
			}
		}
	}
	for _, needed := range info.Depends {
		if err := w.visit(needed); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	w.list = append(w.list, name)
	return nil
}

// resolve finds a module by its name or another name. Of several the one for any machine is taken, *_generic, else the
// first of the alphabet.
func (t *moduleTree) resolve(name string) (string, bool) {
	if _, ok := t.Modules[name]; ok || t.Builtin[name] {
		return name, true
	}
	var found []string
	for module, info := range t.Modules {
		if slices.Contains(info.Aliases, name) {
			found = append(found, module)
		}
	}
	slices.Sort(found)
	if i := slices.IndexFunc(found, func(s string) bool { return strings.HasSuffix(s, "_generic") }); i >= 0 {
		return found[i], true
	}
	if len(found) == 0 {
		return "", false
	}
	return found[0], true
}
