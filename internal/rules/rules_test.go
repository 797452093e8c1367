package rules

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "bipd"

// mayImport says for each folder with its subfolders which folders of the module its code may import, beside itself
// and its own subfolders. Imports point one way: leaves know nobody, cat and bip know no reader and no line, and only
// the commands and internal join the parts. Tests may import what they like.
var mayImport = map[string][]string{
	"uicc":     {},
	"trace":    {},
	"egress":   {},
	"limits":   {},
	"tcpend":   {},
	"tun":      {},
	"ptylink":  {},
	"ccid":     {"uicc"}, // it implements uicc.Reader
	"cat":      {"uicc", "trace"},
	"bip":      {"cat", "tcpend", "trace"},
	"ap":       {"ptylink", "egress", "limits", "tcpend", "trace"},
	"softuicc": {"cat", "uicc"},
	"internal": {"uicc", "trace", "egress", "limits", "tun", "ptylink", "ccid", "cat", "bip", "ap", "softuicc"},
	"cmd":      {"uicc", "trace", "egress", "limits", "tun", "ptylink", "ccid", "cat", "bip", "ap", "softuicc", "internal"},
}

// apart are folders within one folder of mayImport that must not import each other.
var apart = [][]string{
	{"ptylink/at", "ptylink/mux"},
	{"uicc/pcsc", "uicc/vpcd"},
	{"cmd/bipd", "cmd/apd", "cmd/bipctl"},
}

// upwards are subfolders that must not import the folder above them.
var upwards = []string{"ptylink/at", "ptylink/mux", "ccid/usbfs"}

// onlyIn says where the code and the tests may import modules and packages from outside, by a pattern of their path.
var onlyIn = []struct {
	what    string
	imports *regexp.Regexp
	folder  string
}{
	{"gVisor", regexp.MustCompile(`^gvisor\.dev/`), "tun"},
	{"TOML", regexp.MustCompile(`(?i)toml`), "internal"},
}

// without says which packages from outside a folder's code must not import.
var without = []struct {
	folder  string
	imports *regexp.Regexp
	reason  string
}{
	{"cat", regexp.MustCompile(`^net(/[^n]|$)`), "cat knows no network; net/netip is but addresses"},
}

// file is one file of the repository.
type file struct {
	path string // relative to the root, with slashes
	text []byte
	ast  *ast.File // of a Go file, with comments; nil for others
}

func (f file) folder() string { return path.Dir(f.path) }
func (f file) isGo() bool     { return strings.HasSuffix(f.path, ".go") }
func (f file) isTest() bool   { return strings.HasSuffix(f.path, "_test.go") }

// imports are the paths that a Go file imports.
func (f file) imports() []string {
	var paths []string
	if f.ast == nil {
		return nil
	}
	for _, spec := range f.ast.Imports {
		if p, err := strconv.Unquote(spec.Path.Value); err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// under says whether a folder is the other one or below it.
func under(folder, top string) bool { return folder == top || strings.HasPrefix(folder, top+"/") }

// skipped are folders that are no part of the source: built things, others' code, and inputs that a fuzzer found.
func skipped(p string) bool {
	return slices.Contains([]string{".git", "bin", "tmp", "vendor"}, p) || strings.HasSuffix(p, "testdata/fuzz")
}

// load reads the repository. A Go file that does not parse is an error.
func load(repo fs.FS) ([]file, error) {
	var files []file
	err := fs.WalkDir(repo, ".", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // another test's, which is gone by now
			return nil
		}
		if err != nil {
			return err
		}
		if d.IsDir() && skipped(p) {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() || strings.HasSuffix(p, ".test") || strings.HasSuffix(p, ".pprof") {
			return nil
		}
		text, err := fs.ReadFile(repo, p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		f := file{path: p, text: text}
		if f.isGo() {
			if f.ast, err = parser.ParseFile(token.NewFileSet(), p, text, parser.ParseComments); err != nil {
				return err
			}
		}
		files = append(files, f)
		return nil
	})
	return files, err
}

// rules are all rules by name. Each gives one line for each breach.
var rules = []struct {
	name  string
	check func([]file) []string
}{
	{"ImportDirections", importDirections},
	{"ImportsOnlyIn", importsOnlyIn},
	{"ImportsWithout", importsWithout},
	{"PackageComments", packageComments},
	{"Gofmt", gofmted},
	{"Neighbours", neighbours},
	{"Words", words},
}

func importDirections(files []file) (faults []string) {
	for _, f := range files {
		if !f.isGo() || f.isTest() {
			continue
		}
		from := f.folder()
		top, _, _ := strings.Cut(from, "/")
		allowed, known := mayImport[top]
		if !known {
			faults = append(faults, fmt.Sprintf("%s: no rule says what the folder %s may import: add it to mayImport", f.path, top))
			continue
		}
		for _, imported := range f.imports() {
			to, ours := strings.CutPrefix(imported, module+"/")
			if !ours {
				continue
			}
			if why := forbidden(from, to, top, allowed); why != "" {
				faults = append(faults, fmt.Sprintf("%s: imports %s: %s", f.path, to, why))
			}
		}
	}
	return faults
}

// forbidden says why a package must not import the other, or "".
func forbidden(from, to, top string, allowed []string) string {
	if to == "internal/testkit" {
		return "only tests may import it"
	}
	if !under(to, top) {
		if slices.ContainsFunc(allowed, func(a string) bool { return under(to, a) }) {
			return ""
		}
		return fmt.Sprintf("%s may import only %q", top, allowed)
	}
	for _, group := range apart {
		for _, a := range group {
			for _, b := range group {
				if a != b && under(from, a) && under(to, b) {
					return fmt.Sprintf("%s and %s must not know each other", a, b)
				}
			}
		}
	}
	for _, low := range upwards {
		if under(from, low) && !under(to, low) {
			return low + " must not know what is above it"
		}
	}
	return ""
}

func importsOnlyIn(files []file) (faults []string) {
	for _, f := range files {
		if f.isTest() {
			continue // a test may look at how a value is written
		}
		for _, imported := range f.imports() {
			for _, r := range onlyIn {
				if r.imports.MatchString(imported) && !under(f.folder(), r.folder) {
					faults = append(faults, fmt.Sprintf("%s: imports %s: %s belongs into %s alone", f.path, imported, r.what, r.folder))
				}
			}
		}
	}
	return faults
}

func importsWithout(files []file) (faults []string) {
	for _, f := range files {
		for _, imported := range f.imports() {
			for _, r := range without {
				if under(f.folder(), r.folder) && !f.isTest() && r.imports.MatchString(imported) {
					faults = append(faults, fmt.Sprintf("%s: imports %s: %s", f.path, imported, r.reason))
				}
			}
		}
	}
	return faults
}

// packageComments: go doc shows what a package is for. A command's comment is its manual in short.
func packageComments(files []file) (faults []string) {
	commented := make(map[string]bool)
	for _, f := range files {
		if f.isGo() && !f.isTest() {
			commented[f.folder()] = commented[f.folder()] || f.ast.Doc != nil
		} else if f.isTest() && !commented[f.folder()] {
			commented[f.folder()] = false
		}
	}
	for folder, ok := range commented {
		if !ok {
			faults = append(faults, folder+": no file has a package comment")
		}
	}
	slices.Sort(faults)
	return faults
}

func gofmted(files []file) (faults []string) {
	for _, f := range files {
		if !f.isGo() {
			continue
		}
		if want, err := format.Source(f.text); err != nil || !bytes.Equal(want, f.text) {
			faults = append(faults, f.path+": gofmt would change it")
		}
	}
	return faults
}

// neighbours: the repository stands alone; only tests may look for what lies beside it.
func neighbours(files []file) (faults []string) {
	for _, f := range files {
		if f.isTest() {
			continue
		}
		for n, line := range bytes.Split(f.text, []byte("\n")) {
			if bytes.Contains(line, []byte("../"+"shared")) {
				faults = append(faults, fmt.Sprintf("%s:%d: names a folder beside the repository", f.path, n+1))
			}
		}
	}
	return faults
}

// unfinished are words for work that was left undone. They are put together here so that this file has none.
var unfinished = regexp.MustCompile(`\b(` + "TO" + "DO|FIX" + "ME|XX" + `X)\b`)

func words(files []file) (faults []string) {
	for _, f := range files {
		if f.path == "go.sum" || bytes.IndexByte(f.text, 0) >= 0 {
			continue // checksums and binaries hold any letters
		}
		for n, line := range bytes.Split(f.text, []byte("\n")) {
			if w := unfinished.Find(line); w != nil {
				faults = append(faults, fmt.Sprintf("%s:%d: has the word %s", f.path, n+1, w))
			}
		}
	}
	return faults
}

// root is the repository's folder: the nearest one above with a go.mod.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
}

func TestRepository(t *testing.T) {
	files, err := load(os.DirFS(root(t)))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(files, func(f file) bool { return f.path == "internal/rules/rules_test.go" }) {
		t.Fatal("the walk of the repository did not even find this test")
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, fault := range r.check(files) {
				t.Error(fault)
			}
		})
	}
}
