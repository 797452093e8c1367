package vpcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
)

// ErrAddress is wrapped by every error about Config.Listen itself.
var ErrAddress = errors.New("vpcd: bad listen address")

// listen opens the socket that cfg.Listen names.
func listen(cfg Config) (net.Listener, error) {
	scheme, rest, _ := strings.Cut(cfg.Listen, ":")
	switch scheme {
	case "unix":
		return listenUnix(rest, cfg.Mode)
	case "tcp":
		return listenTCP(rest, cfg.AllowRemote)
	}
	return nil, fmt.Errorf("%w %q: neither unix: nor tcp: begins it", ErrAddress, cfg.Listen)
}

// listenTCP listens on an address given as numbers. Whoever reaches the port may play the card, so that other than
// loopback addresses need to be asked for.
func listenTCP(s string, allowRemote bool) (net.Listener, error) {
	addr, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("%w %q: address:port in numbers is expected, such as tcp:127.0.0.1:%d", ErrAddress, s, DefaultPort)
	}
	if !addr.Addr().IsLoopback() && !allowRemote {
		return nil, fmt.Errorf("%w %s: it is not loopback, and remote cards are not allowed", ErrAddress, s)
	}
	return net.Listen("tcp", s)
}

// listenUnix listens on a socket file, of which only mode's holders may be the card. A file that a dead process
// left behind is replaced; a living process's socket, and any other file, is not. Closing the listener removes the file,
// unless another one has taken its place.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if path == "" {
		return nil, fmt.Errorf("%w: unix: without a path", ErrAddress)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// A socket file gets the mode that its socket had before, less the umask: nobody else can dial between making and chmod.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), uint32(mode.Perm())) }); cerr != nil {
			return cerr
		}
		return err
	}}
	ln, err := private.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	made, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		ln.Close()
		return nil, err
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	return &unixListener{Listener: ln, path: path, file: made}, nil
}

// unixListener removes its socket file when it is closed, if that is still its own.
type unixListener struct {
	net.Listener
	path string
	file fs.FileInfo
	once sync.Once
}

func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
			_ = os.Remove(l.path)
		}
	})
	return l.Listener.Close()
}

// removeStale removes the socket file of a process that is gone.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("vpcd: %s exists and is not a socket", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("vpcd: %s is in use by another process", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
