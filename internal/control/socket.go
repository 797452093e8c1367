package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
)

// listen makes the socket. A socket file that a dead daemon left is replaced; a living daemon's, and any other file, is
// not.
func listen(ctx context.Context, path string, gid int) (net.Listener, error) {
	if err := removeDead(path); err != nil {
		return nil, fmt.Errorf("control socket %s: %w", path, err)
	}
	// A socket file gets the mode that its socket had before: nobody else can ask between its making and a chmod.
	private := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		if cerr := c.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	l, err := private.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	made, err := os.Lstat(path)
	if err == nil {
		err = admit(path, gid)
	}
	if err != nil {
		l.Close()
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	return &listener{Listener: l, path: path, file: made}, nil
}

// removeDead removes the socket file of a process that is gone.
func removeDead(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return errors.New("a file is there that is no socket; it is left alone")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		c.Close()
		return errors.New("another daemon serves it")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// admit gives the socket to the group as well, unless gid is 0.
func admit(path string, gid int) error {
	if gid == 0 {
		return nil
	}
	if err := os.Lchown(path, -1, gid); err != nil {
		return err
	}
	return os.Chmod(path, 0o660)
}

// listener removes its socket file when it is closed, unless another file has taken its place.
type listener struct {
	net.Listener
	path string
	file fs.FileInfo
	once sync.Once
}

// Close closes the socket and removes its file.
func (l *listener) Close() error {
	l.once.Do(func() {
		if st, err := os.Lstat(l.path); err == nil && os.SameFile(st, l.file) {
			_ = os.Remove(l.path)
		}
	})
	return l.Listener.Close()
}
