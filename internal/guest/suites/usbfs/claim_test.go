//go:build guest

package usbfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"bipd/ccid/usbfs"
	"bipd/internal/guest"
	"bipd/internal/testkit"
)

func TestInsideScan(t *testing.T) {
	got := reader(t)
	want := usbfs.Device{
		Path: got.Path, Bus: got.Bus, Number: got.Number, Serial: got.Serial,
		Vendor: 0x08E6, Product: 0x4433, Manufacturer: "QEMU", Name: "QEMU USB CCID", Speed: "12",
		Interfaces: []usbfs.Interface{{Class: 0x0B,
			Extra: hx("36211001000701000000a00f000000000100008025000000c2010000fe0000000000000000000000fe04010012000100ffff00000101"),
			Endpoints: []usbfs.Endpoint{
				{Address: 0x81, Attributes: 3, MaxPacket: 64, Interval: 255},
				{Address: 0x82, Attributes: 2, MaxPacket: 64},
				{Address: 0x03, Attributes: 2, MaxPacket: 64},
			}}},
	}
	if !reflect.DeepEqual(got, want) || got.Path == "" || got.Bus < 1 || got.Number < 2 {
		t.Errorf("%+v, want\n%+v", got, want)
	}
	if st, err := os.Stat(fmt.Sprintf("/dev/bus/usb/%03d/%03d", got.Bus, got.Number)); err != nil || st.Mode()&fs.ModeCharDevice == 0 {
		t.Errorf("node: %v, %v", st, err)
	}
	devices, err := usbfs.FS{}.Devices()
	if err != nil {
		t.Fatal(err)
	}
	roots := 0
	for _, d := range devices {
		if strings.HasPrefix(d.Path, "usb") && len(d.Interfaces) == 1 && d.Interfaces[0].Driver == "hub" {
			roots++
		}
	}
	if roots == 0 {
		t.Errorf("no root hub in %+v", devices)
	}
}

// One handle at a time has the interface; the next one is told who.
func TestInsideClaim(t *testing.T) {
	h, d := open(t)
	if now := reader(t); now.Interfaces[0].Driver != "usbfs" {
		t.Errorf("driver %q while it is claimed", now.Interfaces[0].Driver)
	}
	_, err := usbfs.FS{}.Open(d, 0)
	var inUse *usbfs.InUseError
	if !errors.As(err, &inUse) || inUse.Driver != "usbfs" || len(inUse.Holders) != 1 || inUse.Holders[0].PID != os.Getpid() {
		t.Fatalf("second claim: %v", err)
	}
	status(t, h, 1) // the first one is none the worse
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if now := reader(t); now.Interfaces[0].Driver != "" {
		t.Errorf("driver %q after Close", now.Interfaces[0].Driver)
	}
	again, err := usbfs.FS{}.Open(d, 0)
	if err != nil {
		t.Fatal(err)
	}
	status(t, again, 2)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
	if got := (usbfs.FS{}).Holders(d); got != nil {
		t.Errorf("%+v hold what is closed", got)
	}
}

// asEnv says what TestInsideAs is to do.
const asEnv = "USBFS_AS"

// another runs TestInsideAs in a process of its own.
func another(t *testing.T, as string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestInsideAs$")
	cmd.Env = append(os.Environ(), asEnv+"="+as)
	return cmd
}

// TestInsideAs is the other process of the tests here.
func TestInsideAs(t *testing.T) {
	switch os.Getenv(asEnv) {
	case "holder":
		h, err := usbfs.FS{}.Open(reader(t), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		fmt.Println("claimed")
		io.Copy(io.Discard, os.Stdin)
	case "watcher":
		signals := usbfs.FS{}.Watch(t.Context(), slog.New(slog.NewTextHandler(os.Stdout, nil)))
		<-signals
		fmt.Println("watching")
		<-signals
		fmt.Println("signal")
	case "stranger":
		_, err := usbfs.FS{}.Open(reader(t), 0)
		fmt.Println(errors.Is(err, fs.ErrPermission), err)
	default:
		t.Fatal("for other tests alone")
	}
}

// Another program keeps what it has, is named, and gives it back by its end, also a sudden one.
func TestInsideHeldByAnother(t *testing.T) {
	d := reader(t)
	holder := another(t, "holder")
	in, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := holder.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	defer holder.Wait()
	defer holder.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "claimed\n" {
		t.Fatalf("%q, %v", line, err)
	}
	_, err = usbfs.FS{}.Open(d, 0)
	var inUse *usbfs.InUseError
	if !errors.As(err, &inUse) || len(inUse.Holders) != 1 || inUse.Holders[0].PID != holder.Process.Pid ||
		!strings.Contains(err.Error(), fmt.Sprintf("(process %d)", holder.Process.Pid)) {
		t.Errorf("%v, want process %d", err, holder.Process.Pid)
	}
	holder.Process.Kill()
	holder.Wait()
	h, _ := open(t)
	status(t, h, 1)
}

// Who lacks the rights sees the reader, and is told what to do.
func TestInsideRights(t *testing.T) {
	cmd := another(t, "stranger")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.HasPrefix(out, []byte("true ")) || !strings.Contains(string(out), `ATTR{idVendor}=="08e6"`) {
		t.Errorf("%s%v", out, err)
	}
}

// A kernel driver lets go until Close.
func TestInsideKernelDriver(t *testing.T) {
	const hid = 0x03
	d, number := find(t, hid)
	eventually(t, "the kernel's driver has the keyboard", func() bool {
		d, _ = find(t, hid)
		return d.Interfaces[0].Driver == "usbhid"
	})
	testkit.NoLeaks(t)
	testkit.NoOpenFiles(t)
	h, err := usbfs.FS{}.Open(d, number)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if now, _ := find(t, hid); now.Interfaces[0].Driver != "usbfs" {
		t.Errorf("driver %q while it is claimed", now.Interfaces[0].Driver)
	}
	report := make([]byte, 8)
	pressed := background(func() (int, error) { return h.Notify(testContext(t), report) })
	guest.Ask(t, "key", "a")
	if r := await(t, "report of a key", pressed); r.err != nil || !bytes.Equal(report[:r.n], hx("00 00 04 00 00 00 00 00")) {
		t.Errorf("report of the key a: %x, %v", report[:r.n], r.err)
	}
	if _, err := h.Receive(testContext(t), report); !errors.Is(err, usbfs.ErrNoEndpoint) {
		t.Errorf("bulk transfer: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	if now, _ := find(t, hid); now.Interfaces[0].Driver != "usbhid" {
		t.Errorf("driver %q after Close", now.Interfaces[0].Driver)
	}
}

// pcscd keeps the reader that it has, and the user is told of it.
func TestInsidePcscd(t *testing.T) {
	d := reader(t)
	if err := os.MkdirAll("/run/pcscd", 0o755); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	pcscd := exec.Command("/usr/sbin/pcscd", "--foreground", "--debug")
	pcscd.Stdout, pcscd.Stderr = &said, &said
	if err := pcscd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		pcscd.Process.Kill()
		pcscd.Wait()
		if t.Failed() {
			t.Logf("pcscd said:\n%s", &said)
		}
	}()
	eventually(t, "pcscd has the reader", func() bool { return reader(t).Interfaces[0].Driver == "usbfs" })
	for range 2 { // the first try has taken nothing away
		_, err := usbfs.FS{}.Open(d, 0)
		var inUse *usbfs.InUseError
		if !errors.As(err, &inUse) || !reflect.DeepEqual(inUse.Holders, []usbfs.Process{{PID: pcscd.Process.Pid, Name: "pcscd"}}) ||
			!strings.Contains(err.Error(), "systemctl stop pcscd.socket pcscd.service") {
			t.Fatal(err)
		}
	}
	pcscd.Process.Signal(syscall.SIGTERM)
	pcscd.Wait()
	h, _ := open(t)
	if err := h.Reset(testContext(t)); err != nil { // an answer that pcscd did not fetch may be waiting
		t.Fatal(err)
	}
	status(t, h, 1)
}
