//go:build guest

package boot

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bipd/internal/guest"
)

func TestInsideSystem(t *testing.T) {
	for _, path := range []string{"/proc/self", "/sys/bus/usb/devices/usb1", "/dev/bus/usb/001/001", "/dev/pts/ptmx", "/dev/net/tun", "/tmp", "/run/lock"} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // lo is up
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.DialTimeout("tcp", l.Addr().String(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestInsideFiles(t *testing.T) {
	text, err := os.ReadFile("/etc/of-the-host")
	if err != nil || !strings.Contains(string(text), "package boot") {
		t.Errorf("a file of the host: %v, %.40q", err, text)
	}
	if out, err := exec.Command("bipctl", "--help").CombinedOutput(); err != nil || !strings.Contains(string(out), "bipctl") {
		t.Errorf("a program of this module: %v, %.200q", err, out)
	}
	if out, err := exec.Command("uname", "-sm").CombinedOutput(); err != nil || string(out) != "Linux x86_64\n" { // with Debian's libraries
		t.Errorf("a program of a package: %v, %q", err, out)
	}
}

// A network namespace of its own, with a veth pair and a TUN device in it.
func TestInsideNamespace(t *testing.T) {
	runtime.LockOSThread() // and never back: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "v0"}, PeerName: "v1"}
	tun := &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN}
	for _, link := range []netlink.Link{veth, tun} {
		if err := netlink.LinkAdd(link); err != nil {
			t.Fatalf("%s: %v", link.Attrs().Name, err)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	slices.Sort(names)
	if want := []string{"lo", "tun0", "v0", "v1"}; !slices.Equal(names, want) {
		t.Errorf("links %q, want %q", names, want)
	}
}

func TestInsideAsk(t *testing.T) {
	if got := guest.Ask(t, "double", "ab"); got != "abab" {
		t.Errorf("the host answers %q", got)
	}
	if _, err := guest.TryAsk("double", ""); err == nil || err.Error() != "nothing to double" {
		t.Errorf("a request that the host cannot meet: %v", err)
	}
	if _, err := guest.TryAsk("no such thing", ""); err == nil {
		t.Error("a request that the host does not know is no error")
	}
}

func TestInsideArguments(t *testing.T) {
	if want := []string{"one", "two words"}; !slices.Equal(guest.Args(), want) {
		t.Errorf("arguments %q, want %q", guest.Args(), want)
	}
}

func TestInsideFailure(t *testing.T) { t.Error("meant to fail") }

func TestInsideHang(t *testing.T) { time.Sleep(time.Hour) }

func TestInsidePanic(t *testing.T) {
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	time.Sleep(time.Hour)
}
