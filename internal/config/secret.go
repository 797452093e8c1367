package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// maxSecret bounds a file that holds secrets, in octets.
const maxSecret = 1 << 20

// ReadSecretFile reads a file that holds one secret, without the line's end. See readSecret for who may have access to it.
func ReadSecretFile(file string) (string, error) {
	b, err := readSecret(file)
	return strings.TrimRight(string(b), "\r\n"), err
}

// readSecret reads a regular file that belongs to the user of the process or to root, and that nobody but its owner may
// read or write. The file that was opened is judged, so that none can take its place in between; a symbolic link may lead
// to it. A file of systemd's below $CREDENTIALS_DIRECTORY may let its group read it: that is how the mode shows the access
// list by which systemd lets the service's user in. An error tells what is wrong, never what is in the file.
func readSecret(file string) ([]byte, error) {
	// Without O_NONBLOCK the open of a FIFO would wait for a writer.
	open := func(name string) (*os.File, error) { return os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) }
	allowed := fs.FileMode(0o700)
	if dir, name := credential(file); name != "" {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		open = func(string) (*os.File, error) { return root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) }
		allowed = 0o740
	}
	f, err := open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := judgeSecret(f, file, allowed); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		err = fmt.Errorf("%s has more than %d octets", file, maxSecret)
	}
	return b, err
}

// credential returns the directory of systemd's credentials and the file's name in it; no name for any other file.
func credential(file string) (dir, name string) {
	dir = os.Getenv("CREDENTIALS_DIRECTORY")
	if !filepath.IsAbs(dir) {
		return "", ""
	}
	name, err := filepath.Rel(dir, file)
	if err != nil || name == "." || !filepath.IsLocal(name) {
		return "", ""
	}
	return dir, name
}

func judgeSecret(f *os.File, file string, allowed fs.FileMode) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", file)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("the owner of " + file + " is not known")
	}
	if int(sys.Uid) != os.Geteuid() && sys.Uid != 0 {
		return fmt.Errorf("%s belongs to user %d, who is neither this one (%d) nor root", file, sys.Uid, os.Geteuid())
	}
	if mode := st.Mode().Perm(); mode&^allowed != 0 {
		return fmt.Errorf("%s has mode %04o, so that others than its owner have access: chmod 600 %s", file, mode, file)
	}
	return nil
}
