package guest

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// command runs a program and returns its output. An error has the end of what it printed.
func command(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &errOut
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(errOut.String() + "\n" + out.String())
		return nil, fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, said[max(0, len(said)-600):])
	}
	return out.Bytes(), nil
}

// apt is what apt told this process: each question takes it a second, and its lists do not change meanwhile.
var apt struct {
	sync.Mutex
	told map[string][]byte
}

// askApt is command for a question to apt.
func askApt(ctx context.Context, name string, args ...string) ([]byte, error) {
	apt.Lock()
	defer apt.Unlock()
	question := strings.Join(append([]string{name}, args...), " ")
	if out, ok := apt.told[question]; ok {
		return out, nil
	}
	out, err := command(ctx, "", name, args...)
	if err != nil {
		return nil, err
	}
	if apt.told == nil {
		apt.told = make(map[string][]byte)
	}
	apt.told[question] = out
	return out, nil
}

// deb is a package as the mirror has it now.
type deb struct {
	name    string
	version string // as its file name has it: without the epoch
	file    string // name_version_architecture.deb
}

// key names what the cache keeps of the package.
func (d deb) key() string { return strings.TrimSuffix(d.file, ".deb") }

// debFile is a line of apt-get download --print-uris: 'URI' file size checksum.
var debFile = regexp.MustCompile(`(?m)^'[^']*' (([^_\s]+)_([^_\s]+)_[^_\s]+\.deb) `)

// candidates asks apt for the versions of packages that it would install. It needs apt's lists, but no network.
func candidates(ctx context.Context, names ...string) ([]deb, error) {
	out, err := askApt(ctx, "apt-get", append([]string{"download", "--print-uris", "-q"}, names...)...)
	if err != nil {
		return nil, &MissingError{"apt does not know the packages", err}
	}
	return parseCandidates(string(out), names)
}

func parseCandidates(out string, names []string) ([]deb, error) {
	var list []deb
	for _, m := range debFile.FindAllStringSubmatch(out, -1) {
		list = append(list, deb{name: m[2], version: strings.ReplaceAll(m[3], "%3a", ":"), file: m[1]})
	}
	for _, name := range names {
		if !slices.ContainsFunc(list, func(d deb) bool { return d.name == name }) {
			return nil, &MissingError{"apt gives no package " + name, nil}
		}
	}
	return list, nil
}

// download fetches the package into a folder and returns the file's path.
func (d deb) download(ctx context.Context, dir string) (string, error) {
	if _, err := command(ctx, dir, "apt-get", "download", "-q", d.name); err != nil {
		return "", &MissingError{"the package " + d.name + " cannot be downloaded", err}
	}
	path := filepath.Join(dir, d.file)
	if !exists(path) {
		return "", fmt.Errorf("apt-get download %s left no %s", d.name, d.file)
	}
	return path, nil
}

// readDeb calls each for every entry of a package's files, with the path cleaned of the leading dot.
func readDeb(ctx context.Context, path string, each func(h *tar.Header, r io.Reader) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", path)
	return readTar(cmd, each)
}

// readTar reads the tar archive that a program writes.
func readTar(cmd *exec.Cmd, each func(h *tar.Header, r io.Reader) error) error {
	var said bytes.Buffer
	cmd.Stderr = &said
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = eachEntry(tar.NewReader(pipe), each)
	if err != nil {
		pipe.Close() // ends its helpers, too, which would hold Wait
		cmd.Process.Kill()
		cmd.Wait()
		if said.Len() > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(said.Bytes()))
		}
		return err
	}
	io.Copy(io.Discard, pipe) // what comes after the end of the archive
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Args[0], err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

func eachEntry(r *tar.Reader, each func(h *tar.Header, r io.Reader) error) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		h.Name = clean(h.Name)
		if err := each(h, r); err != nil {
			return err
		}
	}
}

// notWanted are packages that only scripts of installation need, and alternatives of systemd's libraries.
var notWanted = []string{"debconf", "cdebconf", "init-system-helpers", "readline-common", "dpkg", "install-info", "libelogind0"}

// closure is the packages and all that they depend on.
func closure(ctx context.Context, names []string) ([]string, error) {
	args := []string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances"}
	out, err := askApt(ctx, "apt-cache", append(args, names...)...)
	if err != nil {
		return nil, &MissingError{"apt does not know the packages", err}
	}
	return walk(parseDepends(string(out)), names)
}

// parseDepends reads what apt-cache depends prints: for each package its dependencies, each a list of alternatives.
//
//	pcscd
//	 |Depends: libccid
//	  Depends: <pcsc-ifd-handler>
//	    libccid
//	  Depends: libc6
func parseDepends(out string) map[string][][]string {
	packages := make(map[string][][]string)
	current := ""
	open := false // the line before said that another alternative follows
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		kind, alternative, _ := strings.Cut(strings.TrimLeft(line, " |"), ": ")
		switch {
		case line == "":
		case line[0] != ' ':
			current, open = line, false
			packages[current] = nil
		case kind == "Depends" || kind == "PreDepends":
			list := packages[current]
			if open {
				list[len(list)-1] = append(list[len(list)-1], alternative)
			} else {
				list = append(list, []string{alternative})
			}
			packages[current] = list
			open = strings.HasPrefix(line, " |")
		}
	}
	return packages
}

// walk follows the first alternative that is a real package.
func walk(packages map[string][][]string, names []string) ([]string, error) {
	var list []string
	todo := slices.Clone(names)
	for len(todo) > 0 {
		name, _, _ := strings.Cut(todo[0], ":") // without the architecture
		todo = todo[1:]
		if slices.Contains(list, name) || slices.Contains(notWanted, name) {
			continue
		}
		dependencies, known := packages[name]
		if !known {
			return nil, fmt.Errorf("nothing is known of the package %s", name)
		}
		list = append(list, name)
		for _, alternatives := range dependencies {
			for _, a := range alternatives {
				if !strings.HasPrefix(a, "<") { // not virtual
					todo = append(todo, a)
					break
				}
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

// unused are parts of packages that no program in the guest reads.
var unused = regexp.MustCompile(`^usr/share/(doc|man|locale|lintian|info|bug)/`)

// archives returns for each package a cpio archive of its files in the cache.
func (c cache) archives(ctx context.Context, names []string) ([]string, error) {
	all, err := closure(ctx, names)
	if err != nil {
		return nil, err
	}
	list, err := candidates(ctx, all...)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, d := range list {
		dir, err := c.entry(ctx, d.key(), func(dir string) error {
			file, err := d.download(ctx, dir)
			if err != nil {
				return err
			}
			if err := packDeb(ctx, file, filepath.Join(dir, "files.cpio")); err != nil {
				return err
			}
			return os.Remove(file)
		})
		if err != nil {
			return nil, err
		}
		paths = append(paths, filepath.Join(dir, "files.cpio"))
	}
	return paths, nil
}

// packDeb writes a package's files as a cpio archive.
func packDeb(ctx context.Context, file, to string) error {
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	defer w.Close()
	a := newArchive(w)
	err = readDeb(ctx, file, func(h *tar.Header, r io.Reader) error {
		name := merged(h.Name)
		perm := uint32(h.Mode)
		switch {
		case name == "" || unused.MatchString(name):
		case h.Typeflag == tar.TypeDir:
			a.dir(name, perm)
		case h.Typeflag == tar.TypeReg:
			a.file(name, perm, h.Size, r)
		case h.Typeflag == tar.TypeSymlink:
			a.link(name, h.Linkname)
		case h.Typeflag == tar.TypeLink:
			a.link(name, "/"+merged(clean(h.Linkname)))
		}
		return a.err
	})
	if err != nil {
		return err
	}
	if err := a.close(); err != nil {
		return err
	}
	return w.Close()
}

// merged is where a path of the root is in a system whose /bin, /sbin and /lib* are links into /usr. The kernel would put
// a folder in the link's place.
func merged(name string) string {
	top, _, below := strings.Cut(name, "/")
	if below && slices.Contains(usrMerged, top) {
		return "usr/" + name
	}
	if slices.Contains(usrMerged, name) {
		return "usr/" + name
	}
	return name
}

var usrMerged = []string{"bin", "sbin", "lib", "lib64"}
