package guest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseCandidates(t *testing.T) {
	out := "'http://mirror/pool/p/pcscd_1.9.9-2_amd64.deb' pcscd_1.9.9-2_amd64.deb 90000 SHA256:00\n" +
		"'http://mirror/pool/l/libusb.deb' libusb-1.0-0_2%3a1.0.26-1_amd64.deb 60000 SHA256:00\n"
	got, err := parseCandidates(out, []string{"pcscd", "libusb-1.0-0"})
	want := []deb{{"pcscd", "1.9.9-2", "pcscd_1.9.9-2_amd64.deb"}, {"libusb-1.0-0", "2:1.0.26-1", "libusb-1.0-0_2%3a1.0.26-1_amd64.deb"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	var missing *MissingError
	if _, err := parseCandidates(out, []string{"pcscd", "opensc"}); !errors.As(err, &missing) || !strings.Contains(err.Error(), "opensc") {
		t.Errorf("a package that apt does not give: %v", err)
	}
}

const depends = `pcscd
  PreDepends: init-system-helpers
 |Depends: libccid
  Depends: <pcsc-ifd-handler>
    libacsccid1
    libccid
  Depends: libc6
  Depends: <virtual>
    provider
libccid
  Depends: libc6
  Depends: libusb-1.0-0:amd64
libc6
 |Depends: <virtual>
  Depends: provider
libusb-1.0-0
provider
  PreDepends: libc6
lonely
  Depends: unheard-of
`

func TestClosure(t *testing.T) {
	got, err := walk(parseDepends(depends), []string{"pcscd", "libccid"})
	if want := []string{"libc6", "libccid", "libusb-1.0-0", "pcscd", "provider"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if _, err := walk(parseDepends(depends), []string{"lonely"}); err == nil || !strings.Contains(err.Error(), "unheard-of") {
		t.Errorf("a package of which nothing is known: %v", err)
	}
}

func FuzzParseDepends(f *testing.F) {
	f.Add(depends)
	f.Fuzz(func(t *testing.T, out string) {
		packages := parseDepends(out)
		names := []string{}
		for name, dependencies := range packages {
			names = append(names, name)
			for _, alternatives := range dependencies {
				if len(alternatives) == 0 {
					t.Errorf("%q depends on nothing in particular", name)
				}
			}
		}
		if list, err := walk(packages, names); err == nil && len(list) > len(packages) {
			t.Errorf("the closure of %d packages has %d", len(packages), len(list))
		}
	})
}

func TestMerged(t *testing.T) {
	for name, want := range map[string]string{
		"lib/x86_64-linux-gnu/libc.so.6": "usr/lib/x86_64-linux-gnu/libc.so.6", "lib64": "usr/lib64", "bin/sh": "usr/bin/sh",
		"usr/lib/a": "usr/lib/a", "library/a": "library/a", "etc/lib/a": "etc/lib/a", "": "",
	} {
		if got := merged(name); got != want {
			t.Errorf("merged(%q) = %q, want %q", name, got, want)
		}
	}
}

// madeDeb builds a package, as a Debian system can.
func madeDeb(t *testing.T, files map[string]string) string {
	t.Helper()
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip("no dpkg-deb here: ", err)
	}
	dir := t.TempDir()
	files["DEBIAN/control"] = "Package: made\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: made\n"
	for name, text := range files {
		path := filepath.Join(dir, "root", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("tool", filepath.Join(dir, "root/bin/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "root/bin/tool"), filepath.Join(dir, "root/bin/twin")); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, "made.deb")
	if _, err := command(t.Context(), dir, "dpkg-deb", "--build", "--root-owner-group", "root", out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPackDeb(t *testing.T) {
	file := madeDeb(t, map[string]string{"bin/tool": "#!", "etc/tool.conf": "a=b\n", "usr/share/doc/tool/copyright": "text"})
	to := filepath.Join(t.TempDir(), "files.cpio")
	if err := packDeb(t.Context(), file, to); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	got := readCPIO(t, b)
	has := func(name, data string, kind uint32) {
		t.Helper()
		if !slices.ContainsFunc(got, func(e entry) bool { return e.name == name && e.data == data && e.mode&0o170000 == kind }) {
			t.Errorf("no %s with %q in %+v", name, data, got)
		}
	}
	has("usr/bin/tool", "#!", modeRegular)
	has("usr/bin/link", "tool", modeLink)
	has("usr/bin/twin", "/usr/bin/tool", modeLink)
	has("etc/tool.conf", "a=b\n", modeRegular)
	if slices.ContainsFunc(got, func(e entry) bool { return strings.HasPrefix(e.name, "usr/share/doc/") }) {
		t.Errorf("documentation in %+v", got)
	}
	if slices.ContainsFunc(got, func(e entry) bool { return e.name == "bin" || e.name == "" }) {
		t.Errorf("a folder in the place of a link, or the root, in %+v", got)
	}
}

// Reading can end early, and what is no package is an error.
func TestReadDebEnds(t *testing.T) {
	file := madeDeb(t, map[string]string{"bin/tool": strings.Repeat("0123456789", 1<<18), "usr/lib/more": strings.Repeat("x", 1<<20)})
	enough := errors.New("enough")
	err := readDeb(t.Context(), file, func(h *tar.Header, _ io.Reader) error {
		if h.Typeflag == tar.TypeReg {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Errorf("%v, want what the reader said", err)
	}
	bad := filepath.Join(t.TempDir(), "bad.deb")
	if err := os.WriteFile(bad, bytes.Repeat([]byte("no package "), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := readDeb(t.Context(), bad, func(*tar.Header, io.Reader) error { return nil }); err == nil {
		t.Error("what is no package is no error")
	}
}
