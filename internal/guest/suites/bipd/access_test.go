//go:build guest

package bipd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"bipd/ccid/usbfs"
	"bipd/internal/control"
	"bipd/internal/guest"
)

// Users and groups of the guest: groupID is the group bipd.
const (
	groupID = 990
	userID  = 1000
)

// TestInsideAccess has udev give the reader to the group bipd, and looks at what a user sees who is in it, and who is not.
func TestInsideAccess(t *testing.T) {
	group := fmt.Sprintf("root:x:0:\nbipd:x:%d:\n", groupID)
	for name, text := range map[string]string{"/etc/group": group, "/etc/passwd": "root:x:0:0::/root:/bin/sh\n"} {
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	guest.Ask(t, "insert", "")
	b := &bed{T: t}
	b.await("a reader", func() error {
		if out := asUser(t, 0); !strings.Contains(out, "QEMU USB CCID") {
			return fmt.Errorf("root sees %s", out)
		}
		return nil
	})
	if out := asUser(t, groupID); !strings.Contains(out, "PROBLEM: this user may not open its node") || !strings.Contains(out, "60-bipd-ccid.rules") {
		t.Errorf("without udev a user sees:\n%s", out)
	}
	startUdev(t)
	hubs, err := filepath.Glob("/dev/bus/usb/*/001")
	if err != nil || len(hubs) == 0 {
		t.Errorf("root hubs %v, %v", hubs, err)
	}
	for _, node := range append(hubs, nodeOf(t, "1-1")) {
		var st syscall.Stat_t
		if err := syscall.Stat(node, &st); err != nil {
			t.Fatal(err)
		}
		reader := !strings.HasSuffix(node, "/001")
		if got := st.Gid == groupID && st.Mode&0o777 == 0o660; got != reader {
			t.Errorf("%s has mode %04o and group %d", node, st.Mode&0o777, st.Gid)
		}
	}
	if out := asUser(t, groupID); !strings.Contains(out, "ATR 3B09626970642073") {
		t.Errorf("a user of the group sees:\n%s", out)
	}
	if out := asUser(t, userID); !strings.Contains(out, "PROBLEM: this user may not open its node") {
		t.Errorf("a user who is not in the group sees:\n%s", out)
	}
}

// nodeOf is the device's node.
func nodeOf(t *testing.T, path string) string {
	t.Helper()
	var n [2]int
	for i, name := range []string{"busnum", "devnum"} {
		b, err := os.ReadFile(filepath.Join("/sys/bus/usb/devices", path, name))
		if err == nil {
			_, err = fmt.Sscan(string(b), &n[i])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("/dev/bus/usb/%03d/%03d", n[0], n[1])
}

// asUser is what bipctl readers shows a user of this group; 0 = root.
func asUser(t *testing.T, group uint32) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bipctl", "readers", "--socket", "/nonexistent/bipd.sock")
	if group != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: userID, Gid: group}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("bipctl readers: %v\n%s", err, out)
	}
	return string(out)
}

// startUdev runs udev until the end of the test, and has it look at what is there.
func startUdev(t *testing.T) {
	t.Helper()
	startProgram(t, "/lib/systemd/systemd-udevd")
	b := &bed{T: t}
	b.await("udev", func() error { return exec.Command("udevadm", "control", "--ping", "--timeout=5").Run() })
	run(t, "udevadm", "trigger", "--subsystem-match=usb", "--action=add")
	run(t, "udevadm", "settle", "--timeout=60")
}

// startProgram runs a program until the end of the test, and shows what it printed where the test fails.
func startProgram(t *testing.T, name string, args ...string) *os.Process {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait() // killed
		if text, err := os.ReadFile(out.Name()); t.Failed() && err == nil {
			t.Logf("%s printed:\n%s", name, text)
		}
		out.Close()
	})
	return cmd.Process
}

// TestInsidePCSCD looks at what bipctl and bipd say while pcscd has the reader, and has bipd serve it once it is free.
func TestInsidePCSCD(t *testing.T) {
	guest.Ask(t, "insert", "")
	if err := os.MkdirAll("/run/pcscd", 0o755); err != nil {
		t.Fatal(err)
	}
	startUdev(t)
	pcscd := startProgram(t, "/usr/sbin/pcscd", "--foreground", "--error")
	look := &bed{T: t}
	look.await("reader in pcscd's hands", func() error { // bipctl opens the reader for a look, and pcscd tries it only once
		devices, err := usbfs.FS{}.Devices()
		held := func(i usbfs.Interface) bool { return i.Class == 0x0B && i.Driver == "usbfs" }
		if err == nil && !slices.ContainsFunc(devices, func(d usbfs.Device) bool { return slices.ContainsFunc(d.Interfaces, held) }) {
			err = fmt.Errorf("devices %v", devices)
		}
		return err
	})
	look.await("readers of pcscd", func() error {
		out := run(t, "bipctl", "readers", "--socket", "/nonexistent/bipd.sock")
		t.Logf("bipctl readers:\n%s", out)
		for _, want := range []string{
			fmt.Sprintf("PROBLEM: in use by pcscd (process %d)", pcscd.Pid), "systemctl stop pcscd.socket", "through pcscd",
			`reader = "pcsc:Gemalto Gemplus USB SmartCard Reader 433-Swap`, "ATR 3B09626970642073",
		} {
			if !strings.Contains(out, want) {
				return fmt.Errorf("bipctl readers does not show %q:\n%s", want, out)
			}
		}
		return nil
	})
	b := newBedWith(t, "1", func(text string) string { // a card that the configuration names
		return strings.NewReplacer("usb-*", "usb-"+slot, `"ccid:*"`, `"ccid:path=1-1"`, "line-*", "line-"+slot).Replace(text)
	})
	b.await("reason", func() error {
		cards, err := b.bipd.Cards(t.Context())
		if err == nil && !strings.Contains(cards[0].Error, fmt.Sprintf("pcscd (process %d)", pcscd.Pid)) {
			err = fmt.Errorf("the cards are %+v", cards)
		}
		return err
	})
	b.ask("remove")
	pcscd.Kill()
	b.awaitCard("of the reader that is free", func(c control.Card) bool { return c.State == "absent" && c.Error == "" })
	b.ask("insert")
	b.awaitCard("that is served", serving)
	t.Log(b.ask("whole"))
}
