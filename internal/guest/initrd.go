package guest

import (
	"context"
	"debug/elf"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// writeInitrd writes the guest's root: the test binary as the first process, modules, packages, programs and files.
func (c cache) writeInitrd(ctx context.Context, k *kernel, cfg Config, to string) error {
	packages := []string(nil)
	if len(cfg.Debian) > 0 {
		var err error
		if packages, err = c.archives(ctx, cfg.Debian); err != nil {
			return err
		}
	}
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer w.Close()
	a := newArchive(w)
	a.root(cfg)
	for _, p := range packages { // before all else, so that the configuration has the last word
		if err := a.append(p); err != nil {
			return err
		}
	}
	if err := c.addModules(ctx, a, k, cfg.Modules); err != nil {
		return err
	}
	if err := a.self(); err != nil {
		return err
	}
	if err := a.programs(ctx, cfg.Programs); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Files)) {
		if err := a.copy(merged(clean(name)), cfg.Files[name], 0); err != nil {
			return err
		}
	}
	if err := a.close(); err != nil {
		return err
	}
	return w.Close()
}

// root adds what every root has.
func (a *archive) root(cfg Config) {
	for _, name := range usrMerged {
		a.dir("usr/"+name, 0o755)
		a.link(name, "usr/"+name)
	}
	a.text("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"))
	a.text("etc/group", 0o644, []byte("root:x:0:\nnogroup:x:65534:\n"))
	a.text("etc/hosts", 0o644, []byte("127.0.0.1 localhost guest\n"))
	a.text(timeoutPath, 0o644, fmt.Appendln(nil, int((cfg.Timeout+grace).Seconds())))
}

// append adds a whole archive.
func (a *archive) append(file string) error {
	if a.err != nil {
		return a.err
	}
	r, err := os.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(a.w, r)
	a.n += n
	a.pad()
	return err
}

// copy adds a file of the host, with its own mode if perm is 0.
func (a *archive) copy(name, file string, perm uint32) error {
	r, err := os.Open(file)
	if err != nil {
		return err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file)
	}
	if perm == 0 {
		perm = uint32(st.Mode().Perm())
	}
	a.file(name, perm, st.Size(), r)
	return a.err
}

// addModules adds the modules and the order in which they are loaded.
func (c cache) addModules(ctx context.Context, a *archive, k *kernel, names []string) error {
	order, err := k.tree.order(slices.DeleteFunc(slices.Clone(names), func(s string) bool { return moduleName(s) == gsmModule }))
	if err != nil {
		return err
	}
	files := make(map[string]string)
	for _, name := range order {
		files[name] = k.tree.path(name)
	}
	if slices.ContainsFunc(names, func(s string) bool { return moduleName(s) == gsmModule }) {
		if files[gsmModule], err = c.gsm(ctx, k); err != nil {
			return err
		}
		order = append(order, gsmModule) // it needs no other
	}
	var list strings.Builder
	for _, name := range order {
		in := path.Join("guest/ko", name+".ko")
		fmt.Fprintln(&list, "/"+in)
		if err := a.copy(in, files[name], 0o644); err != nil {
			return err
		}
	}
	a.text(modulesPath, 0o644, []byte(list.String()))
	return a.err
}

// self adds this program as the first process.
func (a *archive) self() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	if err := checkStatic(exe); err != nil {
		return err
	}
	return a.copy(initPath, exe, 0o755)
}

// checkStatic says whether a program can run where there are no libraries.
func checkStatic(file string) error {
	f, err := elf.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if f.Machine != elf.EM_X86_64 {
		return &MissingError{fmt.Sprintf("the guest runs programs for amd64, and %s is for %v", filepath.Base(file), f.Machine), nil}
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s is not static: build it with CGO_ENABLED=0", filepath.Base(file))
		}
	}
	return nil
}

// programs builds commands of this module and adds them.
func (a *archive) programs(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	dir, err := os.MkdirTemp("", "programs")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, name := range names {
		pkg := "bipd/cmd/" + name
		if strings.Contains(name, "/") {
			pkg = "bipd/" + name
		}
		file := filepath.Join(dir, path.Base(name))
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", file, pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building %s: %w: %s", pkg, err, out)
		}
		if err := a.copy("usr/bin/"+path.Base(name), file, 0o755); err != nil {
			return err
		}
	}
	return nil
}
