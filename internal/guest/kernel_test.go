package guest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func xz(t *testing.T, text string) []byte {
	t.Helper()
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("no xz here: ", err)
	}
	cmd := exec.Command("xz", "-c")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The kernel is the stream that holds an ELF file, whatever looks like one before it and stands after it.
func TestWriteVmlinux(t *testing.T) {
	kernel := "\x7fELF" + strings.Repeat("kernel", 1000)
	to := filepath.Join(t.TempDir(), "vmlinux")
	vmlinuz := slices.Concat([]byte("MZ loader"), xzMagic, []byte("no stream"), xz(t, "no kernel"), xz(t, kernel), []byte("size and signature"))
	if err := writeVmlinux(t.Context(), vmlinuz, to); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(to); err != nil || string(got) != kernel {
		t.Errorf("%d octets, %v, want %d", len(got), err, len(kernel))
	}
	for _, bad := range [][]byte{nil, []byte("MZ"), xz(t, "no kernel"), bytes.Repeat(xzMagic, 3)} {
		if err := writeVmlinux(t.Context(), bad, to); err == nil {
			t.Errorf("%.20q gives a kernel", bad)
		}
	}
}

// A made package becomes a kernel with an index of its modules.
func TestUnpackKernel(t *testing.T) {
	file := madeDeb(t, map[string]string{
		"bin/tool":               "needed by the links",
		"boot/vmlinuz-9.9-amd64": "MZ" + string(xz(t, "\x7fELF kernel")),
		"lib/modules/9.9-amd64/kernel/drivers/usb/host/xhci-pci.ko": string(moduleFile("depends=usbcore\x00")),
		"lib/modules/9.9-amd64/kernel/drivers/usb/core/usbcore.ko":  string(moduleFile("")),
		"lib/modules/9.9-amd64/kernel/sound/noise.ko":               "left out",
		"lib/modules/9.9-amd64/modules.builtin":                     "kernel/net/unix/unix.ko\n",
	})
	dir := t.TempDir()
	if err := unpackKernel(t.Context(), file, dir); err != nil {
		t.Fatal(err)
	}
	tr, err := readTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := tr.order([]string{"unix", "xhci-pci"}); err != nil || !slices.Equal(got, []string{"usbcore", "xhci_pci"}) {
		t.Errorf("order %q, %v", got, err)
	}
	if _, err := os.Stat(tr.path("xhci_pci")); err != nil {
		t.Error(err)
	}
	if len(tr.Modules) != 2 {
		t.Errorf("modules %v, want two", tr.Modules)
	}
	if err := unpackKernel(t.Context(), madeDeb(t, map[string]string{"bin/tool": "no kernel"}), t.TempDir()); err == nil {
		t.Error("a package without a kernel is no error")
	}
}

func TestRelocate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "Makefile")
	if err := os.WriteFile(path, []byte("# usr\nKBUILD_OUTPUT = /usr/src/a\ninclude /usr/src/b/Makefile\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := relocate(path, "/tree"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "# usr\nKBUILD_OUTPUT = /tree/usr/src/a\ninclude /tree/usr/src/b/Makefile\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

func TestCheckCompiler(t *testing.T) {
	path := filepath.Join(t.TempDir(), ".kernelvariables")
	check := func(text string) error {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return checkCompiler(path)
	}
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "gcc-12"), nil, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	const line = "override ARCH = x86\nCCACHE = ccache\nCC = $(if $(USE_CCACHE),$(CCACHE)) $(CROSS_COMPILE)gcc-"
	if err := check(line + "12\nifneq (a,b)\n"); err != nil {
		t.Errorf("the compiler is there: %v", err)
	}
	var missing *MissingError
	if err := check(line + "99\n"); !errors.As(err, &missing) || !strings.Contains(err.Error(), "gcc-99") {
		t.Errorf("the compiler is not there: %v", err)
	}
	if err := check("override ARCH = x86\n"); err == nil {
		t.Error("no compiler is named, and that is no error")
	}
}
