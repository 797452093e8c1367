package guest

import (
	"bytes"
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
	if err := relocate(path, "/work"); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if want := "# usr\nKBUILD_OUTPUT = /work/usr/src/a\ninclude /work/usr/src/b/Makefile\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}
