package usbfs

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"bipd/internal/testkit"
)

// plug adds QEMU's reader with a node, which is an ordinary file.
func (f tree) plug() Device {
	f.t.Helper()
	f.add("1-1", qemuAttributes())
	d := f.scan()[0]
	if err := os.MkdirAll(filepath.Dir(f.node(d)), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(f.node(d), nil, 0o644); err != nil {
		f.t.Fatal(err)
	}
	return d
}

func TestNodeOfTheMachine(t *testing.T) {
	if got := (FS{}).node(Device{Bus: 3, Number: 14}); got != "/dev/bus/usb/003/014" {
		t.Error(got)
	}
	if got := (FS{}).devices(); got != "/sys/bus/usb/devices" {
		t.Error(got)
	}
}

func TestHolders(t *testing.T) {
	f := newTree(t)
	d := f.plug()
	if got := f.Holders(d); got != nil {
		t.Errorf("%+v while nobody has it open", got)
	}
	file, err := os.Open(f.node(d))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	other := exec.Command("sleep", "1000")
	other.Stdin = file
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	want := map[int]string{os.Getpid(): strings.TrimSpace(string(name)), other.Process.Pid: "sleep"}
	eventually(t, "both processes are seen", func() bool { // the child is not yet sleep at first
		got := make(map[int]string)
		for _, p := range f.Holders(d) {
			got[p.PID] = p.Name
		}
		return reflect.DeepEqual(got, want)
	})
	if got := f.Holders(Device{Bus: 1, Number: 3}); got != nil {
		t.Errorf("%+v have a node open that is not there", got)
	}
}

func TestOpenErrors(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	f := newTree(t)
	d := f.plug()
	if _, err := f.Open(d, 1); err == nil || !strings.Contains(err.Error(), "no interface 1") {
		t.Errorf("an interface that is not there: %v", err)
	}
	if _, err := f.Open(d, 0); err == nil || !strings.Contains(err.Error(), "no usbfs node") {
		t.Errorf("an ordinary file: %v", err)
	}
	if err := os.Remove(f.node(d)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Open(d, 0); !errors.Is(err, ErrGone) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no node: %v", err)
	}
}

// A terminal is in the poller and knows none of the ioctls.
func TestOpenForeignNode(t *testing.T) {
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	f := newTree(t)
	d := f.plug()
	if err := os.Remove(f.node(d)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/ptmx", f.node(d)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/dev/ptmx"); err != nil {
		t.Skip(err)
	}
	if h, err := f.Open(d, 0); err == nil {
		h.Close()
		t.Error("a terminal was claimed")
	}
}

func TestPermissionHint(t *testing.T) {
	if os.Getuid() == 0 {
		// Root may open everything; the words are the same.
		err := openError(fs.ErrPermission, "/dev/bus/usb/001/002", Device{Path: "1-1", Vendor: 0x08E6, Product: 0x4433})
		checkHint(t, err)
		return
	}
	f := newTree(t)
	d := f.plug()
	if err := os.Chmod(f.node(d), 0); err != nil {
		t.Fatal(err)
	}
	_, err := f.Open(d, 0)
	checkHint(t, err)
}

func checkHint(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), `ATTR{idVendor}=="08e6", ATTR{idProduct}=="4433"`) {
		t.Errorf("%v", err)
	}
}

func TestInUseErrorSaysWhatToDo(t *testing.T) {
	for _, tc := range []struct {
		driver  string
		holders []Process
		want    string
	}{
		{"usbfs", []Process{{812, "pcscd"}}, "interface 0 of 1-1 (08e6:4433) is in use by pcscd (process 812): stop it " +
			`(systemctl stop pcscd.socket pcscd.service), or use the reader through it, as reader "pcsc:<name>"`},
		{"usbfs", []Process{{7, "bipd"}, {9, "scdaemon"}}, "in use by bipd (process 7), scdaemon (process 9): end it first"},
		{"usbfs", nil, "in use by a program that this user may not see: pcscd perhaps, or a virtual machine"},
		{"cdc_acm", nil, "in use by the kernel's driver cdc_acm"},
		{"", nil, "is in use"},
	} {
		err := &InUseError{Device: "1-1 (08e6:4433)", Driver: tc.driver, Holders: tc.holders}
		if !strings.HasSuffix(err.Error(), tc.want) {
			t.Errorf("%q, want %q", err, tc.want)
		}
	}
}
