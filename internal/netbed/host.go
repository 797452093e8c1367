package netbed

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is one network namespace of a bed.
type Host struct {
	bed  *Bed
	name string
	ns   *os.File
}

// String gives the host's name.
func (h *Host) String() string { return h.name }

// Do runs f on a thread of its own in the host's namespace and gives its error. What f opens (sockets, TUN devices,
// netlink handles) belongs to the namespace for ever and may be used anywhere; a goroutine that f starts is not in
// the namespace. A function that ends its goroutine (runtime.Goexit, a test's FailNow) gives an error.
func (h *Host) Do(f func() error) error {
	return onThread(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread into the namespace.
func (h *Host) enter() error {
	h.bed.mu.RLock()
	defer h.bed.mu.RUnlock()
	if h.bed.closed {
		return ErrClosed
	}
	if err := unix.Setns(int(h.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("netbed: enter %s: %w", h.name, err)
	}
	return nil
}

// Dial connects from the host. The address is a literal IP address and port: a name would be resolved on a thread
// outside the namespace.
func (h *Host) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("netbed: dial from %s: %w", h.name, err)
	}
	var conn net.Conn
	err := h.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// Listen listens on the host for TCP connections. The address is a literal IP address and port.
func (h *Host) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("netbed: listen on %s: %w", h.name, err)
	}
	var l net.Listener
	err := h.Do(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// ListenPacket opens a UDP socket on the host. The address is a literal IP address and port.
func (h *Host) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	if _, err := netip.ParseAddrPort(address); err != nil {
		return nil, fmt.Errorf("netbed: listen on %s: %w", h.name, err)
	}
	var c net.PacketConn
	err := h.Do(func() (err error) {
		c, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Interfaces names the network interfaces of the host, as the kernel lists them. A host without a link has only
// "lo", unless the kernel puts its fallback tunnels (sit0, tunl0, ...) into every namespace, which
// net.core.fb_tunnels_only_for_init_net=1 ends.
func (h *Host) Interfaces() ([]string, error) {
	var names []string
	err := h.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("netbed: interfaces of %s: %w", h.name, err)
		}
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return nil
	})
	return names, err
}

// Sysctl sets a kernel parameter of the host's namespace, such as "net.ipv4.ip_forward" to "1". Only net.* belongs
// to a network namespace; any other name is an error. A dot inside a name (an interface's) is written as a slash.
func (h *Host) Sysctl(name, value string) error {
	path := filepath.Clean(strings.NewReplacer(".", "/", "/", ".").Replace(name))
	if !strings.HasPrefix(path, "net/") {
		return fmt.Errorf("netbed: sysctl %s: not a parameter of a network namespace", name)
	}
	return h.Do(func() error {
		// The kernel shows the parameters of the namespace of the thread that opens the file.
		f, err := os.OpenFile(filepath.Join("/proc/sys", path), os.O_WRONLY, 0)
		if err != nil {
			return fmt.Errorf("netbed: sysctl on %s: %w", h.name, err)
		}
		_, err = f.WriteString(value)
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("netbed: sysctl on %s: %w", h.name, err)
		}
		return nil
	})
}
